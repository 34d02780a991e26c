"""Roll-ups: candles of 5m and more from the 1m candles, and the bars behind bars_1m and its kin where nothing else makes them.

A writer marks the bucket of each row dirty, in the transaction that writes the row. `roll_up` takes the marks of closed buckets,
makes the bars from their parts, and marks the buckets above those that changed. History comes in days: one that is over, and of
which a batch has many buckets, is marked as a whole, and its candles are made together (of 200,000 bars in 2 s, not 17). Whoever
writes candles also marks their stretch (`ingest/store/indicator_dirty_ranges.py`), for the indicators.
https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
The rule one would get wrong: a mark that is there already must still be locked by the next writer. Otherwise `roll_up` could
take it and read the parts just before that writer commits, and nobody would look again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from ingest.records import INTERVALS, MINUTE, Micros
from ingest.store.indicator_dirty_ranges import mark as mark_stretches
from ingest.store.indicator_dirty_ranges import of_candles
from ingest.store.pool import Connection, transaction
from ingest.store.ts_edition import Edition
from ingest.tables import CANDLES

HOUR, DAY = INTERVALS["1h"], INTERVALS["1d"]
Mark = tuple[str, int, Micros]  # (target, instrument_id, start of the bucket)

GRACE = timedelta(seconds=10)  # how long after its end a bucket waits for parts that have not come
LIMIT = 500  # buckets of one target in one transaction: a writer that marks one of them waits as long
DAYS_LIMIT = 14  # whole days in one transaction, 415 bars each
MANY = 24  # buckets of 5m in a day that are marked as that day: fewer are less work one by one
WHOLE_DAY = "day"  # the target of such a mark
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_BAR = ("open", "high", "low", "close", "volume", "quote_volume", "trades_count")
BAR = (*DAY_BAR, "buy_volume", "first_trade_id", "last_trade_id")


class Target(Struct, frozen=True):
    """One kind of bar. `made` is the SQL function that makes the bar of bucket `d`; `length` is in microseconds.

    `last_part` is the SQL test whether the bucket's last part is there, `above` the target that is made of this one, `made_of_day`
    the SQL function that makes all bars of day `d`.
    """

    name: str
    length: int
    table: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    made: str
    last_part: str = "false"
    above: str | None = None
    made_of_day: str = ""


class Rolled(Struct, frozen=True):
    """How many marks were taken, bars written, and bars given other values."""

    taken: int = 0
    written: int = 0
    revised: int = 0

    def __add__(self, other: Rolled) -> Rolled:
        return Rolled(self.taken + other.taken, self.written + other.written, self.revised + other.revised)


# --- marks --------------------------------------------------------------------------------------------------------------


class Batch(Protocol):
    """What the marker reads of a batch: (instrument_id, minutes since the epoch) of its rows."""

    @property
    def minutes(self) -> Collection[tuple[int, int]]: ...


def marker(table: str, edition: Edition) -> Callable[[Connection, Batch], Awaitable[None]] | None:
    """What the writer of `table` must do after its rows, in their transaction; None where nothing is rolled up from it."""
    targets = WATCHED[edition].get(table)
    if targets is None:
        return None

    async def mark_batch(connection: Connection, batch: Batch) -> None:
        await mark(connection, by_day(marks(targets, batch.minutes), time.time_ns() // 1000))
        if table == CANDLES.name:
            await mark_stretches(connection, of_candles("1m", batch.minutes))

    return mark_batch


def by_day(marks: set[Mark], now: Micros) -> set[Mark]:
    """The same, but one mark for each day before that of `now` of which there are many buckets of 5m."""
    counts = Counter([(one, start // DAY) for target, one, start in marks if target == "5m"])
    days = {(one, day) for (one, day), count in counts.items() if count >= MANY and day < now // DAY}
    if not days:
        return marks
    kept = {one for one in marks if one[0] != "5m" or (one[1], one[2] // DAY) not in days}
    return kept | {(WHOLE_DAY, one, day * DAY) for one, day in days}


def marks(targets: Iterable[str], minutes: Collection[tuple[int, int]]) -> set[Mark]:
    """The buckets of `targets` that the minutes are in."""
    made: set[Mark] = set()
    for target in targets:
        length = LENGTHS[target] // MINUTE
        buckets = {(instrument_id, minute - minute % length) for instrument_id, minute in minutes}
        made |= {(target, instrument_id, minute * MINUTE) for instrument_id, minute in buckets}
    return made


async def mark(connection: Connection, marks: Iterable[Mark]) -> None:
    """Mark buckets dirty, in the caller's transaction: the one that writes their rows, after the rows.

    Two writers of one bucket wait for each other. Sorted: in different orders they would deadlock.
    """
    if rows := sorted(set(marks)):
        targets, instruments, times = zip(*rows, strict=True)
        await connection.execute(_MARK, targets, instruments, [time // MINUTE for time in times])


_MARK = """
    INSERT INTO rollup_dirty (target, instrument_id, time)
    SELECT target, instrument_id, to_timestamp(minute * 60.0)
      FROM unnest($1::text[], $2::int[], $3::int[]) AS marked (target, instrument_id, minute)
    ON CONFLICT (target, instrument_id, time) DO UPDATE SET marked_at = now()
