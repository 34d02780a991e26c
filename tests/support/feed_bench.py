"""A feed of trades of the simulated exchange, and its outputs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.config.sections import ExchangeSection
from ingest.errors import Stop
from ingest.exchanges.binance import exchange as binance
from ingest.metrics import Metrics
from ingest.protocol.exchange import Exchange
from ingest.protocol.session import Gap
from ingest.records import Instrument, Record, Trade
from ingest.simulator.server import Simulator
from ingest.sources.exchange_feed import ExchangeFeed
from tests.support.daemon import until

BTC, ETH, SOL = "BTC/USDT", "ETH/USDT", "SOL/USDT"
IDS = {"BTCUSDT": 1, "ETHUSDT": 2, "SOLUSDT": 3}


class Bench:
    """A feed of trades of the simulated exchange, and its outputs."""

    def __init__(self, simulator: Simulator, *instruments: str, exchange: Exchange = binance, **section: Any) -> None:
        self.simulator = simulator
        self.trades: list[Trade] = []
        self.gaps: list[tuple[Gap, str]] = []
        self.kinds: list[str | None] = []
        self.refused: Stop | None = None  # raised when instruments are stored
        self.metrics = Metrics()
        self.feed = ExchangeFeed(
            "demo",
            exchange,
            self.section(*instruments, **section),
            writer="one",
            puts={Trade: self.put},
            store_instruments=self.store,
            on_gap=lambda source, gap, kind: self.gaps.append((gap, kind)),
            on_malformed=lambda source, malformed: pytest.fail(f"malformed: {malformed}"),
            metrics=self.metrics,
        )

    def section(self, *instruments: str, **changes: Any) -> ExchangeSection:
        urls = {"ws_url": self.simulator.ws_url, "rest_url": self.simulator.rest_url}
        return ExchangeSection(**({"instruments": instruments or (BTC,), "channels": ("trades",)} | urls | changes))

    async def store(self, instruments: Sequence[Instrument], kind: str | None) -> list[Instrument]:
        self.kinds.append(kind)
        if self.refused:
            raise self.refused
        return [replace(row, id=IDS[row.symbol]) for row in instruments]

    def put(self, record: Record) -> None:
        assert isinstance(record, Trade)
        self.trades.append(record)

    def value(self, name: str) -> int:
        return int(self.metrics.registry.get_sample_value(f"ingest_{name}", {"source": "demo"}) or 0)

    async def connected(self, times: int, open_now: int = 1) -> None:
        """Wait until `times` connections were made, `open_now` of them are open, and each has subscribed."""

        def is_connected() -> bool:
            listeners = list(self.simulator.listeners)
            all_subscribed = len(listeners) == open_now and all(listener.streams for listener in listeners)
            return all_subscribed and (self.value("source_connects_total"), self.value("source_connected")) == (times, open_now)

        await until(is_connected, 5)

    async def trade(self, symbol: str = "BTCUSDT") -> Trade:
        """Make a trade and wait until it has arrived."""
        before = len(self.trades)
        self.simulator.trade(symbol)
        await until(lambda: len(self.trades) > before, 5)
        return self.trades[-1]

    def ids(self, instrument_id: int = 1) -> list[int]:
        """The ids of the trades of an instrument that arrived, each once."""
        return sorted({trade.trade_id for trade in self.trades if trade.instrument_id == instrument_id})

    def sent_ids(self, symbol: str = "BTCUSDT") -> list[int]:
        return [trade.id for trade in self.simulator.oracle.trades(symbol)]


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(bench.feed.run())
    yield task
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
