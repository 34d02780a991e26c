"""What a feed shows of itself: subscriptions that are wanted and live, an exchange that is never reached, a misspelt instrument."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from ingest.records import SECOND
from ingest.simulator.server import Simulator
from ingest.sources import connection_slot
from tests.support.daemon import Scrape, until
from tests.support.feed_bench import BTC, ETH, IDS, SOL, Bench, running


@pytest.fixture(autouse=True)
def short_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_slot, "OVERLAP_SECONDS", 0.1)


async def test_a_misspelt_instrument_in_a_reload_drops_no_stream(simulator: Simulator) -> None:
    bench = Bench(simulator, BTC, ETH)
    async with running(bench):
        await bench.connected(1)
        bench.feed.reload(bench.section("BTCUSD/TT", ETH, SOL))
        await bench.connected(2, open_now=2)
        for symbol in IDS:
            await bench.trade(symbol)
        status = bench.feed.status()
        assert status["subscriptions"] == 3
        assert status["last_error"] == "unknown instrument 'BTCUSD/TT'; near: BTC/USDT (4 are listed)"
        bench.feed.reload(bench.section(ETH, SOL))
        async with asyncio.timeout(5):
            while simulator.has_subscriber("btcusdt@trade"):
                await bench.trade("ETHUSDT")
        assert bench.feed.status()["subscriptions"] == 2
    assert bench.gaps == []


async def test_an_exchange_that_is_never_reached_is_named_and_has_its_series() -> None:
    bench = Bench(cast(Simulator, SimpleNamespace(ws_url="ws://127.0.0.1:1", rest_url="http://127.0.0.1:1")), BTC, ETH)
    assert bench.feed.state.state == "waiting"
    task = asyncio.create_task(bench.feed.run())
    await until(lambda: bench.feed.last_error, 2)
    assert str(bench.feed.state).startswith("failing: GET http://127.0.0.1:1/api/v3/exchangeInfo: ClientConnectorError")
    scrape = Scrape(bench.metrics.render().decode())
    for name in ("messages_received_total", "source_connected", "source_connects_total", "source_disconnects_total", "gaps_total"):
        assert scrape.has(name, source="demo")
        assert scrape.value(name, source="demo") == 0
    assert scrape.value("errors_total", source="demo", stage="http", error_type="Retry") >= 1
    assert scrape.has("errors_total", source="demo", stage="source", error_type="refused")
    assert not scrape.has("source_last_message_timestamp_seconds", source="demo")  # a time that never was
    assert scrape.value("source_wanted_subscriptions", source="demo", channel="trades") == 2
    assert scrape.value("source_live_subscriptions", source="demo", channel="trades") == 0
    task.cancel()
    await asyncio.wait([task])


async def test_wanted_and_live_subscriptions(simulator: Simulator) -> None:
    """A subscription is live once it has sent something; a name that is not listed is wanted and never live."""
    bench = Bench(simulator, BTC, ETH, "BTC/USDX")

    def subscriptions() -> tuple[float, float]:
        scrape = Scrape(bench.metrics.render().decode())
        wanted, live = (f"source_{kind}_subscriptions" for kind in ("wanted", "live"))
        return scrape.value(wanted, channel="trades"), scrape.value(live, channel="trades")

    async with running(bench):
        await bench.connected(1)
        assert subscriptions() == (3, 0)
        await bench.trade()
        assert subscriptions() == (3, 1)
        await bench.trade("ETHUSDT")
        assert subscriptions() == (3, 2)
        bench.feed.reload(bench.section(BTC, ETH))
        assert subscriptions() == (2, 2)
        next(iter(simulator.listeners)).abort()
        await until(lambda: subscriptions() == (2, 0), 5)


async def test_a_subscription_that_misses_rows_of_the_history_gets_a_new_connection(simulator: Simulator) -> None:
    bench = Bench(simulator, BTC, ETH)
    async with running(bench):
        await bench.connected(1)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await bench.trade(symbol)
        simulator.faults.silence("btcusdt@trade")
        simulator.trade("BTCUSDT")
        event_at = bench.trades[-1].received_at + 10 * SECOND
        assert not bench.feed.retire_silent(3, "trades", event_at)
        assert bench.feed.retire_silent(1, "trades", event_at)
        await until(lambda: bench.value("source_connects_total") == 2, 5)
        simulator.faults.end_silence()
        await bench.trade("ETHUSDT")
        await bench.connected(2)
        await bench.trade()
    assert bench.gaps == []
    assert bench.ids(2) == bench.sent_ids("ETHUSDT")
