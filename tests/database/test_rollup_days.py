"""Past days with many buckets are rolled up at once, with the same bars as bucket by bucket. The current day is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from ingest.records import INTERVALS
from ingest.store.rollup import DAY_MIN_BUCKETS, DirtyBucket, mark_batch, merge_days, roll_up
from tests.support.rollups import candles, marks, minute, put_candles

DAY, FIVE = INTERVALS["1d"], INTERVALS["5m"]
PAST = datetime(2024, 3, 1, tzinfo=UTC)
NUMBERS = [number for number in range(0, 2880, 7) if number % 480 < 360]  # two days with gaps


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


def history(instrument_id: int, **changes: Any) -> list[dict[str, Any]]:
    return [minute(number, instrument_id=instrument_id, time=PAST + timedelta(minutes=number), **changes) for number in NUMBERS]


async def finish(connection: asyncpg.Connection[Any]) -> None:
    while (await roll_up(connection)).taken:
        pass


async def rolled(connection: asyncpg.Connection[Any], instrument_id: int) -> list[dict[str, Any]]:
    found = [bar for interval in ("5m", "15m", "1h", "4h", "1d") for bar in await candles(connection, interval)]
    return [bar | {"instrument_id": 0} for bar in found if bar["instrument_id"] == instrument_id]


async def test_a_day_at_once_makes_the_bars_that_its_buckets_make(connection: Any, edition: str) -> None:
    await put_candles(connection, edition, *history(1))
    whole = [mark for mark in await marks(connection) if mark[0] != "daily_ohlcv"]
    assert whole == [("day", PAST), ("day", PAST + timedelta(days=1))]
    for bar in history(2):
        await put_candles(connection, edition, bar)
    assert {target for target, _ in await marks(connection)} - {"daily_ohlcv"} == {"day", "5m"}
    await finish(connection)
    bars = await rolled(connection, 1)
    assert bars == await rolled(connection, 2)
    assert [bar["parts"] for bar in bars if bar["interval"] == "1d"] == [
        sum(number < 1440 for number in NUMBERS),
        sum(number >= 1440 for number in NUMBERS),
    ]
    assert await marks(connection) == []


async def test_a_day_that_comes_again_with_other_values_is_revised(connection: Any, edition: str) -> None:
    await put_candles(connection, edition, *history(1))
    await finish(connection)
    before = await rolled(connection, 1)
    await put_candles(connection, edition, *history(1))
    assert (await roll_up(connection)).revised == 0
    await put_candles(connection, edition, *history(1, high=Decimal(5000), origin="archive"))
    assert (await roll_up(connection)).revised >= len(before)
    assert await rolled(connection, 1) == [bar | {"high": Decimal(5000), "origin": "archive"} for bar in before]


def buckets(count: int, day: int = 100, instrument_id: int = 1) -> set[DirtyBucket]:
    return {("5m", instrument_id, day * DAY + n * FIVE) for n in range(count)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (buckets(DAY_MIN_BUCKETS), {("day", 1, 100 * DAY)}),
        (buckets(DAY_MIN_BUCKETS - 1), buckets(DAY_MIN_BUCKETS - 1)),
        (buckets(288, day=101), buckets(288, day=101)),  # the current day
        (buckets(DAY_MIN_BUCKETS) | buckets(3, day=99), {("day", 1, 100 * DAY)} | buckets(3, day=99)),
        (buckets(DAY_MIN_BUCKETS) | buckets(3, instrument_id=2), {("day", 1, 100 * DAY)} | buckets(3, instrument_id=2)),
        (buckets(DAY_MIN_BUCKETS) | {("daily_ohlcv", 1, 100 * DAY)}, {("day", 1, 100 * DAY), ("daily_ohlcv", 1, 100 * DAY)}),
        ({("bars_1m", 1, 100 * DAY)}, {("bars_1m", 1, 100 * DAY)}),
    ],
)
def test_a_past_day_with_many_buckets_is_one_mark(given: set[DirtyBucket], expected: set[DirtyBucket]) -> None:
    assert merge_days(given, 101 * DAY + 5 * FIVE) == expected


async def test_the_writer_marks_a_day_in_the_transaction_of_its_rows(connection: Any, edition: Any) -> None:
    first = int(PAST.timestamp()) // 60
    async with connection.transaction():
        await mark_batch(connection, "candles", edition, frozenset((1, first + number) for number in range(1440)))
        assert ("day", PAST) in await marks(connection)
