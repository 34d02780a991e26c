"""Roll-ups: candles of 5m and longer from the 1m candles and, without continuous aggregates, the bars behind bars_1m, bars_1h and
daily_ohlcv.

A writer marks the bucket of each row dirty, in the transaction that writes the row. `roll_up` takes the marks of closed buckets,
computes their bars from the parts, and marks the longer buckets that depend on the changed ones. History arrives in days: a past
day of which a batch has many buckets is marked as a whole, and its candles are computed together (200,000 bars in 2 s instead of
17). A writer of candles also marks their range for the indicators (`ingest/store/indicator_dirty_ranges.py`).

A writer locks a mark even if it exists already. Otherwise `roll_up` could take the mark and read the parts just before that writer
commits, and its rows would never be rolled up. https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from ingest.records import INTERVALS, MINUTE, Micros
from ingest.store.indicator_dirty_ranges import mark as mark_ranges
from ingest.store.indicator_dirty_ranges import ranges_of_candles
from ingest.store.pool import Connection, transaction
from ingest.store.ts_edition import Edition
from ingest.tables import CANDLES

HOUR, DAY = INTERVALS["1h"], INTERVALS["1d"]
DirtyBucket = tuple[str, int, Micros]  # (target, instrument_id, start of the bucket)

GRACE = timedelta(seconds=10)  # from the end of a bucket, for parts that are still missing
BUCKETS_LIMIT = 500  # buckets of one target in one transaction: a writer that marks one of them waits for it
DAYS_LIMIT = 14  # whole days in one transaction, 415 bars each
DAY_MIN_BUCKETS = 24  # a day with so many 5m buckets is marked as a whole; fewer are cheaper one by one
WHOLE_DAY = "day"  # the target of such a mark
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAILY_COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "trades_count")
BAR_COLUMNS = (*DAILY_COLUMNS, "buy_volume", "first_trade_id", "last_trade_id")


class Target(Struct, frozen=True):
    """One kind of bar. `bar_function` is SQL for the bar of bucket `d`, `day_function` for all bars of day `d`.

    `length` is in microseconds. `last_part_exists` is an SQL test whether the bucket's last part is stored; `feeds` is the target
    that is computed from this one.
    """

    name: str
    length: int
    table: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    bar_function: str
    last_part_exists: str = "false"
    feeds: str | None = None
    day_function: str = ""


class RollupResult(Struct, frozen=True):
    """The number of marks taken, rows inserted, and rows whose values changed."""

    taken: int = 0
    written: int = 0
    revised: int = 0

    def __add__(self, other: RollupResult) -> RollupResult:
        return RollupResult(self.taken + other.taken, self.written + other.written, self.revised + other.revised)


# --- marks --------------------------------------------------------------------------------------------------------------


def is_rolled_up(table: str, edition: Edition) -> bool:
    """Whether `mark_batch` needs the minutes of this table's rows."""
    return table in TARGETS_BY_TABLE[edition]


