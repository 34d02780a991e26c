"""Queries of the coverage ledger: whether a moment is covered, and the reasons for gaps.

They use the public function `coverage_streams`.
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

# a gap that contains a bar may begin up to `until`, because a bar is sent after it has closed
_MOMENTS = """
    SELECT m.symbol, m.id,
           EXISTS (SELECT FROM covered s WHERE s.instrument_id = i.id AND s.covered @> m.since) AS claimed,
           (SELECT string_agg(DISTINCT c.state || ' ' || c.reason, ', ') FROM gaps c
             WHERE c.instrument_id = i.id
               AND (c.since <= m.until AND c.until >= m.since OR m.id BETWEEN c.first_id AND c.last_id)) AS reason
      FROM unnest($3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[]) AS m (symbol, id, since, until)
      JOIN instruments i ON i.exchange = $1 AND i.symbol = m.symbol"""
_QUERY = f"""
    WITH covered AS MATERIALIZED (
        SELECT instrument_id, covered FROM coverage_streams('-infinity') WHERE source = $1 AND channel = $2
    ), gaps AS MATERIALIZED (
        SELECT instrument_id, state, reason, since, coalesce(until, 'infinity') AS until, first_id, last_id FROM coverage
         WHERE source = $1 AND channel = $2 AND state IN ('open', 'unrecoverable')
    ) {_MOMENTS}"""


class Moment(Struct, frozen=True):
    """One row of the exchange: its symbol, its id (of a bar: its time), and the range in which a gap may contain it."""

    symbol: str
    id: int
    since_ms: int
    until_ms: int


class Explanation(Struct, frozen=True):
    """Whether a claim covers the moment, and the reasons of the gaps there, if any."""

    symbol: str
    id: int
    claimed: bool
    reason: str | None


async def explain(scene: Scene, channel: Literal["trades", "candles", "book"], moments: Sequence[Moment]) -> list[Explanation]:
    """Looks up the claims and gaps at each of the moments."""
    if not moments:
        return []
    columns: list[Iterable[object]] = [
        [moment.symbol for moment in moments],
        [moment.id for moment in moments],
        [to_time(moment.since_ms) for moment in moments],
        [to_time(moment.until_ms) for moment in moments],
    ]
    return [Explanation(*row) for row in await scene.fetch(_QUERY, EXCHANGE, channel, *columns)]


async def count_open(scene: Scene) -> int:
    """The number of open gaps of trades. Gaps of bars do not count: they stay open until the minute has ended."""
    return int((await scene.fetch(_OPEN, EXCHANGE))[0][0])


async def gaps(scene: Scene) -> list[asyncpg.Record]:
    """The number of gaps by state, channel and reason."""
    query = """SELECT state, channel, reason, count(*) AS count FROM coverage
                WHERE source = $1 AND state NOT IN ('covered', 'unverifiable') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    return await scene.fetch(query, EXCHANGE)


def to_time(milliseconds: int) -> datetime:
    """The exact time, without a float."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
