"""The open holes of the ledger, for whoever closes them: which there are, which is next, and what became of it.

`detect` makes holes of what nobody claims and nobody explained, so that a restart, a crash or a stream that never spoke is a hole
like any other. A hole is closed piece by piece, newest first; what is left stays open, so a healer that is killed goes on there.
https://www.postgresql.org/docs/current/rangetypes.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
from msgspec import Struct

from ingest.protocol.session import Channel
from ingest.records import Instrument
from ingest.store.coverage import to_datetime
from ingest.store.jobs import to_micros
from ingest.store.pool import Connection

CLAIMED = timedelta(seconds=15)  # so long after it was said a row is claimed at the latest, unless something is wrong
BARS_CLAIMED = timedelta(minutes=4)  # so long after it began a bar is claimed at the latest, where it is asked for by REST
NEAR = timedelta(minutes=1)  # holes of one stream that are so near to each other are asked for together


class Stream(Struct, frozen=True):
    """What is followed: since when (microseconds), if nothing is known of it yet."""

    instrument_id: int
    channel: Channel
    trade_kind: str | None
    since: int


class Open(Struct, frozen=True):
    """An open hole: [since, until) in microseconds, or, where ids are dense, first_id..last_id."""

    id: int
    instrument_id: int
    channel: Channel
    reason: str
    since: int
    until: int
    first_id: int | None
    last_id: int | None
    tries: int


_INSTRUMENTS = """
    SELECT exchange, symbol, instrument, base, quote, kind, status, price_step::text, size_step::text, id
      FROM instruments WHERE exchange = $1 AND instrument = ANY($2::text[])"""


async def instruments_of(connection: Connection, exchange: str, names: Sequence[str]) -> list[Instrument]:
    """Those of the names that were stored by now."""
    return [Instrument(*row.values()) for row in await connection.fetch(_INSTRUMENTS, exchange, list(names))]


_FOLLOW = """
    WITH streams AS (
        SELECT s.*, (SELECT min(c.since) FROM coverage c
                      WHERE c.source = $1 AND (c.instrument_id, c.channel) = (s.instrument_id, s.channel)) AS known
          FROM unnest($2::int[], $3::text[], $4::text[], $5::timestamptz[]) AS s (instrument_id, channel, trade_kind, since)
    )
    INSERT INTO coverage (source, writer, instrument_id, channel, interval, trade_kind, state, reason, since, until)
    SELECT $1, '', instrument_id, channel, CASE WHEN channel = 'candles' THEN '1m' END, trade_kind,
           'open', 'history', since, coalesce(known, greatest(since, now()))
      FROM streams
     WHERE known IS NULL OR since < known - interval '1 day'"""

_DETECT = """
    WITH gaps AS (
        SELECT s.instrument_id, s.channel, s.interval, s.trade_kind, lower(gap) AS since, upper(gap) AS until
          FROM coverage_streams($2) s, (SELECT clock_timestamp() - $3::interval) AS now (bound),
               unnest(tstzmultirange(tstzrange(greatest(s.since, $2), greatest(s.since, $2, bound))) - s.covered - s.known) gap
         WHERE s.source = $1 AND (s.instrument_id, s.channel) IN (SELECT * FROM unnest($4::int[], $5::text[]))
           -- the youngest part may just not be claimed yet: a bar is claimed some minutes after it began
           AND (upper(gap) < bound
                OR upper(gap) - lower(gap) > CASE s.channel WHEN 'candles' THEN $7::interval ELSE $6::interval END)
           AND upper(gap) > lower(gap)
    ), longer AS (
        UPDATE coverage c SET until = g.until FROM gaps g
         WHERE c.source = $1 AND c.writer = '' AND c.reason = 'unwatched' AND c.state IN ('open', 'unrecoverable')
           AND (c.instrument_id, c.channel, c.until) = (g.instrument_id, g.channel, g.since)
        RETURNING c.instrument_id, c.channel, g.since
    )
    INSERT INTO coverage (source, writer, instrument_id, channel, interval, trade_kind, state, reason, since, until)
    SELECT $1, '', g.instrument_id, g.channel, g.interval, g.trade_kind,
           CASE WHEN g.channel IN ('book', 'quotes') THEN 'unrecoverable' ELSE 'open' END, 'unwatched', g.since, g.until
      FROM gaps g
     WHERE (g.instrument_id, g.channel, g.since) NOT IN (SELECT * FROM longer)
    RETURNING 1"""


async def follow(connection: Connection, source: str, streams: Sequence[Stream]) -> None:
    """From now on these streams are in the ledger; where one begins before what is known of it, that is a hole: 'history'."""
    await connection.execute(
        _FOLLOW, source, *_columns(streams), [one.trade_kind for one in streams], [to_datetime(one.since) for one in streams]
    )


async def detect(connection: Connection, source: str, streams: Sequence[Stream], after: timedelta, looked_from: datetime) -> int:
    """Make holes of what is older than `after` and neither covered nor known, as far back as `looked_from`; how many."""
    return len(await connection.fetch(_DETECT, source, looked_from, after, *_columns(streams), CLAIMED, BARS_CLAIMED))


def _columns(streams: Sequence[Stream]) -> tuple[list[int], list[str]]:
    return [one.instrument_id for one in streams], [one.channel for one in streams]


_NEWEST = """
    SELECT id, instrument_id, channel, reason, since, until, first_id, last_id, tries FROM coverage
     WHERE state = 'open' AND source = $1 AND until <= clock_timestamp() - $2::interval AND next_try_at <= clock_timestamp()
       AND instrument_id = ANY($3::int[])
     ORDER BY until DESC, id LIMIT 1"""

_NEAR = """
    SELECT id, instrument_id, channel, reason, since, until, first_id, last_id, tries FROM coverage
     WHERE state = 'open' AND source = $1 AND (instrument_id, channel) = ($2, $3) AND first_id IS NULL
       AND until <= $5 AND until >= $4::timestamptz - $6::interval AND since >= $4::timestamptz - 10 * $6::interval"""

_LEFT = """
    SELECT lower(span) AS since, upper(span) AS until
      FROM coverage_streams($4) s, unnest(tstzmultirange(tstzrange($4, $5, '[]')) - s.covered) span
     WHERE s.source = $1 AND (s.instrument_id, s.channel) = ($2, $3)"""


async def next_holes(connection: Connection, source: str, instruments: Sequence[int], after: timedelta) -> list[Open]:
    """The newest open hole that is due, first, and those that are asked for together with it; none where nothing is due."""
    newest = await connection.fetchrow(_NEWEST, source, after, list(instruments))
    if newest is None:
        return []
    hole = _open(newest)
    if hole.first_id is not None:
        return [hole]
    near = await connection.fetch(_NEAR, source, hole.instrument_id, hole.channel, newest["since"], newest["until"], NEAR)
    return [hole, *(one for row in near if (one := _open(row)).id != hole.id)]


async def left_of(connection: Connection, source: str, hole: Open) -> list[tuple[int, int]]:
    """What of it nobody covers by now: another daemon may have seen what this one missed."""
    times = to_datetime(hole.since), to_datetime(hole.until)
    return [
        (to_micros(a), to_micros(b)) for a, b in await connection.fetch(_LEFT, source, hole.instrument_id, hole.channel, *times)
    ]


def _open(row: asyncpg.Record) -> Open:
    return Open(**{**row, "since": to_micros(row["since"]), "until": to_micros(row["until"])})


# A piece of a hole is told apart: the hole keeps what is left of it, and the piece lengthens the one that was healed before it.
_PIECE = """
    WITH hole AS (SELECT * FROM coverage WHERE id = $1), shorter AS (
        UPDATE coverage c SET since = CASE WHEN c.since < $2 THEN c.since ELSE $3 END,
               until = CASE WHEN c.since < $2 THEN $2 ELSE c.until END, tries = 0, next_try_at = '-infinity', noted_at = now()
         WHERE c.id = $1
    ), longer AS (
        UPDATE coverage c SET since = least(c.since, $2), until = greatest(c.until, $3), stored = coalesce(c.stored, 0) + $6,
               verdict = $5, noted_at = now()
          FROM hole
         WHERE c.id = (SELECT o.id FROM coverage o
                        WHERE (o.source, o.instrument_id, o.channel, o.writer, o.reason, o.state)
                            = (hole.source, hole.instrument_id, hole.channel, hole.writer, hole.reason, $4)
                          AND o.first_id IS NULL AND (o.until = $2 OR o.since = $3) LIMIT 1)
        RETURNING c.id
    )
    INSERT INTO coverage
           (source, writer, instrument_id, channel, interval, trade_kind, state, reason, since, until, verdict, stored)
    SELECT source, writer, instrument_id, channel, interval, trade_kind, $4, reason, $2, $3, $5, $6 FROM hole
     WHERE NOT EXISTS (SELECT FROM longer)"""

_WHOLE = "UPDATE coverage SET state = $2, verdict = $3, stored = $4, noted_at = now() WHERE id = $1"

_LATER = """
    UPDATE coverage SET tries = tries + 1, next_try_at = clock_timestamp() + $2::interval, verdict = $3, noted_at = now()
     WHERE id = $1"""


async def settle(
    connection: Connection, hole: Open, since: int, until: int, *, state: str, verdict: str | None, stored: int
) -> bool:
    """[since, until) of the hole is healed or unrecoverable. True where that was all of it; else it must be one end of the hole."""
    if since <= hole.since and until >= hole.until:
        await connection.execute(_WHOLE, hole.id, state, verdict, stored)
        return True
    since, until = max(since, hole.since), min(until, hole.until)
    if since < until:
        await connection.execute(_PIECE, hole.id, to_datetime(since), to_datetime(until), state, verdict, stored)
    return False


async def try_later(connection: Connection, hole: Open, seconds: float, verdict: str) -> None:
    """It could not be closed now."""
    await connection.execute(_LATER, hole.id, timedelta(seconds=seconds), verdict)


_AGAIN = """
    UPDATE coverage SET tries = 0, next_try_at = '-infinity', state = 'open'
     WHERE source = $1 AND channel IN ('trades', 'candles') AND state IN ('open', 'unrecoverable') AND until IS NOT NULL"""

_SUMMARY = """
    SELECT channel, count(*), extract(epoch FROM sum(coalesce(until, now()) - since))::float8 AS seconds, min(since) AS oldest
      FROM coverage WHERE state = 'open' AND source = $1 GROUP BY channel ORDER BY channel"""


async def try_again(connection: Connection, source: str) -> None:
    """A person wants every hole tried once more, now, also those that were given up."""
    await connection.execute(_AGAIN, source)


async def summary(connection: Connection, source: str) -> dict[str, tuple[int, float]]:
    """By channel, how many holes are open and how many seconds they are long in all."""
    return {row["channel"]: (row["count"], row["seconds"]) for row in await connection.fetch(_SUMMARY, source)}
