"""Roll-ups of one-minute candles and of trades, on both editions, also with concurrent writers.

The numbers are small and made up, so that each bar can be checked by hand.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from ingest.store import bar_views
from ingest.store.rollup import RollupResult, mark, roll_up
from tests.support.rollups import DAY, candles, mark_rows, marks, minute, put_candles

LATER = DAY + timedelta(days=2)


async def put_trades(connection: asyncpg.Connection[Any], edition: Any, *trades: tuple[float, int, str, str, str]) -> None:
    """Insert trades, each (second of the day, id, price, size, side), and their marks."""
    rows = [(1, DAY + timedelta(seconds=s), i, Decimal(p), Decimal(q), side, DAY) for s, i, p, q, side in trades]
    async with connection.transaction():
        await connection.executemany("INSERT INTO trades VALUES ($1, $2, $3, $4, $5, $6, $7)", rows)
        await mark_rows(connection, "trades", edition, *((1, row[1]) for row in rows))


async def outlines(connection: asyncpg.Connection[Any], interval: str) -> list[tuple[Any, ...]]:
    names = ("time", "open", "close", "parts", "origin")
    return [tuple(bar[name] for name in names) for bar in await candles(connection, interval)]


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def test_a_full_bucket_is_rolled_up_at_once_and_marks_the_one_above(connection: Any, edition: str) -> None:
    await put_candles(connection, edition, *(minute(n) for n in range(5)))

    rolled = await roll_up(connection, now=DAY + timedelta(minutes=5))

    assert rolled == RollupResult(taken=1, written=1)
    assert await candles(connection, "5m") == [
        minute(0, interval="5m", high=Decimal(106), close=Decimal(105), volume=Decimal("7.50"), quote_volume=Decimal(750))
        | {"trades_count": 15, "taker_buy_volume": Decimal("2.5"), "taker_buy_quote_volume": Decimal(250)}
        | {"last_trade_id": 42, "parts": 5, "received_at": DAY + timedelta(minutes=4, seconds=61)}
    ]
    assert ("15m", DAY) in await marks(connection)
    assert ("5m", DAY) not in await marks(connection)


async def test_every_interval_of_a_day_with_gaps(connection: Any, edition: str) -> None:
    """The day has only the minutes 0, 7, 61 and 1439."""
    await put_candles(connection, edition, minute(0), minute(7, origin="ws"), minute(61), minute(1439))

    await roll_up(connection, now=LATER)

    shape = {interval: await outlines(connection, interval) for interval in ("5m", "15m", "1h", "4h", "1d")}
    bar = {n: DAY + timedelta(minutes=n) for n in range(1440)}
    last = (Decimal(1539), Decimal(1540))
    assert shape == {
        "5m": [
            (bar[0], Decimal(100), Decimal(101), 1, "rest"),
            (bar[5], Decimal(107), Decimal(108), 1, "ws"),
            (bar[60], Decimal(161), Decimal(162), 1, "rest"),
            (bar[1435], *last, 1, "rest"),
        ],
        "15m": [
            (bar[0], Decimal(100), Decimal(108), 2, "ws"),
            (bar[60], Decimal(161), Decimal(162), 1, "rest"),
            (bar[1425], *last, 1, "rest"),
        ],
        "1h": [
            (bar[0], Decimal(100), Decimal(108), 2, "ws"),
            (bar[60], Decimal(161), Decimal(162), 1, "rest"),
            (bar[1380], *last, 1, "rest"),
        ],
        "4h": [(bar[0], Decimal(100), Decimal(162), 3, "ws"), (bar[1200], *last, 1, "rest")],
        "1d": [(bar[0], Decimal(100), Decimal(1540), 4, "ws")],
    }
    assert await marks(connection) == []


async def test_a_bucket_waits_for_its_last_part_or_ten_seconds(connection: Any, edition: str) -> None:
    await put_candles(connection, edition, *(minute(n) for n in range(4)))
    end = DAY + timedelta(minutes=5)

    assert (await roll_up(connection, now=end + timedelta(seconds=9.999))).written == 0
    assert (await roll_up(connection, now=end + timedelta(seconds=10))).written == 1
    assert [bar["parts"] for bar in await candles(connection, "5m")] == [4]


async def test_a_late_minute_revises_all_the_way_up_and_an_equal_one_nothing(connection: Any, edition: str) -> None:
    await put_candles(connection, edition, *(minute(n) for n in range(4)))
    first = await roll_up(connection, now=LATER)
    await put_candles(connection, edition, minute(4, high=Decimal(999)))
    second = await roll_up(connection, now=LATER)
    await put_candles(connection, edition, minute(4, high=Decimal(999), received_at=LATER))
    third = await roll_up(connection, now=LATER)

    days = 1 if edition == "apache" else 0  # daily_ohlcv, which is a continuous aggregate elsewhere
    assert first == RollupResult(taken=5 + days, written=5 + days)
    assert second == RollupResult(taken=5 + days, revised=5 + days)
    assert third == RollupResult(taken=1 + days)
    for interval in ("5m", "15m", "1h", "4h", "1d"):
        assert [(bar["high"], bar["parts"]) for bar in await candles(connection, interval)] == [(Decimal(999), 5)]


async def test_a_sum_of_which_a_part_is_unknown_is_unknown(connection: Any, edition: str) -> None:
    silent = minute(1, volume=Decimal(0), trades_count=0, first_trade_id=None, last_trade_id=None, quote_volume=None)
    await put_candles(connection, edition, minute(0), silent)
    await put_candles(connection, edition, minute(5, first_trade_id=None), minute(6, trades_count=None))
    await roll_up(connection, now=LATER)

    names = ("quote_volume", "trades_count", "first_trade_id", "last_trade_id")
    assert [[bar[name] for name in names] for bar in await candles(connection, "5m")] == [
        [None, 3, 0, 2],  # a minute without trades has no ids
        [Decimal(300), None, None, 62],
    ]


async def test_the_marks_beyond_the_limit_of_a_call_are_left_for_the_next(connection: Any, edition: str) -> None:
    await put_candles(connection, edition, *(minute(0, instrument_id=n) for n in range(1, 502)))
    assert (await roll_up(connection, now=DAY + timedelta(minutes=6))).written == 500
    assert (await roll_up(connection, now=DAY + timedelta(minutes=6))).written == 1


# --- concurrent writers -------------------------------------------------------------------------------------------------


async def test_a_row_committed_after_its_mark_was_taken_is_not_forgotten(market: str, connection: Any, edition: str) -> None:
    """The mark of the bucket is committed; the writer's second change is not yet when `roll_up` reads the bucket."""
    await put_candles(connection, edition, minute(0))
    writer = await asyncpg.connect(market)
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute("UPDATE candles SET high = 500 WHERE interval = '1m'")
    await mark_rows(writer, "candles", edition, (1, DAY))

    meanwhile = await roll_up(connection, now=LATER)  # neither waits for the writer nor takes its mark
    await transaction.commit()
    await writer.close()
    afterwards = await roll_up(connection, now=LATER)

    assert meanwhile == RollupResult()
    assert afterwards.written == 5 + (edition == "apache")
    assert [bar["high"] for bar in await candles(connection, "1d")] == [Decimal(500)]


