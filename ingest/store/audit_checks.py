"""Four comparisons of the stored rows with the exchange's own evidence; a mismatch is a finding.

    ids     the trade ids of an exchange whose ids are consecutive
    bucket  a candle for every minute, of an exchange that also sends candles without trades
    count   a candle's number of trades, first and last id, against the stored trades of its minute
    bars    the minute's bar made from trades, against the exchange's own candle

Each comparison reads its windows and a margin around them by primary key; constant time bounds exclude all other chunks.
https://docs.timescale.com/use-timescale/latest/query-data/
Trades of one moment may have times in another order than their ids. So an id counts as missing only if no trade within a minute of
its place has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from ingest.protocol.session import ChannelName
from ingest.store.pool import Connection

Reason = Literal["ids", "bucket", "count", "bars"]

NEIGHBOUR_RANGE = timedelta(days=1)  # how far from a window the neighbours of its first and last trade are searched


class AuditTarget(Struct, frozen=True):
    """The rows to compare. `trade_kind` is '' for a comparison of candles alone."""

    source: str
    instrument_id: int
    trade_kind: str


class Window(Struct, frozen=True):
    """The whole minutes [since, until) of a target, inside a range [low, high) that is covered without a break."""

    target: AuditTarget
    low: datetime
    high: datetime
    since: datetime
    until: datetime


class Finding(Struct, frozen=True):
    """Rows that are missing or differ in [since, until); `detail` describes the difference, with both values."""

    target: AuditTarget
    reason: Reason
    since: datetime
    until: datetime
    first_id: int | None
    last_id: int | None
    expected: int | None
    stored: int | None
    detail: str

    @property
    def channel(self) -> ChannelName:
        """The channel whose rows are missing."""
        return "candles" if self.reason == "bucket" else "trades"


async def compare(connection: Connection, reason: Reason, windows: Sequence[Window]) -> list[Finding]:
    """Compare the windows. Ids and minutes that the ledger already has are not reported. Raises asyncpg's errors unchanged."""
    if not windows:
        return []
    margin = NEIGHBOUR_RANGE if reason == "ids" else timedelta(0)
    rows = await connection.fetch(
        _QUERIES[reason],
        [window.target.instrument_id for window in windows],
        [window.low for window in windows],
        [window.high for window in windows],
        [window.since for window in windows],
        [window.until for window in windows],
        min(window.since for window in windows) - margin,
        max(window.until for window in windows) + margin,
    )
    return [Finding(windows[row["n"] - 1].target, reason, *list(row)[1:]) for row in rows]


_WINDOWS = """
    unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
    WITH ORDINALITY AS w (instrument_id, low, high, since, until, n)"""
_TRADES = "SELECT trade_id, time FROM trades t WHERE t.instrument_id = w.instrument_id AND t.time >= $6 AND t.time < $7"
_CANDLES = """
    SELECT c.* FROM candles c
     WHERE c.instrument_id = w.instrument_id AND c.interval = '1m' AND c.time >= w.since AND c.time < w.until
       AND c.time >= $6 AND c.time < $7"""

# The window's trades with one neighbour on each side, by id. After an exchange restarts its ids, the larger id is the earlier
# trade, which is no gap.
_IDS = f"""
    SELECT w.n, gap.since, gap.until, lower(missing), upper(missing) - 1, upper(missing) - lower(missing), 0::bigint,
           format('ids %s to %s are not stored', lower(missing), upper(missing) - 1)
      FROM {_WINDOWS}
     CROSS JOIN LATERAL (
        SELECT trade_id, lead(trade_id) OVER by_id AS next_id, time, lead(time) OVER by_id AS next_time
          FROM ((SELECT * FROM ({_TRADES} AND t.time >= greatest(w.low, w.since - interval '1 day') AND t.time < w.since
                                ORDER BY time DESC, trade_id DESC LIMIT 1) AS before)
                UNION ALL
                {_TRADES} AND t.time >= w.since AND t.time < w.until
                UNION ALL
                (SELECT * FROM ({_TRADES} AND t.time >= w.until AND t.time < least(w.high, w.until + interval '1 day')
                                ORDER BY time, trade_id LIMIT 1) AS after)) AS near
         WHERE trade_id >= 0
        WINDOW by_id AS (ORDER BY trade_id)
     ) AS pair
     CROSS JOIN LATERAL (
        SELECT least(pair.time, pair.next_time) AS since, greatest(pair.time, pair.next_time) AS until,
               int8range(pair.trade_id + 1, pair.next_id) AS ids
     ) AS gap
     CROSS JOIN LATERAL unnest(
        int8multirange(gap.ids)
        - coalesce((SELECT range_agg(int8range(trade_id, trade_id, '[]'))
                      FROM ({_TRADES} AND t.time >= gap.since - interval '1 minute' AND t.time < gap.until + interval '1 minute'
                            AND t.trade_id <@ gap.ids) AS stored), '{{}}')
        - coalesce((SELECT range_agg(int8range(c.first_id, c.last_id, '[]'))
                      FROM coverage c
                     WHERE c.instrument_id = w.instrument_id AND c.channel = 'trades' AND c.state NOT IN ('covered', 'unverifiable')
                       AND c.first_id <= c.last_id AND int8range(c.first_id, c.last_id, '[]') && gap.ids), '{{}}')
     ) AS missing
     WHERE pair.next_id > pair.trade_id + 1 AND pair.next_time >= pair.time - interval '1 second'
     ORDER BY w.n, lower(missing)"""

