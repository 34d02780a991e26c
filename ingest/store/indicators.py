"""Computes the indicators of new and changed candles and stores them, in the transaction that takes the marks of the candles.

The table `indicators` is a function of the table `candles`: a revised or late candle recomputes the later values that depend on it.
No state is kept between two rounds, so a restart, a kill or another daemon changes no value. Two daemons that compute at once could
overwrite a newer value by an older one. The lease selects one daemon, but it may expire during the work, so a row of the table
`locks` excludes the other. https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec import Struct

from ingest.indicators.names import MAX_GAP_CANDLES, IndicatorSpec, candles_after, candles_before
from ingest.store.copy import copy_in
from ingest.store.indicator_dirty_ranges import LENGTHS, DirtyRange, take
from ingest.store.pool import Connection, transaction
from ingest.tables import INDICATORS

if TYPE_CHECKING:
    import asyncpg

    from ingest.indicators.values import Value

CANDLE_BUDGET = 3_000  # about how many candles one transaction computes: a writer that marks one of its ranges waits for it
READ_RANGES = 25  # ranges that are read at once: bounds the memory
NO_RETENTION = timedelta(days=36_500)
RowKey = tuple[int, str, str, datetime]  # instrument_id, interval, name, time


class Selection(Struct, frozen=True):
    """The indicators and the candles that they are computed for; empty `exchanges` or `instruments` mean all.

    Values of candles older than `kept` are not computed.
    """

    specs: tuple[IndicatorSpec, ...]
    intervals: tuple[str, ...]
    exchanges: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    kept: timedelta | None = None


class ComputeResult(Struct, frozen=True):
    """The number of marks taken, values computed, values inserted, and values that replaced another one."""

    taken: int = 0
    values: int = 0
    written: int = 0
    revised: int = 0

    def __add__(self, other: ComputeResult) -> ComputeResult:
        return ComputeResult(
            self.taken + other.taken, self.values + other.values, self.written + other.written, self.revised + other.revised
        )


async def compute(connection: Connection, selection: Selection, now: datetime | None = None) -> ComputeResult:
    """Compute and store the indicators of marked candles, the newest first, in one transaction.

    More may be due while `taken` is not 0. `now` defaults to the database's clock. Needs the owner's rights. Raises asyncpg's
    errors unchanged; no mark is taken then.
    """
    reach = {interval: candles_after(selection.specs, LENGTHS[interval], 0) for interval in selection.intervals}
    # Separate statements: a later one must see what the last writer of a mark committed before the first could lock the mark.
    async with transaction(connection, isolation="read_committed"):
        await connection.execute(_SETTINGS)
        taken, ranges = await take(
            connection, budget=CANDLE_BUDGET, reach=reach, exchanges=selection.exchanges, instruments=selection.instruments
        )
        if not ranges or not selection.specs:
            return ComputeResult(taken)
        now = now or await connection.fetchval("SELECT clock_timestamp()")
        kept = _within_retention(ranges, selection.specs, _minute(now - (selection.kept or NO_RETENTION)))
        lines: list[str] = []
        empty_keys: list[RowKey] = []
        for interval, run in _merged(kept, selection.specs):
            for start in range(0, len(run), READ_RANGES):
                rows = await _rows(connection, selection.specs, interval, run[start : start + READ_RANGES])
                lines += rows[0]
                empty_keys += rows[1]
        return ComputeResult(taken) + await _store(connection, lines, empty_keys)


# as in `ingest/store/rollup.py`, for the same reasons
_SETTINGS = """
    SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0; SET LOCAL jit = off;
    SELECT FROM locks WHERE name = 'indicators' FOR UPDATE