"""


# --- what is made of what -----------------------------------------------------------------------------------------------


def _candle(name: str, part: str, above: str | None) -> Target:
    length = INTERVALS[name]
    return Target(
        name,
        length,
        CANDLES.name,
        CANDLES.key,
        tuple(column.name for column in CANDLES.columns if column.name not in CANDLES.key),
        f"candle_of_parts(d.instrument_id, '{name}', d.time, '{part}', {_interval(length)})",
        _candle_exists(part, length - INTERVALS[part]),
        above,
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

TARGETS: tuple[Target, ...] = (  # parts before what is made of them, so that one call carries a change all the way up
    _candle("5m", "1m", "15m"),
    _candle("15m", "5m", "1h"),
    _candle("1h", "15m", "4h"),
    _candle("4h", "1h", "1d"),
    _candle("1d", "4h", None),
    Target("bars_1m", MINUTE, "bars_1m_rollup", _KEY, BAR, "bar_1m_of_trades(d.instrument_id, d.time)", above="bars_1h"),
    Target("bars_1h", HOUR, "bars_1h_rollup", _KEY, BAR, "bar_1h_of_minutes(d.instrument_id, d.time)"),
    Target("daily_ohlcv", DAY, "daily_ohlcv_rollup", _KEY, DAY_BAR, "day_of_candles(d.instrument_id, d.time)", _LAST_MINUTE),
)
WHOLE = Target(WHOLE_DAY, DAY, CANDLES.name, CANDLES.key, (), "")
LENGTHS = {target.name: target.length for target in TARGETS}
WATCHED: dict[Edition, dict[str, tuple[str, ...]]] = {  # what a row of a table makes dirty; `roll_up` marks what is above
    "community": {"candles": ("5m",)},
    "apache": {"candles": ("5m", "daily_ohlcv"), "trades": ("bars_1m",)},
}


# --- rolling up ---------------------------------------------------------------------------------------------------------


async def roll_up(connection: Connection, now: datetime | None = None) -> Rolled:
    """Make the bars of the dirty buckets that are closed at `now` (the database's clock, if None), some hundreds of each target.

    Returns what was done; more may be due while `taken` is not 0. A bucket is closed when its last part is there or GRACE has
    passed since its end. Needs the owner's rights. Raises asyncpg's errors as they are; nothing is then taken.
    """
    rolled = await _roll_days(connection, now)
    for target in TARGETS:
        rolled += await _roll(connection, target, now)
    return rolled


async def _roll(connection: Connection, target: Target, now: datetime | None) -> Rolled:
    # Two statements: the second must see what the last writer of a mark committed before the first could lock it.
    async with transaction(connection, isolation="read_committed"):
        await connection.execute(_SETTINGS)
        taken = await connection.fetch(_take(target), target.name, now)
        if not taken:
            return Rolled()
        instruments, times = zip(*taken, strict=True)
        bars = await connection.fetch(_make(target), instruments, times)
        if target.above:
            await mark(connection, {(target.above, bar["instrument_id"], _bucket(bar["time"], target.above)) for bar in bars})
        if target.table == CANDLES.name:
            made = [(bar["instrument_id"], _micros(bar["time"]) // MINUTE) for bar in bars]
            await mark_stretches(connection, of_candles(target.name, made))
    written = sum(bar["written"] for bar in bars)
    return Rolled(len(taken), written, len(bars) - written)


async def _roll_days(connection: Connection, now: datetime | None) -> Rolled:
    """All candles of the days that are marked as a whole."""
    rolled = Rolled()
    async with transaction(connection, isolation="read_committed"):
        await connection.execute(_SETTINGS)
        taken = await connection.fetch(_take(WHOLE, DAYS_LIMIT), WHOLE.name, now)
        if not taken:
            return rolled
        instruments, times = zip(*taken, strict=True)
        for target in (target for target in TARGETS if target.table == CANDLES.name):
            row = await connection.fetchrow(_make_days(target), instruments, times)
            assert row is not None  # an aggregate always gives its one row
            rolled += Rolled(0, row["written"], row["revised"])
            if row["written"] or row["revised"]:
                days = [(one, _micros(day)) for one, day in zip(instruments, times, strict=True)]
                edges = [(one, edge // MINUTE) for one, day in days for edge in (day, day + DAY - target.length)]
                await mark_stretches(connection, of_candles(target.name, edges))
    return rolled + Rolled(len(taken))


def _make_days(target: Target) -> str:
    return f"""
        WITH made AS ({_make(replace(target, made=target.made_of_day))})
        SELECT count(*) FILTER (WHERE written) AS written, count(*) FILTER (WHERE NOT written) AS revised FROM made
    """


# A late bar may be in a compressed chunk: 500 of them open 500 batches of up to 1,000 rows, and 100,000 rows are the limit.
# A plan names every chunk there is, of which one is read: compiling it for 20 chunks took 4.5 s, running it 0.1 s.
_SETTINGS = "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0; SET LOCAL jit = off"


def _take(target: Target, limit: int = LIMIT) -> str:
    """A mark that a writer holds is passed over: it is taken when that writer has committed."""
    return f"""
        WITH due AS MATERIALIZED (
            SELECT d.target, d.instrument_id, d.time FROM rollup_dirty d
            WHERE d.target = $1
              AND (d.time + {_interval(target.length)} + interval '{GRACE.seconds} seconds' <= coalesce($2, clock_timestamp())
                   OR {target.last_part})
            ORDER BY d.time, d.instrument_id
            LIMIT {limit}
            FOR UPDATE SKIP LOCKED
        )
        DELETE FROM rollup_dirty d USING due
        WHERE (d.target, d.instrument_id, d.time) = (due.target, due.instrument_id, due.time)
        RETURNING d.instrument_id, d.time
    """


def _make(target: Target) -> str:
    """Returns the bars that are new or have other values; a bar that is what it was is not touched."""
    replaced = ", ".join(f"{name} = EXCLUDED.{name}" for name in target.values)
    compared = [name for name in target.values if name != "received_at"]
    stored, new = (", ".join(f"{row}.{name}" for name in compared) for row in ("t", "EXCLUDED"))
    return f"""
        INSERT INTO {target.table} AS t
        SELECT made.* FROM unnest($1::int[], $2::timestamptz[]) AS d (instrument_id, time) CROSS JOIN LATERAL {target.made} AS made
        ON CONFLICT ({", ".join(target.key)}) DO UPDATE SET {replaced} WHERE ({stored}) IS DISTINCT FROM ({new})
        RETURNING t.instrument_id, t.time, t.xmax = 0 AS written
    """


def _bucket(time: datetime, target: str) -> Micros:
    micros = _micros(time)
    return micros - micros % LENGTHS[target]


def _micros(time: datetime) -> Micros:
    return (time - EPOCH) // timedelta(microseconds=1)
