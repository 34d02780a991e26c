"""The simulated exchange through the real websocket connection and the Binance module: outputs equal the oracle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from ingest.exchanges.binance import exchange as binance
from ingest.metrics import Metrics
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeOptions, Rate
from ingest.protocol.http import Request
from ingest.protocol.session import Gap, Output, Subscription
from ingest.records import BookSnapshot, Candle, Instrument, Quote, Trade
from ingest.simulator.oracle import OracleTrade
from ingest.simulator.server import Simulator
from ingest.transports.client import open_client
from ingest.transports.http import Http
from ingest.transports.rate_limiter import RateLimiter
from ingest.transports.staleness import Staleness
from ingest.transports.websocket import Ended, WebSocketConnection

ALL = ("trades", "candles", "book", "quotes")


class FastClock:
    """A clock in microseconds that runs `speed` times as fast as real time."""

    def __init__(self, speed: int) -> None:
        self._speed = speed
        self._began = time.time_ns() // 1000

    def __call__(self) -> int:
        return self._began + (time.time_ns() // 1000 - self._began) * self._speed


class Subscriber:
    """A websocket connection with a session of Binance, and its outputs."""

    def __init__(
        self, simulator: Simulator, client: aiohttp.ClientSession, instruments: list[Instrument], channels: tuple[Any, ...]
    ) -> None:
        options = ExchangeOptions(
            ws_url=simulator.ws_url,
            rest_url=simulator.rest_url,
            trade_kind="trade",
            book_depth=10,
            book_interval=100_000,
            quotes_interval=100_000,
        )
        subscriptions = [Subscription(instrument, channel) for instrument in instruments for channel in channels]
        (connection,) = binance.connections(subscriptions, options)
        self.got: list[Output] = []
        self.websocket = WebSocketConnection(
            connection,
            binance.session(connection, options),
            limits=binance.LIMITS,
            client=client,
            http=Http(client, rate=binance.LIMITS.weight, alternative=binance.LIMITS.alternative),
            limiter=RateLimiter(Rate(100, 1.0)),
            sink=self.got.append,
            metrics=Metrics(),
            source="binance",
            staleness=Staleness(),
        )

    def of(self, kind: type) -> list[Any]:
        return [output for output in self.got if type(output) is kind]


@asynccontextmanager
async def simulated(**settings: Any) -> AsyncIterator[Simulator]:
    simulator = Simulator(**settings)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


@asynccontextmanager
async def daemon(
    simulator: Simulator, channels: tuple[Any, ...] = ALL, symbols: tuple[str, ...] = ("BTCUSDT",)
) -> AsyncIterator[Subscriber]:
    """A running connection that has subscribed."""
    async with open_client() as client:
        listed = await Http(client, rate=Rate(1000, 1.0)).run(binance.listing(options_for(simulator)))
        instruments = [msgspec.structs.replace(made, id=number) for number, made in enumerate(listed, 1) if made.symbol in symbols]
        made = Subscriber(simulator, client, instruments, channels)
        task = asyncio.create_task(made.websocket.run())
        try:
            await until(lambda: simulator.has_subscriber(f"{symbols[-1].lower()}@trade") or "trades" not in channels)
            yield made
        finally:
            made.websocket.close()
            await task


def options_for(simulator: Simulator) -> ExchangeOptions:
    return ExchangeOptions(ws_url=simulator.ws_url, rest_url=simulator.rest_url, trade_kind="trade")


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the condition is whatever the test waits for
            await asyncio.sleep(0.005)


def as_oracle_trade(trade: Trade) -> OracleTrade:
    assert trade.time % 1000 == 0
    return OracleTrade(trade.trade_id, trade.time // 1000, trade.price, trade.size, trade.side)


async def test_trades_arrive_as_sent() -> None:
    async with simulated(trades_per_second=0.0) as simulator, daemon(simulator, ("trades",), ("BTCUSDT", "XRPUSDT")) as connected:
        for symbol in ("BTCUSDT", "XRPUSDT"):
            simulator.trade(symbol, 100)
        chunks = simulator.prepare("XRPUSDT", 20_000)
        await simulator.burst("XRPUSDT", chunks)
        await until(lambda: len(connected.got) == 20_200)
        by_id: dict[int, list[OracleTrade]] = {1: [], 4: []}
        for trade in connected.of(Trade):
            by_id[trade.instrument_id].append(as_oracle_trade(trade))
        assert by_id[1] == list(simulator.oracle.trades("BTCUSDT"))
        assert by_id[4] == list(simulator.oracle.trades("XRPUSDT"))
        assert len(by_id[4]) == 20_100


async def test_books_are_right_at_every_sequence() -> None:
    async with simulated(trades_per_second=50.0) as simulator, daemon(simulator, ("book", "trades")) as connected:
        await until(lambda: len(connected.of(BookSnapshot)) >= 20)
        for row in connected.of(BookSnapshot):
            bids, asks = simulator.oracle.book("BTCUSDT", row.sequence)
            assert list(zip(row.bid_prices, row.bid_sizes, strict=True)) == bids[:10]
            assert list(zip(row.ask_prices, row.ask_sizes, strict=True)) == asks[:10]
        assert [gap for gap in connected.of(Gap) if gap.reason == "sequence"] == []


async def test_a_lost_diff_is_a_gap_and_the_book_recovers() -> None:
    async with simulated(trades_per_second=50.0) as simulator, daemon(simulator, ("book", "trades")) as connected:
        await until(lambda: bool(connected.of(BookSnapshot)))
        simulator.faults.lose("btcusdt@depth@100ms")
        await until(lambda: any(gap.channel == "book" and gap.reason == "sequence" for gap in connected.of(Gap)))
        rows = len(connected.of(BookSnapshot))
        await until(lambda: len(connected.of(BookSnapshot)) >= rows + 5, seconds=20)
        for row in connected.of(BookSnapshot):
            bids, asks = simulator.oracle.book("BTCUSDT", row.sequence)
            assert list(zip(row.bid_prices, row.bid_sizes, strict=True)) == bids[:10]
            assert list(zip(row.ask_prices, row.ask_sizes, strict=True)) == asks[:10]


async def test_quotes_are_the_best_of_the_book() -> None:
    async with simulated(trades_per_second=50.0) as simulator, daemon(simulator, ("quotes", "trades")) as connected:
        await until(lambda: len(connected.of(Quote)) >= 10)
        for row in connected.of(Quote):
            bids, asks = simulator.oracle.book("BTCUSDT", row.sequence)
            assert ((row.bid_price, row.bid_size), (row.ask_price, row.ask_size)) == (bids[0], asks[0])


def row_of(c: Candle) -> list[Any]:
    """The row of the candle in /api/v3/klines."""
    start = c.time // 1000
    prices, taker = [c.open, c.high, c.low, c.close], [c.taker_buy_volume, c.taker_buy_quote_volume]
    return [start, *prices, c.volume, start + 59_999, c.quote_volume, c.trades_count, *taker, "0"]


async def test_candles_of_websocket_and_rest_equal_the_oracle() -> None:
    """Two minutes pass in a second, most of them without trades."""
    async with (
        simulated(trades_per_second=0.0, clock=FastClock(120)) as simulator,
        daemon(simulator, ("candles", "trades")) as connected,
    ):
        simulator.trade("BTCUSDT", 50)
        await until(lambda: len(connected.of(Candle)) >= 4)
        rows = [row_of(candle) for candle in connected.of(Candle)]
        known = simulator.oracle.candles("BTCUSDT")
        first = next(index for index, row in enumerate(known) if row[0] == rows[0][0])
        assert rows == known[first : first + len(rows)]
        assert sum(row[8] for row in rows) == 50
        assert any(row[8] == 0 for row in rows)
        async with aiohttp.ClientSession() as client:
            query = {"symbol": "BTCUSDT", "interval": "1m", "startTime": str(rows[0][0]), "limit": str(len(rows))}
            async with client.get(f"{simulator.rest_url}/api/v3/klines", params=query) as response:
                assert await response.json() == rows


async def test_trades_that_the_stream_lost_are_found_by_rest() -> None:
    async with simulated(trades_per_second=0.0) as simulator, daemon(simulator, ("trades",)) as connected:
        simulator.faults.lose("btcusdt@trade", 3)
        simulator.faults.repeat("btcusdt@trade", 1)
        simulator.trade("BTCUSDT", 5)
        await until(lambda: len(connected.of(Trade)) == 3)
        known = list(simulator.oracle.trades("BTCUSDT"))
        assert [as_oracle_trade(trade) for trade in connected.of(Trade)] == [known[3], known[3], known[4]]
        async with open_client() as client:
            url = f"{simulator.rest_url}/api/v3/historicalTrades?symbol=BTCUSDT&fromId={known[0].id}&limit=3"
            rows = msgspec.json.decode((await Http(client, rate=Rate(10, 1.0)).get(Request(url))).body)
        sides = {True: "sell", False: "buy"}
        assert [OracleTrade(r["id"], r["time"], r["price"], r["qty"], sides[r["isBuyerMaker"]]) for r in rows] == known[:3]


async def test_garbage_is_malformed_and_later_frames_are_read() -> None:
    async with simulated(trades_per_second=0.0) as simulator, daemon(simulator, ("trades",)) as connected:
        simulator.send_raw(b'{"stream":"btcusdt@trade","data":{"e":"tra')
        simulator.trade("BTCUSDT")
        await until(lambda: bool(connected.of(Trade)))
        (bad,) = connected.of(Malformed)
        assert bad.payload == b'{"stream":"btcusdt@trade","data":{"e":"tra'


async def test_an_announced_shutdown_is_a_planned_end() -> None:
    async with simulated(trades_per_second=0.0) as simulator, daemon(simulator, ("trades",)) as connected:
        simulator.announce_shutdown()
        await asyncio.wait_for(connected.websocket.retiring.wait(), 5)


@pytest.mark.parametrize(("abruptly", "reason"), [(False, "closed"), (True, "error")])
async def test_connections_are_closed(abruptly: bool, reason: Any) -> None:
    async with simulated(trades_per_second=0.0) as simulator, open_client() as client:
        connected = Subscriber(
            simulator, client, [Instrument("binance", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=1)], ("trades",)
        )
        task = asyncio.create_task(connected.websocket.run())
        await until(lambda: simulator.has_subscriber("btcusdt@trade"))
        await simulator.disconnect(abruptly=abruptly)
        assert await asyncio.wait_for(task, 10) == Ended(reason, planned=False)


async def test_a_client_that_sends_too_many_messages_is_disconnected() -> None:
    async with simulated(trades_per_second=0.0) as simulator, aiohttp.ClientSession() as client:
        socket = await client.ws_connect(f"{simulator.ws_url}/ws/btcusdt@trade")
        for number in range(6):
            await socket.send_str(f'{{"method":"LIST_SUBSCRIPTIONS","id":{number}}}')
        responses = [(await socket.receive(timeout=5)).data for _ in range(6)]
        assert responses == [f'{{"result":["btcusdt@trade"],"id":{number}}}' for number in range(5)] + [1008]


async def test_the_history_has_every_minute_up_to_now() -> None:
    async with simulated(trades_per_second=4.0, history_seconds=300) as simulator:
        candles = simulator.oracle.candles("BTCUSDT")
        times = [row[0] for row in candles]
        assert len(times) in (4, 5)
        assert times == list(range(times[0], times[0] + 60_000 * len(times), 60_000))
        assert [row[8] for row in candles[1:]] == [60] * (len(candles) - 1)