async def test_a_mark_set_while_its_bucket_is_being_rolled_up_stays(market: str, connection: Any, edition: str) -> None:
    """`roll_up` has taken the mark and waits for a lock; only then does the writer commit its row and its mark."""
    await put_candles(connection, edition, minute(0))
    blocker, writer = await asyncpg.connect(market), await asyncpg.connect(market)
    hold = blocker.transaction()
    await hold.start()
    await blocker.execute("INSERT INTO candles SELECT * FROM candle_of_parts(1, '5m', $1, '1m', interval '5 minutes')", DAY)

    async with asyncio.TaskGroup() as tasks:
        rolling = tasks.create_task(roll_up(connection, now=LATER))  # waits for the blocker's 5m bar, its mark already taken
        await waits(market, connection)
        writing = tasks.create_task(put_candles(writer, edition, minute(1)))  # waits for the mark
        await waits(market, writer)
        await hold.rollback()
    rolled = rolling.result()
    assert writing.done()
    assert rolled.written >= 1
    await roll_up(connection, now=LATER)

    assert [bar["parts"] for bar in await candles(connection, "5m")] == [2]
    assert [bar["parts"] for bar in await candles(connection, "1d")] == [2]
    await blocker.close()
    await writer.close()


async def waits(market: str, connection: asyncpg.Connection[Any]) -> None:
    """Wait until the server reports that `connection` waits for a lock; fails after 10 s."""
    watcher = await asyncpg.connect(market)
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(10):
        while not await watcher.fetchval(query, connection.get_server_pid()):  # noqa: ASYNC110 - the event is the server's
            await asyncio.sleep(0.01)
    await watcher.close()


