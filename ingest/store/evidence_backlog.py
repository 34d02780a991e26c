"""The unverifiable ranges of the ledger as a work list, and what becomes of a range once the exchange's history was compared."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ingest.protocol.session import ChannelName
from ingest.records import Candle, Record, Trade
from ingest.store.coverage import Claim, to_datetime
from ingest.store.jobs import to_micros
from ingest.store.pool import Connection


class UnverifiedRange(Struct, frozen=True):
    """A range [since, until), microseconds, of trades or candles of which nothing shows that no row was missed."""

    instrument_id: int
    channel: ChannelName
    trade_kind: str | None
    since: int
    until: int


_UNVERIFIED = """
    SELECT s.instrument_id, s.channel, s.trade_kind, lower(span) AS since, upper(span) AS until
      FROM coverage_streams($2) s, unnest(s.unverifiable) span
     WHERE s.source = $1 AND s.instrument_id = ANY($3::int[]) AND s.channel IN ('trades', 'candles')
       AND lower(span) < clock_timestamp() - $4::interval
     ORDER BY lower(span)"""

_MISSING_TRADES = """
    SELECT count(*) FROM unnest($2::timestamptz[], $3::bigint[]) AS row (time, trade_id)
     WHERE NOT EXISTS (SELECT FROM trades t WHERE (t.instrument_id, t.time, t.trade_id) = ($1, row.time, row.trade_id))"""

_MISSING_CANDLES = """
    SELECT count(*) FROM unnest($2::timestamptz[]) AS row (time)
     WHERE NOT EXISTS (SELECT FROM candles c WHERE (c.instrument_id, c.interval, c.time) = ($1, '1m', row.time))"""

# a range is verified after what lies before it, so there is a covered claim of the same writer that ends where it begins
_COVER = """
    WITH longer AS (
        UPDATE coverage SET until = $7, noted_at = now()
         WHERE state = 'covered' AND (source, writer, instrument_id, channel) = ($1, $2, $3, $4)
           AND trade_kind IS NOT DISTINCT FROM $5 AND since <= $6 AND until BETWEEN $6 AND $7
        RETURNING id
    )
    INSERT INTO coverage AS c (source, writer, instrument_id, channel, interval, trade_kind, state, reason, since, until)
    SELECT $1, $2, $3, $4, CASE WHEN $4 = 'candles' THEN '1m' END, $5, 'covered', $8, $6, $7 WHERE NOT EXISTS (SELECT FROM longer)
    ON CONFLICT (source, instrument_id, channel, writer, since, state) WHERE state IN ('covered', 'unverifiable')
    DO UPDATE SET until = EXCLUDED.until, noted_at = now() WHERE c.until < EXCLUDED.until"""


async def unverified_ranges(
    connection: Connection, source: str, instruments: Sequence[int], after: timedelta, looked_from: datetime
) -> list[UnverifiedRange]:
    """The unverifiable ranges from `looked_from` on that began before `after`, oldest first."""
    rows = await connection.fetch(_UNVERIFIED, source, looked_from, list(instruments), after)
    return [UnverifiedRange(**{**row, "since": to_micros(row["since"]), "until": to_micros(row["until"])}) for row in rows]


async def count_missing(connection: Connection, instrument_id: int, rows: Sequence[Record]) -> int:
    """The number of these trades or 1m candles of one instrument that are not stored."""
    trades = [row for row in rows if isinstance(row, Trade)]
    candles = [to_datetime(row.time) for row in rows if isinstance(row, Candle)]
    if candles:
        return int(await connection.fetchval(_MISSING_CANDLES, instrument_id, candles))
    times = [to_datetime(trade.time) for trade in trades]
    return int(await connection.fetchval(_MISSING_TRADES, instrument_id, times, [trade.trade_id for trade in trades]))


async def cover(connection: Connection, claim: Claim) -> None:
    """Extend the covered claim that ends where this one begins. Without one, write this one."""
    times = to_datetime(claim.since), to_datetime(claim.until)
    kind = claim.trade_kind if claim.channel == "trades" else None
    await connection.execute(_COVER, claim.source, claim.writer, claim.instrument_id, claim.channel, kind, *times, claim.reason)
