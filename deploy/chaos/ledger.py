"""What the coverage ledger says of moments: who claims them, and why they are missing.

It is asked in its own words (`coverage_streams`), so that the suite judges what any reader of the database would be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import asyncpg
from msgspec import Struct

from chaos.scene import EXCHANGE, Scene

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN = "SELECT count(*) FROM coverage WHERE source = $1 AND channel = 'trades' AND state = 'open'"

# `until` of a moment is where the latest hole may begin: a bar is said after it closed
_ASKED = """
    SELECT m.symbol, m.id,
           EXISTS (SELECT FROM covered s WHERE s.instrument_id = i.id AND s.covered @> m.since) AS claimed,
           (SELECT string_agg(DISTINCT c.state || ' ' || c.reason, ', ') FROM holes c
             WHERE c.instrument_id = i.id
               AND (c.since <= m.until AND c.until >= m.since OR m.id BETWEEN c.first_id AND c.last_id)) AS why
      FROM unnest($3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[]) AS m (symbol, id, since, until)
      JOIN instruments i ON i.exchange = $1 AND i.symbol = m.symbol"""
_ASK = f"""
    WITH covered AS MATERIALIZED (
        SELECT instrument_id, covered FROM coverage_streams('-infinity') WHERE source = $1 AND channel = $2
    ), holes AS MATERIALIZED (
        SELECT instrument_id, state, reason, since, coalesce(until, 'infinity') AS until, first_id, last_id FROM coverage
         WHERE source = $1 AND channel = $2 AND state IN ('open', 'unrecoverable')
    ) {_ASKED}"""


class Moment(Struct, frozen=True):
    """One row that the exchange said: its symbol, its id (of a bar: its time), and from when to when a hole may be that has it."""

    symbol: str
    id: int
    since_ms: int
    until_ms: int


class Answer(Struct, frozen=True):
    """Whether the ledger vouches for the moment, and the reasons that it has for a hole there, if any."""

    symbol: str
    id: int
    claimed: bool
    why: str | None


async def ask(scene: Scene, channel: Literal["trades", "candles", "book"], moments: Sequence[Moment]) -> list[Answer]:
    """What the ledger says of each of the moments."""
    if not moments:
        return []
    columns: list[Iterable[object]] = [
        [one.symbol for one in moments],
        [one.id for one in moments],
        [to_time(one.since_ms) for one in moments],
        [to_time(one.until_ms) for one in moments],
    ]
    return [Answer(*row) for row in await scene.fetch(_ASK, EXCHANGE, channel, *columns)]


async def count_open(scene: Scene) -> int:
    """How many holes are waiting to be healed; of trades, because one of bars stays open until its minute has ended."""
    return int((await scene.fetch(_OPEN, EXCHANGE))[0][0])


async def holes(scene: Scene) -> list[asyncpg.Record]:
    """How many holes there were, by state, channel and reason."""
    query = """SELECT state, channel, reason, count(*) AS count FROM coverage
                WHERE source = $1 AND state <> 'covered' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    return await scene.fetch(query, EXCHANGE)


def to_time(milliseconds: int) -> datetime:
    """Exactly, as a float would not be."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