"""


def _within_retention(ranges: Sequence[DirtyRange], specs: Sequence[IndicatorSpec], oldest: int) -> Iterator[DirtyRange]:
    """The parts of the ranges from `oldest` (minutes) on; a range before it is moved there if later values depend on it."""
    for part in ranges:
        length = LENGTHS[part.interval]
        reach = candles_after(specs, length, part.until) * (MAX_GAP_CANDLES + 1) * length  # if every gap is as long as allowed
        if part.until + reach >= oldest:
            yield DirtyRange(part.instrument_id, part.interval, max(part.since, oldest), max(part.until, oldest))


def _merged(ranges: Iterable[DirtyRange], specs: Sequence[IndicatorSpec]) -> Iterator[tuple[str, list[DirtyRange]]]:
    """The ranges by interval; ranges of one series are merged if the values of one depend on the candles of the other."""
    for interval, of_interval in groupby(sorted(ranges, key=_order), key=attrgetter("interval")):
        runs: list[DirtyRange] = []
        length = LENGTHS[interval]
        for part in of_interval:
            last = runs[-1] if runs else None
            if (
                last
                and last.instrument_id == part.instrument_id
                and part.since <= last.until + length * candles_after(specs, length, last.until)
            ):
                runs[-1] = DirtyRange(part.instrument_id, interval, last.since, max(last.until, part.until))
            else:
                runs.append(part)
        yield interval, runs


def _order(dirty_range: DirtyRange) -> tuple[str, int, int]:
    return dirty_range.interval, dirty_range.instrument_id, dirty_range.since


# --- from candles to values ---------------------------------------------------------------------------------------------


async def _rows(
    connection: Connection, specs: Sequence[IndicatorSpec], interval: str, run: Sequence[DirtyRange]
) -> tuple[list[str], list[RowKey]]:
    """For the ranges and the later candles that depend on them: rows as COPY text, and the keys of candles without a value."""
    length = LENGTHS[interval]
    since, until = [part.since for part in run], [part.until for part in run]
    needed = [candles_before(specs, length, start) for start in since]
    rows = await connection.fetch(
        _READ,
        interval,
        [part.instrument_id for part in run],
        since,
        until,
        needed,
        [candles_after(specs, length, end) for end in until],
        min(since) - max(needed) * (MAX_GAP_CANDLES + 1) * length,  # no window reaches further back: it would have a gap
    )
    return await asyncio.to_thread(_computed, specs, interval, since, rows)


# One row for each range: its candles and those before and after it, as arrays. `$7` is a constant bound that excludes older chunks;
# without it a new series would be searched in every chunk.
_READ = """
    SELECT s.instrument_id, s.n, c.*
      FROM unnest($2::int[], $3::int[], $4::int[], $5::int[], $6::int[]) WITH ORDINALITY
        AS s (instrument_id, since, until, before, after, n)
     CROSS JOIN LATERAL (
           SELECT array_agg((date_part('epoch', time) / 60)::int) AS time, array_agg(open::float8) AS open,
                  array_agg(high::float8) AS high, array_agg(low::float8) AS low, array_agg(close::float8) AS close,
                  array_agg(volume::float8) AS volume
             FROM (
                  (SELECT time, open, high, low, close, volume FROM candles
                    WHERE instrument_id = s.instrument_id AND interval = $1
                      AND time < to_timestamp(s.since * 60.0) AND time >= to_timestamp($7::int * 60.0)
                    ORDER BY time DESC LIMIT s.before)
                  UNION ALL
                  (SELECT time, open, high, low, close, volume FROM candles
                    WHERE instrument_id = s.instrument_id AND interval = $1
                      AND time >= to_timestamp(s.since * 60.0) AND time <= to_timestamp(s.until * 60.0)
                      AND time >= to_timestamp($7::int * 60.0))
                  UNION ALL
                  (SELECT time, open, high, low, close, volume FROM candles
                    WHERE instrument_id = s.instrument_id AND interval = $1
                      AND time > to_timestamp(s.until * 60.0) AND time >= to_timestamp($7::int * 60.0)
                    ORDER BY time LIMIT s.after)
                  ) found
           ) c