async def test_two_writers_that_mark_the_same_buckets_do_not_deadlock(market: str, connection: Any) -> None:
    writers = [await asyncpg.connect(market) for _ in range(2)]
    wanted = [("5m", n, 0) for n in range(300)]

    async def many(writer: asyncpg.Connection[Any], order: list[tuple[str, int, int]]) -> None:
        for _ in range(20):
            async with writer.transaction():
                await mark(writer, order[:150])
                await mark(writer, [("5m", 1000, 0)])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(many(writers[0], wanted))
        tasks.create_task(many(writers[1], wanted[::-1][150:]))
    assert len(await marks(connection)) == 151
    for writer in writers:
        await writer.close()


# --- bars made from trades, and days --------------------------------------------------------------------------------------


TRADES = (
    (0.5, 2, "10.5", "1", "buy"),
    (0.5, 1, "10.25", "2", "sell"),  # of one instant: the smaller id is first
    (59.9, 3, "11", "0.5", "buy"),
    (61, 4, "9", "4", "sell"),
    (3600, 5, "12.00", "1", "buy"),
)
MINUTES = [
    (1, DAY, "10.25", "11", "10.25", "11", "3.5", "36.50", 3, "1.5", 1, 3),
    (1, DAY + timedelta(minutes=1), "9", "9", "9", "9", "4", "36", 1, "0", 4, 4),
    (1, DAY + timedelta(hours=1), "12.00", "12.00", "12.00", "12.00", "1", "12.00", 1, "1", 5, 5),
]
HOURS = [
    (1, DAY, "10.25", "11", "9", "9", "7.5", "72.50", 4, "1.5", 1, 4),
    (1, DAY + timedelta(hours=1), "12.00", "12.00", "12.00", "12.00", "1", "12.00", 1, "1", 5, 5),
]


async def bars(connection: asyncpg.Connection[Any], view: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch(f"SELECT * FROM {view} ORDER BY instrument_id, time")]


def exact(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(Decimal(value) if isinstance(value, str) else value for value in row) for row in rows]


async def test_minutes_are_shown_before_and_after_they_are_rolled_up(connection: Any, edition: str) -> None:
    await put_trades(connection, edition, *TRADES)
    assert await bars(connection, "bars_1m") == exact(MINUTES)
    while (await roll_up(connection, now=LATER)).taken:
        pass
    assert await bars(connection, "bars_1m") == exact(MINUTES)
    assert await bars(connection, "bars_1h") == exact(HOURS)
    assert await marks(connection) == []


async def test_the_bars_of_a_first_chunk_that_begins_today_are_filled(connection: Any, edition: str) -> None:
    """From its beginning to now there is no whole bucket of a day, and TimescaleDB refuses to refresh less than a bucket."""
    if edition != "community":
        pytest.skip("there are no continuous aggregates on the apache edition")
    await connection.execute("SELECT set_chunk_time_interval('candles', interval '1 day')")
    now = await connection.fetchval("SELECT date_trunc('minute', now())")
    await put_candles(connection, edition, minute(0, time=now))
    await bar_views.fill(connection)
    assert [row[1] for row in await bars(connection, "daily_ohlcv")] == [now.replace(hour=0, minute=0)]


async def test_a_late_trade_is_in_its_bars(connection: Any, edition: str) -> None:
    await put_trades(connection, edition, *TRADES[1:])
    while (await roll_up(connection, now=LATER)).taken:
        pass
    await put_trades(connection, edition, TRADES[0])
    assert await bars(connection, "bars_1m") == exact(MINUTES)
    while (await roll_up(connection, now=LATER)).taken:
        pass
    assert await bars(connection, "bars_1h") == exact(HOURS)


async def test_days_are_made_from_minutes_and_the_current_day_is_shown(connection: Any, edition: str) -> None:
    await put_candles(connection, edition, minute(0), minute(1439, quote_volume=None), minute(1441))
    days = [
        (1, DAY, Decimal(100), Decimal(1541), Decimal(99), Decimal(1540), Decimal("3.00"), None, 6),
        (1, DAY + timedelta(days=1), Decimal(1541), Decimal(1543), Decimal(1540), Decimal(1542), Decimal("1.50"), Decimal(150), 3),
    ]
    assert await bars(connection, "daily_ohlcv") == days
    await roll_up(connection, now=DAY + timedelta(days=1, minutes=1))
    assert await bars(connection, "daily_ohlcv") == days
    assert (("daily_ohlcv", DAY + timedelta(days=1)) in await marks(connection)) == (edition == "apache")
