"""The open gaps of the ledger as a work list: which gaps exist, which is next, and the result of each attempt.

`detect` opens gaps for ranges that are neither claimed nor explained, so a restart, a crash and a channel that never sent anything
are gaps like any other. A gap is closed piece by piece, newest first. The rest stays open, so a gap filler that is killed continues
there. https://www.postgresql.org/docs/current/rangetypes.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
from msgspec import Struct

from ingest.protocol.session import ChannelName
from ingest.records import Instrument
from ingest.store.coverage import to_datetime
from ingest.store.jobs import to_micros
from ingest.store.pool import Connection

CLAIM_DELAY = timedelta(seconds=15)  # from the arrival of a row to its claim, at most, unless something is wrong
CANDLE_CLAIM_DELAY = timedelta(minutes=4)  # from the open of a candle to its claim, at most, where candles come by REST
NEAR = timedelta(minutes=1)  # gaps of one channel that are at most so far apart are filled together


class TrackedChannel(Struct, frozen=True):
    """A channel of one instrument that the ledger tracks from `since` (microseconds) on."""

    instrument_id: int
    channel: ChannelName
    trade_kind: str | None
    since: int


class OpenGap(Struct, frozen=True):
    """An open gap: [since, until) in microseconds and, where trade ids are consecutive, first_id..last_id."""

    id: int
    instrument_id: int
    channel: ChannelName
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
    """The stored instruments with these names."""
    return [Instrument(*row.values()) for row in await connection.fetch(_INSTRUMENTS, exchange, list(names))]


_TRACK = """
    WITH streams AS (
        SELECT s.*, (SELECT min(c.since) FROM coverage c
                      WHERE c.source = $1 AND (c.instrument_id, c.channel) = (s.instrument_id, s.channel)
                        AND c.reason <> 'incomplete') AS known
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
               unnest(tstzmultirange(tstzrange(greatest(s.since, $2), greatest(s.since, $2, bound)))
                    - s.covered - s.unverifiable - s.known) gap
         WHERE s.source = $1 AND (s.instrument_id, s.channel) IN (SELECT * FROM unnest($4::int[], $5::text[]))
           -- the newest part may not be claimed yet: a candle is claimed some minutes after its open
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


async def track(connection: Connection, source: str, streams: Sequence[TrackedChannel]) -> None:
    """Add the channels to the ledger. A channel that begins before its known ranges gets a gap with the reason 'history'."""
    await connection.execute(
        _TRACK,
        source,
        *_columns(streams),
        [stream.trade_kind for stream in streams],
        [to_datetime(stream.since) for stream in streams],
    )


async def detect(
    connection: Connection, source: str, streams: Sequence[TrackedChannel], after: timedelta, looked_from: datetime
) -> int:
    """Open gaps for ranges from `looked_from` on that are older than `after` and neither claimed nor known; returns how many."""
    return len(await connection.fetch(_DETECT, source, looked_from, after, *_columns(streams), CLAIM_DELAY, CANDLE_CLAIM_DELAY))


def _columns(streams: Sequence[TrackedChannel]) -> tuple[list[int], list[str]]:
    return [stream.instrument_id for stream in streams], [stream.channel for stream in streams]


_NEWEST = """
    SELECT id, instrument_id, channel, reason, since, until, first_id, last_id, tries FROM coverage
     WHERE state = 'open' AND source = $1 AND until <= clock_timestamp() - $2::interval AND next_try_at <= clock_timestamp()
       AND instrument_id = ANY($3::int[])
     ORDER BY until DESC, id LIMIT 1"""

_NEAR = """
    SELECT id, instrument_id, channel, reason, since, until, first_id, last_id, tries FROM coverage
     WHERE state = 'open' AND source = $1 AND (instrument_id, channel) = ($2, $3) AND first_id IS NULL
       AND until <= $5 AND until >= $4::timestamptz - $6::interval AND since >= $4::timestamptz - 10 * $6::interval"""

_UNCOVERED = """
    SELECT lower(span) AS since, upper(span) AS until
      FROM coverage_streams($4) s, unnest(tstzmultirange(tstzrange($4, $5, '[]')) - s.covered) span
     WHERE s.source = $1 AND (s.instrument_id, s.channel) = ($2, $3)"""


async def next_gaps(connection: Connection, source: str, instruments: Sequence[int], after: timedelta) -> list[OpenGap]:
    """The newest open gap that is due, then the gaps that are filled together with it; empty if no gap is due."""
    newest = await connection.fetchrow(_NEWEST, source, after, list(instruments))
    if newest is None:
        return []
    gap = _open_gap(newest)
    if gap.first_id is not None:
        return [gap]
    near = await connection.fetch(_NEAR, source, gap.instrument_id, gap.channel, newest["since"], newest["until"], NEAR)
    return [gap, *(one for row in near if (one := _open_gap(row)).id != gap.id)]


async def uncovered_parts(connection: Connection, source: str, gap: OpenGap) -> list[tuple[int, int]]:
    """The parts of the gap that no claim covers now: another daemon may have stored them."""
    times = to_datetime(gap.since), to_datetime(gap.until)
    return [
        (to_micros(a), to_micros(b)) for a, b in await connection.fetch(_UNCOVERED, source, gap.instrument_id, gap.channel, *times)
    ]


def _open_gap(row: asyncpg.Record) -> OpenGap:
    return OpenGap(**{**row, "since": to_micros(row["since"]), "until": to_micros(row["until"])})


# A resolved piece leaves its gap: the gap keeps the rest, and the piece extends the healed row that it touches.
_RESOLVE_PART = """
    WITH gap AS (SELECT * FROM coverage WHERE id = $1), shorter AS (
        UPDATE coverage c SET since = CASE WHEN c.since < $2 THEN c.since ELSE $3 END,
               until = CASE WHEN c.since < $2 THEN $2 ELSE c.until END, tries = 0, next_try_at = '-infinity', noted_at = now()
         WHERE c.id = $1
    ), longer AS (
        UPDATE coverage c SET since = least(c.since, $2), until = greatest(c.until, $3), stored = coalesce(c.stored, 0) + $6,
               verdict = $5, noted_at = now()
          FROM gap
         WHERE c.id = (SELECT o.id FROM coverage o
                        WHERE (o.source, o.instrument_id, o.channel, o.writer, o.reason, o.state)
                            = (gap.source, gap.instrument_id, gap.channel, gap.writer, gap.reason, $4)
                          AND o.first_id IS NULL AND (o.until = $2 OR o.since = $3) LIMIT 1)
        RETURNING c.id
    )
    INSERT INTO coverage
           (source, writer, instrument_id, channel, interval, trade_kind, state, reason, since, until, verdict, stored)
    SELECT source, writer, instrument_id, channel, interval, trade_kind, $4, reason, $2, $3, $5, $6 FROM gap
     WHERE NOT EXISTS (SELECT FROM longer)"""

_RESOLVE_ALL = "UPDATE coverage SET state = $2, verdict = $3, stored = $4, noted_at = now() WHERE id = $1"

_POSTPONE = """
    UPDATE coverage SET tries = tries + 1, next_try_at = clock_timestamp() + $2::interval, verdict = $3, noted_at = now()
     WHERE id = $1"""


async def resolve(
    connection: Connection, gap: OpenGap, since: int, until: int, *, state: str, verdict: str | None, stored: int
) -> bool:
    """Mark [since, until) of the gap as healed or unrecoverable. Returns whether that was all of it.

    A part must be the beginning or the end of the gap.
    """
    if since <= gap.since and until >= gap.until:
        await connection.execute(_RESOLVE_ALL, gap.id, state, verdict, stored)
        return True
    since, until = max(since, gap.since), min(until, gap.until)
    if since < until:
        await connection.execute(_RESOLVE_PART, gap.id, to_datetime(since), to_datetime(until), state, verdict, stored)
    return False


async def postpone(connection: Connection, gap: OpenGap, seconds: float, verdict: str) -> None:
    """Record a failed attempt: the gap is due again in `seconds`."""
    await connection.execute(_POSTPONE, gap.id, timedelta(seconds=seconds), verdict)


_RETRY_ALL = """
    UPDATE coverage SET tries = 0, next_try_at = '-infinity', state = 'open'
     WHERE source = $1 AND channel IN ('trades', 'candles') AND state IN ('open', 'unrecoverable') AND until IS NOT NULL"""

_SUMMARY = """
    SELECT channel, count(*), extract(epoch FROM sum(coalesce(until, now()) - since))::float8 AS seconds, min(since) AS oldest
      FROM coverage WHERE state = 'open' AND source = $1 GROUP BY channel ORDER BY channel"""


async def retry_all(connection: Connection, source: str) -> None:
    """Make every gap in trades and candles due now, including the unrecoverable gaps: for `ingest gaps --heal`."""
    await connection.execute(_RETRY_ALL, source)


async def summary(connection: Connection, source: str) -> dict[str, tuple[int, float]]:
    """By channel: the number of open gaps and their total length in seconds."""
    return {row["channel"]: (row["count"], row["seconds"]) for row in await connection.fetch(_SUMMARY, source)}