"""


def _computed(
    specs: Sequence[IndicatorSpec], interval: str, since: Sequence[int], rows: Sequence[asyncpg.Record]
) -> tuple[list[str], list[RowKey]]:
    # imported here, because they cost 20 MB and 0.2 s that only a daemon that computes indicators needs
    import numpy as np  # noqa: PLC0415

    from ingest.indicators.values import Bars, values  # noqa: PLC0415

    lines: list[str] = []
    empty_keys: list[RowKey] = []
    for row in rows:
        if row["time"] is None:
            continue
        order = np.argsort(row["time"])  # cheaper than on the server, which would sort whole rows
        columns = (np.array(row[name])[order] for name in ("time", "open", "high", "low", "close", "volume"))
        bars = Bars(LENGTHS[interval], *columns)
        series = f"{row['instrument_id']}\t{interval}\t"
        for value in values(bars, specs, since[row["n"] - 1]):
            if value.values:
                lines.append(_line(series, value))
            else:
                empty_keys.append((row["instrument_id"], interval, value.spec.name, datetime.fromtimestamp(value.time * 60, UTC)))
    return lines, empty_keys


def _line(series: str, value: Value) -> str:
    """One row for COPY. Twelve significant digits: further digits are rounding errors."""
    start = f"{series}{value.spec.name}\t{_time(value.time)}\t{value.values[0]:.12g}\t"
    more = [f'"{name}": {further:.12g}' for name, further in zip(value.spec.kind.outputs[1:], value.values[1:], strict=True)]
    if value.candles is not None:
        more.append(f'"candles": {value.candles}')
    return f"{start}{{{', '.join(more)}}}\n" if more else f"{start}\\N\n"


@lru_cache(maxsize=CANDLE_BUDGET)
def _time(minute: int) -> str:
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%d %H:%M:%S+00}"


def _minute(time: datetime) -> int:
    return int(time.timestamp() // 60)


# --- into the table -----------------------------------------------------------------------------------------------------

_STAGED = tuple(column.name for column in INDICATORS.columns if column.name != "received_at")
_KEY = ", ".join(INDICATORS.key)
_STAGE = "CREATE TEMP TABLE stage (instrument_id int, interval text, name text, time timestamptz, value numeric, metadata jsonb)"
# Unlike polled rows, `received_at` does not decide: the newer transaction has the newer candles, whatever the clock says. A key
# may be staged twice with the same value, if few candles lie between two ranges and the second depends on the first as well.
_MERGE = f"""
    WITH merged AS (
        INSERT INTO indicators AS t ({", ".join(_STAGED)}, received_at)
        SELECT DISTINCT ON ({_KEY}) {", ".join(_STAGED)}, clock_timestamp() FROM stage ORDER BY {_KEY}
        ON CONFLICT ({_KEY}) DO UPDATE
           SET value = EXCLUDED.value, metadata = EXCLUDED.metadata, received_at = EXCLUDED.received_at
         WHERE (t.value, t.metadata) IS DISTINCT FROM (EXCLUDED.value, EXCLUDED.metadata)
        RETURNING xmax = 0 AS inserted
    )
    SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged
"""
_DELETE = "DELETE FROM indicators WHERE instrument_id = $1 AND interval = $2 AND name = $3 AND time = $4"


async def _store(connection: Connection, lines: Sequence[str], empty_keys: Sequence[RowKey]) -> ComputeResult:
    """Write the rows, and delete the keys that have no value any more."""
    await connection.execute(f"{_STAGE} ON COMMIT DROP")
    await copy_in(connection, "stage", _STAGED, "".join(lines).encode())
    row = await connection.fetchrow(_MERGE)
    assert row is not None  # an aggregate returns one row
    # one by one, since they are few: a join may read the whole of a new chunk, of which the planner has no statistics
    await connection.executemany(_DELETE, empty_keys)
    return ComputeResult(values=len(lines), written=row[0], revised=row[1])