async def mark_batch(connection: Connection, table: str, edition: Edition, minutes: Collection[tuple[int, int]]) -> None:
    """Mark what depends on rows of `table`, in the transaction that writes them, after the rows.

    `minutes` are (instrument_id, minutes since the epoch) of the rows.
    """
    if not is_rolled_up(table, edition):
        return
    await mark(connection, merge_days(buckets_of(TARGETS_BY_TABLE[edition][table], minutes), time.time_ns() // 1000))
    if table == CANDLES.name:
        await mark_ranges(connection, ranges_of_candles("1m", minutes))


def merge_days(buckets: set[DirtyBucket], now: Micros) -> set[DirtyBucket]:
    """Replace the 5m buckets of a past day by one mark of the day, if there are at least DAY_MIN_BUCKETS."""
    counts = Counter([(instrument_id, start // DAY) for target, instrument_id, start in buckets if target == "5m"])
    days = {series_day for series_day, count in counts.items() if count >= DAY_MIN_BUCKETS and series_day[1] < now // DAY}
    if not days:
        return buckets
    kept = {bucket for bucket in buckets if bucket[0] != "5m" or (bucket[1], bucket[2] // DAY) not in days}
    return kept | {(WHOLE_DAY, instrument_id, day * DAY) for instrument_id, day in days}


def buckets_of(targets: Iterable[str], minutes: Collection[tuple[int, int]]) -> set[DirtyBucket]:
    """The buckets of `targets` that contain the minutes."""
    buckets: set[DirtyBucket] = set()
    for target in targets:
        length = LENGTHS[target] // MINUTE
        starts = {(instrument_id, minute - minute % length) for instrument_id, minute in minutes}
        buckets |= {(target, instrument_id, minute * MINUTE) for instrument_id, minute in starts}
    return buckets


async def mark(connection: Connection, buckets: Iterable[DirtyBucket]) -> None:
    """Mark buckets dirty in the caller's transaction, which writes their rows before.

    Two writers of one bucket wait for each other. The marks are sorted: in different orders the writers would deadlock.
    """
    if rows := sorted(set(buckets)):
        targets, instruments, times = zip(*rows, strict=True)
        await connection.execute(_MARK, targets, instruments, [time // MINUTE for time in times])


_MARK = """
    INSERT INTO rollup_dirty (target, instrument_id, time)
    SELECT target, instrument_id, to_timestamp(minute * 60.0)
      FROM unnest($1::text[], $2::int[], $3::int[]) AS marked (target, instrument_id, minute)
    ON CONFLICT (target, instrument_id, time) DO UPDATE SET marked_at = now()
"""


# --- targets ------------------------------------------------------------------------------------------------------------


def _candle(name: str, part: str, feeds: str | None) -> Target:
    length = INTERVALS[name]
    return Target(
        name,
        length,
        CANDLES.name,
        CANDLES.key,
        tuple(column.name for column in CANDLES.columns if column.name not in CANDLES.key),
        f"candle_of_parts(d.instrument_id, '{name}', d.time, '{part}', {_interval(length)})",
        _candle_exists(part, length - INTERVALS[part]),
        feeds,
        f"candles_of_parts(d.instrument_id, '{name}', d.time, d.time + {_interval(DAY)}, '{part}', {_interval(length)})",
    )


def _candle_exists(part: str, after: Micros) -> str:
    return (
        f"EXISTS (SELECT FROM candles c WHERE c.instrument_id = d.instrument_id AND c.interval = '{part}'"
        f" AND c.time = d.time + {_interval(after)})"
    )


def _interval(length: Micros) -> str:
    return f"interval '{length // MINUTE} minutes'"


_KEY = ("instrument_id", "time")
_LAST_MINUTE = _candle_exists("1m", DAY - MINUTE)

TARGETS: tuple[Target, ...] = (  # shorter before longer, so that one call of `roll_up` carries a change to all of them
    _candle("5m", "1m", "15m"),
    _candle("15m", "5m", "1h"),
    _candle("1h", "15m", "4h"),
    _candle("4h", "1h", "1d"),
    _candle("1d", "4h", None),
    Target("bars_1m", MINUTE, "bars_1m_rollup", _KEY, BAR_COLUMNS, "bar_1m_of_trades(d.instrument_id, d.time)", feeds="bars_1h"),
    Target("bars_1h", HOUR, "bars_1h_rollup", _KEY, BAR_COLUMNS, "bar_1h_of_minutes(d.instrument_id, d.time)"),
    Target("daily_ohlcv", DAY, "daily_ohlcv_rollup", _KEY, DAILY_COLUMNS, "day_of_candles(d.instrument_id, d.time)", _LAST_MINUTE),
)
WHOLE = Target(WHOLE_DAY, DAY, CANDLES.name, CANDLES.key, (), "")
LENGTHS = {target.name: target.length for target in TARGETS}
# the targets that a row of the table marks; `roll_up` marks the targets that they feed
TARGETS_BY_TABLE: dict[Edition, dict[str, tuple[str, ...]]] = {
    "community": {"candles": ("5m",)},
    "apache": {"candles": ("5m", "daily_ohlcv"), "trades": ("bars_1m",)},
}


# --- rolling up ---------------------------------------------------------------------------------------------------------


async def roll_up(connection: Connection, now: datetime | None = None) -> RollupResult:
    """Compute the bars of dirty buckets that are closed at `now` (default: the database's clock), at most BUCKETS_LIMIT per target.

    More may be due while `taken` is not 0. A bucket is closed when its last part is stored or GRACE has passed since its end.
    Needs the owner's rights. Raises asyncpg's errors unchanged; no mark is taken then.
    """
    result = await _roll_up_days(connection, now)
    for target in TARGETS:
        result += await _roll_up_target(connection, target, now)
    return result


async def _roll_up_target(connection: Connection, target: Target, now: datetime | None) -> RollupResult:
    # Two statements: the second must see what the last writer of a mark committed before the first could lock the mark.
    async with transaction(connection, isolation="read_committed"):
        await connection.execute(_SETTINGS)
        taken = await connection.fetch(_take(target), target.name, now)
        if not taken:
            return RollupResult()
        instruments, times = zip(*taken, strict=True)
        bars = await connection.fetch(_make(target), instruments, times)
        if target.feeds:
            await mark(connection, {(target.feeds, bar["instrument_id"], _bucket(bar["time"], target.feeds)) for bar in bars})
        if target.table == CANDLES.name:
            made = [(bar["instrument_id"], _micros(bar["time"]) // MINUTE) for bar in bars]
            await mark_ranges(connection, ranges_of_candles(target.name, made))
    written = sum(bar["written"] for bar in bars)
    return RollupResult(len(taken), written, len(bars) - written)


async def _roll_up_days(connection: Connection, now: datetime | None) -> RollupResult:
    """Compute all candles of the days that are marked as a whole."""
    result = RollupResult()
    async with transaction(connection, isolation="read_committed"):
        await connection.execute(_SETTINGS)
        taken = await connection.fetch(_take(WHOLE, DAYS_LIMIT), WHOLE.name, now)
        if not taken:
            return result
        instruments, times = zip(*taken, strict=True)
        for target in (target for target in TARGETS if target.table == CANDLES.name):
            row = await connection.fetchrow(_make_days(target), instruments, times)
            assert row is not None  # an aggregate returns one row
            result += RollupResult(0, row["written"], row["revised"])
            if row["written"] or row["revised"]:
                days = [(instrument_id, _micros(day)) for instrument_id, day in zip(instruments, times, strict=True)]
                edges = [
                    (instrument_id, edge // MINUTE) for instrument_id, day in days for edge in (day, day + DAY - target.length)
                ]
                await mark_ranges(connection, ranges_of_candles(target.name, edges))
    return result + RollupResult(len(taken))


def _make_days(target: Target) -> str:
    return f"""
        WITH made AS ({_make(replace(target, bar_function=target.day_function))})
        SELECT count(*) FILTER (WHERE written) AS written, count(*) FILTER (WHERE NOT written) AS revised FROM made
    """


# Late bars may be in compressed chunks: 500 bars decompress up to 500 batches of 1,000 rows, over the default limit of 100,000
# rows. The plan names every chunk and reads one: JIT compilation for 20 chunks took 4.5 s, execution 0.1 s.
_SETTINGS = "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0; SET LOCAL jit = off"


def _take(target: Target, limit: int = BUCKETS_LIMIT) -> str:
    """SQL that takes due marks. A mark that a writer has locked is skipped; it is taken after that writer commits."""
    return f"""
        WITH due AS MATERIALIZED (
            SELECT d.target, d.instrument_id, d.time FROM rollup_dirty d
            WHERE d.target = $1
              AND (d.time + {_interval(target.length)} + interval '{GRACE.seconds} seconds' <= coalesce($2, clock_timestamp())
                   OR {target.last_part_exists})
            ORDER BY d.time, d.instrument_id
            LIMIT {limit}
            FOR UPDATE SKIP LOCKED
        )
        DELETE FROM rollup_dirty d USING due
        WHERE (d.target, d.instrument_id, d.time) = (due.target, due.instrument_id, due.time)
        RETURNING d.instrument_id, d.time
    """


def _make(target: Target) -> str:
    """SQL that returns the bars that are new or changed; an unchanged bar is not written."""
    replaced = ", ".join(f"{name} = EXCLUDED.{name}" for name in target.values)
    compared = [name for name in target.values if name != "received_at"]
    stored, new = (", ".join(f"{row}.{name}" for name in compared) for row in ("t", "EXCLUDED"))
    return f"""
        INSERT INTO {target.table} AS t SELECT made.* FROM unnest($1::int[], $2::timestamptz[]) AS d (instrument_id, time) CROSS
        JOIN LATERAL {target.bar_function} AS made ON CONFLICT ({", ".join(target.key)}) DO UPDATE SET {replaced} WHERE ({stored})
        IS DISTINCT FROM ({new}) RETURNING t.instrument_id, t.time, t.xmax = 0 AS written
    """


def _bucket(time: datetime, target: str) -> Micros:
    micros = _micros(time)
    return micros - micros % LENGTHS[target]


def _micros(time: datetime) -> Micros:
    return (time - EPOCH) // timedelta(microseconds=1)
