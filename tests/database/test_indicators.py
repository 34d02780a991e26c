"""Indicators in the database, on both editions: the stored values follow from the candles, in whatever order they arrive.

The candles are real hours of BTC/USDT; the expected values are computed from all of them at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec import Struct
from msgspec.structs import replace

from ingest.indicators.names import DEFAULT, MAX_GAP_CANDLES, parse
from ingest.indicators.values import Bars, values
from ingest.store.indicator_dirty_ranges import BLOCK, CHANNEL, DirtyRange, mark, mark_stored, ranges_of_candles
from ingest.store.indicators import ComputeResult, Selection, compute
from ingest.store.rollup import mark_batch, roll_up
from tests.support.real_hours import hours, part

NAMED = tuple(parse(name) for name in DEFAULT)
SELECTION = Selection(NAMED, ("1h",))
FEW = Selection((parse("SMA_3"), parse("VWAP_2")), ("1h",))


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def bars(real: Path) -> Bars:
    return hours(real)


async def put(connection: Any, bars: Bars, instrument_id: int = 1) -> None:
    """Insert candles and their marks in one transaction, as the batch writer does."""
    rows = [
        (instrument_id, datetime.fromtimestamp(int(time) * 60, UTC), *(Decimal(repr(float(value))) for value in bar))
        for time, *bar in zip(bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    ]
    async with connection.transaction():
        await connection.executemany(
            "INSERT INTO candles (instrument_id, interval, time, open, high, low, close, volume, parts, origin, received_at)"
            " VALUES ($1, '1h', $2, $3, $4, $5, $6, $7, 60, 'rest', $2) ON CONFLICT (instrument_id, interval, time) DO UPDATE"
            " SET close = EXCLUDED.close, volume = EXCLUDED.volume",
            rows,
        )
        await mark(connection, ranges_of_candles("1h", [(instrument_id, int(time)) for time in bars.time]))


async def settle(connection: Any, selection: Selection = SELECTION) -> ComputeResult:
    """Compute until nothing is marked."""
    done = ComputeResult()
    while (step := await compute(connection, selection)).taken:
        done += step
    return done


async def stored(connection: Any, instrument_id: int = 1) -> list[tuple[Any, ...]]:
    query = "SELECT name, time, value, metadata FROM indicators WHERE instrument_id = $1 ORDER BY time, name"
    return [tuple(row) for row in await connection.fetch(query, instrument_id)]


def expected(bars: Bars, since: int = 0, selection: Selection = SELECTION) -> list[tuple[Any, ...]]:
    """The expected rows from the candle with the index `since` on, in the order of `stored`."""
    rows = []
    for row in values(bars, selection.specs, int(bars.time[since])):
        if row.values:
            more = dict(zip(row.spec.kind.outputs[1:], (float(f"{value:.12g}") for value in row.values[1:]), strict=True))
            more |= {} if row.candles is None else {"candles": row.candles}
            time = datetime.fromtimestamp(row.time * 60, UTC)
            rows.append((row.spec.name, time, Decimal(f"{row.values[0]:.12g}"), more or None))
    return sorted(rows, key=lambda row: (row[1], row[0]))


def parsed(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(name, time, value, more and json.loads(more)) for name, time, value, more in rows]


async def test_live_candles_a_backfill_and_one_computation_give_the_same(connection: Any, bars: Bars) -> None:
    """One instrument gets the last two days candle by candle; the other gets all candles, the newer half first."""
    live = len(bars.time) - 48
    await put(connection, part(bars, slice(0, live)))
    await settle(connection)
    for index in range(live, len(bars.time)):
        await put(connection, part(bars, slice(index, index + 1)))
        await settle(connection)
    for half in (slice(732, None), slice(0, 732)):
        await put(connection, part(bars, half), 2)
        await settle(connection)

    assert parsed(await stored(connection)) == expected(bars)
    assert await stored(connection) == await stored(connection, 2)


async def test_a_revised_or_late_candle_recomputes_the_later_values(connection: Any, bars: Bars) -> None:
    without = part(bars, [*range(600), *range(640, 700), *range(701, 800)])  # a gap, and one missing candle
    await put(connection, without)
    await settle(connection)
    assert parsed(await stored(connection)) == expected(without)

    revised = replace(part(bars, slice(0, 800)), close=bars.close[:800].copy())
    revised.close[650] += 100
    for late in (slice(650, 651), slice(700, 701), slice(600, 640)):
        await put(connection, part(revised, late))
    done = await settle(connection)

    assert parsed(await stored(connection)) == expected(revised)
    assert 0 < done.written < done.values
    assert 0 < done.revised < done.values
    assert await mark_all(connection) == 800
    assert await settle(connection) == ComputeResult(taken=2, values=len(expected(revised)))


async def mark_all(connection: Any) -> int:
    await connection.execute(
        "INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status) OVERRIDING SYSTEM VALUE"
        " VALUES (1, 'binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading') ON CONFLICT DO NOTHING"
    )
    since, until = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    return await mark_stored(connection, ["1h", "4h"], exchange="binance", instruments=["BTC/USDT"], since=since, until=until)


async def test_a_value_that_is_undefined_after_a_revision_is_deleted(connection: Any, bars: Bars) -> None:
    few = part(bars, slice(0, 10))
    await put(connection, few)
    await settle(connection, FEW)
    assert parsed(await stored(connection)) == expected(few, selection=FEW)
    still = replace(few, volume=few.volume.copy())
    still.volume[4:6] = 0
    await put(connection, part(still, slice(4, 6)))
    await settle(connection, FEW)
    assert parsed(await stored(connection)) == expected(still, selection=FEW)
    assert len(expected(still, selection=FEW)) == len(expected(few, selection=FEW)) - 1


async def test_only_the_selected_instruments_and_intervals_are_computed(connection: Any, bars: Bars) -> None:
    for instrument_id in (1, 2):
        await put(connection, part(bars, slice(0, 10)), instrument_id)
    await connection.execute(
        "INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status) OVERRIDING SYSTEM VALUE VALUES"
        " (1, 'binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading'),"
        " (2, 'okx', 'BTC-USDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')"
    )
    await mark(connection, [DirtyRange(3, "4h", 0, 0)])
    only = replace(FEW, exchanges=("okx",), instruments=("BTC/USDT", "ETH/USDT"))
    assert (await settle(connection, only)).taken == 3
    assert (await stored(connection, 1), len(await stored(connection, 2))) == ([], 17)


async def test_the_newest_candles_are_first_and_a_round_has_an_end(connection: Any, bars: Bars, monkeypatch: Any) -> None:
    """A round computes about CANDLE_BUDGET candles. Ranges whose end is the newest are first."""
    monkeypatch.setattr("ingest.store.indicators.CANDLE_BUDGET", 40)
    ends = {1: 30, 2: 31, 3: 32, 4: 60}  # instrument -> how many candles it has
    for instrument_id, end in ends.items():
        await put(connection, part(bars, slice(0, end)), instrument_id)
    rounds = []
    while (await compute(connection, FEW)).taken:
        rows = await connection.fetch("SELECT DISTINCT instrument_id FROM indicators")
        rounds.append({row["instrument_id"] for row in rows})
    assert rounds == [{4}, {4, 3, 2}, {4, 3, 2, 1}]


async def test_values_older_than_the_retention_are_not_computed(connection: Any, bars: Bars) -> None:
    few = part(bars, slice(0, 10))
    await put(connection, few)
    sixth = datetime.fromtimestamp(int(few.time[5]) * 60, UTC)
    await compute(connection, replace(FEW, kept=timedelta(days=1)), now=sixth + timedelta(days=1))
    assert parsed(await stored(connection)) == expected(few, 5, FEW)
    await put(connection, part(few, slice(4, 5)))  # too old by itself, but the next ones depend on it
    done = await compute(connection, replace(FEW, kept=timedelta(days=1)), now=sixth + timedelta(days=1))
    assert done == ComputeResult(taken=1, values=6)


async def test_a_mark_older_than_the_retention_computes_nothing(connection: Any, bars: Bars) -> None:
    few = part(bars, slice(0, 10))
    await put(connection, few)
    long_after = datetime.fromtimestamp(int(few.time[9]) * 60, UTC) + timedelta(days=300)
    assert await compute(connection, replace(FEW, kept=timedelta(days=1)), now=long_after) == ComputeResult(taken=1)


async def test_ranges_with_few_candles_between_them_are_computed_at_once(connection: Any, bars: Bars) -> None:
    """As when a day of history is filled for a market that has been live for an hour: the older range affects the newer one."""
    run_parts = part(bars, [*range(3), *range(900, 904)])
    await put(connection, run_parts)
    assert (await compute(connection, FEW)).taken == 2
    assert parsed(await stored(connection)) == expected(run_parts, selection=FEW)
    await put(connection, part(bars, slice(2, 3)))
    await put(connection, part(bars, slice(900, 901)))
    await settle(connection, FEW)
    assert parsed(await stored(connection)) == expected(run_parts, selection=FEW)


async def test_an_interrupted_computation_is_repeated(connection: Any, market: str, bars: Bars) -> None:
    await put(connection, part(bars, slice(0, 10)))
    other = await asyncpg.connect(market)
    async with other.transaction():
        await other.execute("LOCK TABLE indicators")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(compute(connection, FEW), 0.5)
    assert await stored(other) == []
    await settle(other, FEW)
    await other.close()
    assert parsed(await stored(connection)) == expected(part(bars, slice(0, 10)), selection=FEW)


async def test_two_processes_never_compute_at_once(connection: Any, market: str, bars: Bars) -> None:
    await put(connection, part(bars, slice(0, 10)))
    other = await asyncpg.connect(market)
    async with other.transaction():
        await other.execute("SELECT FROM locks WHERE name = 'indicators' FOR UPDATE")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(compute(connection, FEW), 0.2)
    await other.close()
    assert (await connection.fetchval("SELECT count(*) FROM indicators_dirty")) == 1


class Batch(Struct, frozen=True):
    minutes: frozenset[tuple[int, int]]


async def test_writers_of_candles_mark_them_and_notify(connection: Any, market: str, edition: Any, bars: Bars) -> None:
    """A batch writer marks one-minute candles, the roll-up those that it makes of them; a past day is one mark."""
    notified = asyncio.Event()
    listener = await asyncpg.connect(market)
    await listener.add_listener(CHANNEL, lambda *_: notified.set())

    day = datetime(2026, 11, 1, tzinfo=UTC)
    start = int(day.timestamp() // 60)
    await connection.execute(
        "INSERT INTO candles (instrument_id, interval, time, open, high, low, close, volume, parts, origin, received_at)"
        " SELECT 1, '1m', t, 1, 2, 1, 2, 3, 1, 'rest', t"
        " FROM generate_series($1::timestamptz, $1 + interval '1439 min', '1 min') t",
        day,
    )
    await mark_batch(connection, "candles", edition, frozenset((1, start + minute) for minute in range(1440)))
    async with asyncio.timeout(10):
        await notified.wait()
    await listener.close()
    assert await marked(connection) == {("1m", day, day + timedelta(minutes=1439))}
    await roll_up(connection)
    lasts = {"1m": 1439, "5m": 1435, "15m": 1425, "1h": 1380, "4h": 1200, "1d": 0}
    whole = {(interval, day, day + timedelta(minutes=last)) for interval, last in lasts.items()}
    assert await marked(connection) == whole

    await connection.execute("DELETE FROM indicators_dirty")
    await connection.execute("UPDATE candles SET high = 5 WHERE interval = '1m' AND time = $1", day)
    await mark_batch(connection, "candles", edition, frozenset({(1, start)}))
    await roll_up(connection)
    assert await marked(connection) == {(interval, day, day) for interval in lasts}


async def marked(connection: Any) -> set[tuple[str, datetime, datetime]]:
    rows = await connection.fetch("SELECT interval, since, until FROM indicators_dirty")
    return {(row["interval"], row["since"], row["until"]) for row in rows}


def test_a_dirty_range_is_within_one_block():
    found = ranges_of_candles("1h", [(1, 0), (1, 60 * (BLOCK - 1)), (1, 60 * BLOCK), (2, 60)])
    assert sorted(found) == [
        DirtyRange(1, "1h", 0, 60 * (BLOCK - 1)),
        DirtyRange(1, "1h", 60 * BLOCK, 60 * BLOCK),
        DirtyRange(2, "1h", 60, 60),
    ]
    assert MAX_GAP_CANDLES < BLOCK