# Consecutive minutes are one finding: each minute minus its row number is the same value for all of them.
_BUCKET = f"""
    SELECT n, min(time), max(time) + interval '1 minute', NULL::bigint, NULL::bigint, count(*), 0::bigint,
           format('no candle for %s minutes', count(*))
      FROM (
        SELECT w.n, bucket.time,
               bucket.time - interval '1 minute' * row_number() OVER (PARTITION BY w.n ORDER BY bucket.time) AS run
          FROM {_WINDOWS}
         CROSS JOIN LATERAL (
            SELECT generate_series(w.since, w.until - interval '1 minute', interval '1 minute') AS time
            EXCEPT
            SELECT time FROM ({_CANDLES}) AS candle
         ) AS bucket
         WHERE NOT EXISTS (
            SELECT FROM coverage c
             WHERE c.instrument_id = w.instrument_id AND c.channel = 'candles' AND c.writer = 'audit'
               AND c.since <= bucket.time AND (c.until IS NULL OR c.until >= bucket.time + interval '1 minute'))
      ) AS missing
     GROUP BY n, run ORDER BY n, min(time)"""

# A candle may have a number of trades without their ids.
_COUNT = f"""
    SELECT w.n, candle.time, candle.time + interval '1 minute', candle.first_trade_id, candle.last_trade_id,
           candle.trades_count::bigint, stored.count,
           format('the candle counts %s trades, ids %s to %s; stored are %s, ids %s to %s', candle.trades_count,
                  coalesce(candle.first_trade_id::text, 'missing'), coalesce(candle.last_trade_id::text, 'missing'), stored.count,
                  coalesce(stored.first::text, 'none'), coalesce(stored.last::text, 'none'))
      FROM {_WINDOWS}
     CROSS JOIN LATERAL ({_CANDLES} AND c.trades_count IS NOT NULL) AS candle
     CROSS JOIN LATERAL (
        SELECT count(*) AS count, min(trade_id) AS first, max(trade_id) AS last
          FROM ({_TRADES} AND t.time >= candle.time AND t.time < candle.time + interval '1 minute') AS minute
     ) AS stored
     WHERE stored.count <> candle.trades_count
        OR (stored.first, stored.last) IS DISTINCT FROM
           (coalesce(candle.first_trade_id, stored.first), coalesce(candle.last_trade_id, stored.last))
     ORDER BY w.n, candle.time"""

# OFFSET 0 keeps the condition on the minute inside bars_1m, where it uses an index; as a join it would read all bars. A continuous
# aggregate may lag behind its trades, so the trades decide; they are read only for the minutes whose bar differs.
_BARS = f"""
    SELECT w.n, candle.time, candle.time + interval '1 minute', candle.first_trade_id, candle.last_trade_id,
           candle.trades_count::bigint, made.count,
           format('the candle is %s, its trades make %s',
                  format('open %s high %s low %s close %s volume %s',
                         candle.open, candle.high, candle.low, candle.close, candle.volume),
                  format('open %s high %s low %s close %s volume %s', made.open, made.high, made.low, made.close, made.volume))
      FROM {_WINDOWS}
     CROSS JOIN LATERAL ({_CANDLES}) AS candle
      LEFT JOIN LATERAL (
        SELECT b.* FROM bars_1m b
         WHERE b.instrument_id = w.instrument_id AND b.time = candle.time AND b.time >= $6 AND b.time < $7
        OFFSET 0
     ) AS bar ON true
     CROSS JOIN LATERAL (
        SELECT first(price, timestamptz_send(time) || int8send(trade_id)) AS open, max(price) AS high, min(price) AS low,
               last(price, timestamptz_send(time) || int8send(trade_id)) AS close, coalesce(sum(size), 0) AS volume,
               count(*) AS count
          FROM trades t
         WHERE t.instrument_id = w.instrument_id AND t.time >= candle.time AND t.time < candle.time + interval '1 minute'
           AND t.time >= $6 AND t.time < $7
     ) AS made
     WHERE (coalesce(bar.volume, 0) <> candle.volume OR (candle.volume > 0 AND (bar.open, bar.high, bar.low, bar.close)
            IS DISTINCT FROM (candle.open, candle.high, candle.low, candle.close)))
       AND (made.volume <> candle.volume OR (candle.volume > 0 AND (made.open, made.high, made.low, made.close)
            IS DISTINCT FROM (candle.open, candle.high, candle.low, candle.close)))
     ORDER BY w.n, candle.time"""

_QUERIES: dict[Reason, str] = {"ids": _IDS, "bucket": _BUCKET, "count": _COUNT, "bars": _BARS}
