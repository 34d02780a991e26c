"""The live feed of a simulated exchange: planned changes miss nothing, and missed ranges are gaps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from ingest.errors import Reject, Stop
from ingest.exchanges.binance import exchange as binance
from ingest.exchanges.okx import exchange as okx
from ingest.protocol.exchange import Exchange
from ingest.records import SECOND, Trade
from ingest.simulator.server import Simulator
from ingest.sources import connection_slot
from tests.support.daemon import until
from tests.support.feed_bench import BTC, ETH, SOL, Bench, running

LISTING = "/api/v3/exchangeInfo"


@pytest.fixture(autouse=True)
def short_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_slot, "OVERLAP_SECONDS", 0.1)


def now() -> int:
    return time.time_ns() // 1000


async def trade_until(bench: Bench, condition: Callable[[], bool]) -> None:
    """Make trades until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():
            bench.simulator.trade("BTCUSDT")
            await asyncio.sleep(0.005)


# --- planned changes ------------------------------------------------------------------------------------------------------


async def test_a_connection_that_will_end_is_replaced_without_a_gap(simulator: Simulator) -> None:
    bench = Bench(simulator)
    async with running(bench):
        await bench.connected(1)
        await trade_until(bench, lambda: len(bench.trades) > 3)
        simulator.announce_shutdown()
        await trade_until(bench, lambda: bench.value("source_connects_total") == 2)
        await trade_until(bench, lambda: bench.value("source_connected") == 1)
        await bench.trade()
    assert bench.ids() == bench.sent_ids()
    assert bench.gaps == []


async def test_options_change_without_a_gap(simulator: Simulator) -> None:
    bench = Bench(simulator)
    async with running(bench):
        await bench.connected(1)
        await trade_until(bench, lambda: len(bench.trades) > 3)
        bench.feed.reload(bench.section(book={"depth": 5}))
        await trade_until(bench, lambda: bench.value("source_connects_total") == 2)
        await trade_until(bench, lambda: bench.value("source_connected") == 1)
        await bench.trade()
    assert bench.ids() == bench.sent_ids()
    assert bench.gaps == []


async def test_a_second_change_before_the_first_is_complete_leaves_the_old_connection_open(simulator: Simulator) -> None:
    bench = Bench(simulator)
    async with running(bench):
        await bench.connected(1)
        (old,) = simulator.listeners
        for depth in (5, 6, 7):
            bench.feed.reload(bench.section(book={"depth": depth}))
            await until(lambda: bench.value("source_connected") == 2, 5)
            assert old in simulator.listeners
        await trade_until(bench, lambda: bench.value("source_connected") == 1)
        await bench.trade()
    assert bench.ids() == bench.sent_ids()
    assert bench.gaps == []


async def test_a_successor_that_cannot_connect_leaves_the_old_connection_open(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_slot, "QUIET_SECONDS", 0.05)
    bench = Bench(simulator)
    async with running(bench):
        await bench.connected(1)
        await bench.trade()
        simulator.faults.handshake = 503
        simulator.announce_shutdown()
        await until(lambda: "HTTP 503" in bench.feed.last_error, 5)
        await bench.trade()
        simulator.faults.handshake = None
        await trade_until(bench, lambda: bench.value("source_connects_total") == 2)
        await trade_until(bench, lambda: bench.value("source_connected") == 1)
    assert bench.gaps == []
    assert bench.ids() == bench.sent_ids()


# --- gaps -----------------------------------------------------------------------------------------------------------------


async def test_a_lost_connection_is_a_gap_in_each_subscription(simulator: Simulator) -> None:
    bench = Bench(simulator, BTC, ETH)
    async with running(bench):
        started = now()
        await bench.connected(1)
        last = await bench.trade("BTCUSDT")
        lost = now()
        await simulator.disconnect(abruptly=True)
        simulator.trade("BTCUSDT", 3)
        await bench.connected(2)
        assert bench.gaps == []  # only after the next message
        first = await bench.trade("BTCUSDT")
        await until(lambda: len(bench.gaps) == 2, 5)
        found = now()
        await bench.trade("ETHUSDT")
    (btc, kind), (eth, _) = sorted(bench.gaps, key=lambda entry: entry[0].instrument_id)
    assert (btc.instrument_id, btc.channel, btc.reason, kind) == (1, "trades", "disconnect", "trade")
    assert btc.since == last.received_at
    assert btc.until is not None
    assert first.received_at <= btc.until <= found
    assert (eth.instrument_id, eth.channel, eth.until) == (2, "trades", btc.until)
    assert started <= eth.since <= lost  # it had no message, so the gap begins with the connection
    assert set(bench.sent_ids()) - set(bench.ids()) == set(bench.sent_ids()[1:4])


async def test_a_quiet_connection_closes_the_gap(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_slot, "QUIET_SECONDS", 0.1)
    bench = Bench(simulator)
    async with running(bench):
        await bench.connected(1)
        last = await bench.trade()
        await simulator.disconnect(abruptly=True)
        await bench.connected(2)
        await until(lambda: bench.gaps, 5)
    ((gap, _),) = bench.gaps
    assert (gap.since, gap.reason) == (last.received_at, "disconnect")


async def test_several_failed_connections_make_one_gap(simulator: Simulator) -> None:
    bench = Bench(simulator)
    async with running(bench):
        await bench.connected(1)
        last = await bench.trade()
        simulator.faults.handshake = 503
        await simulator.disconnect(abruptly=True)
        await until(lambda: "HTTP 503" in bench.feed.last_error, 5)
        simulator.faults.handshake = None
        await bench.connected(2)
        await bench.trade()
        await until(lambda: bench.gaps, 5)
    assert [gap.since for gap, _ in bench.gaps] == [last.received_at]


async def test_a_gap_that_a_defect_caused_is_reported_after_the_restart(simulator: Simulator) -> None:
    bench = Bench(simulator)
    with pytest.raises(ExceptionGroup) as group:
        async with running(bench) as task:
            await bench.connected(1)
            last = await bench.trade()
            bench.feed._puts[Trade] = lambda record: {}[record]
            simulator.trade("BTCUSDT")
            await asyncio.wait([task], timeout=5)
    assert group.group_contains(KeyError)
    bench.feed._puts[Trade] = bench.put
    async with running(bench):
        await bench.connected(2)
        first = await bench.trade()
        await until(lambda: bench.gaps, 5)
    ((gap, _),) = bench.gaps
    assert (gap.instrument_id, gap.reason) == (1, "disconnect")
    assert last.received_at <= gap.since < first.received_at


async def test_the_pause_grows_until_a_record_arrives(simulator: Simulator) -> None:
    bench = Bench(simulator)
    waits = []
    async with running(bench):
        for number, delivers in enumerate((False, False, True, False), start=1):
            await bench.connected(number)
            if delivers:
                await bench.trade()
            started = time.monotonic()
            await simulator.disconnect(abruptly=True)
            await until(lambda number=number: bench.value("source_connects_total") == number + 1, 5)
            waits.append(time.monotonic() - started)
    assert waits[0] >= 0.25
    assert waits[1] >= 0.5
    assert waits[2] < 1  # a record had arrived; otherwise this third pause would be at least 1 s
    assert waits[3] >= 0.5


# --- the configuration ----------------------------------------------------------------------------------------------------


async def test_an_instrument_is_added_and_removed_without_touching_the_others(simulator: Simulator) -> None:
    bench = Bench(simulator, BTC)
    async with running(bench):
        await bench.connected(1)
        (btc,) = simulator.listeners
        bench.feed.reload(bench.section(BTC, ETH))
        await bench.connected(2, open_now=2)
        (eth,) = simulator.listeners - {btc}
        assert (btc.streams, eth.streams) == ({"btcusdt@trade"}, {"ethusdt@trade"})
        await bench.trade("ETHUSDT")
        bench.feed.reload(bench.section(ETH))
        await until(lambda: simulator.listeners == {eth}, 5)
        quiet = {"state": "ok", "detail": "", "refused": {}, "unverified": {}, "last_error": "", "last_error_at": None}
        assert bench.feed.status() == quiet | {"connections": 1, "subscriptions": 1}
        bench.feed.reload(bench.section(ETH, SOL))
        await bench.connected(3, open_now=2)
        assert eth in simulator.listeners
    assert bench.gaps == []


async def test_removing_one_of_two_instruments_of_a_connection_leaves_no_gap_in_the_other(simulator: Simulator) -> None:
    bench = Bench(simulator, BTC, ETH)
    async with running(bench):
        await bench.connected(1)
        await trade_until(bench, lambda: len(bench.trades) > 3)
        bench.feed.reload(bench.section(BTC))
        await trade_until(bench, lambda: bench.value("source_connects_total") == 2)
        await trade_until(bench, lambda: bench.value("source_connected") == 1)
        await until(lambda: [listener.streams for listener in simulator.listeners] == [{"btcusdt@trade"}], 5)
    assert bench.ids() == bench.sent_ids()
    assert bench.gaps == []


async def test_another_trade_kind_is_checked_before_it_is_used(simulator: Simulator) -> None:
    bench = Bench(simulator)
    async with running(bench) as task:
        await bench.connected(1)
        bench.refused = Stop("demo: trade_kind is 'aggTrade', but the stored trades are 'trade'")
        bench.feed.reload(bench.section(trade_kind="aggTrade"))
        await until(lambda: bench.feed.last_error == str(bench.refused), 5)
        assert bench.kinds == ["trade", "aggTrade"]
        await bench.trade()
        assert not task.done()
        assert [listener.streams for listener in simulator.listeners] == [{"btcusdt@trade"}]
        bench.refused = None
        bench.feed.reload(bench.section(trade_kind="aggTrade"))
        await until(lambda: {"btcusdt@aggTrade"} in [listener.streams for listener in simulator.listeners], 5)


async def test_without_trades_no_trade_kind_is_stored(simulator: Simulator) -> None:
    bench = Bench(simulator, channels=("candles",))
    async with running(bench):
        await until(lambda: bench.kinds == [None], 5)


async def test_an_unknown_instrument_is_reported_with_similar_ones(simulator: Simulator) -> None:
    bench = Bench(simulator, "BTC/USDX", ETH)
    async with running(bench):
        await bench.connected(1)
        assert bench.feed.last_error.startswith("unknown instrument 'BTC/USDX'; near: BTC/USDT")
        assert bench.feed.last_error.endswith("(4 are listed)")
        assert [listener.streams for listener in simulator.listeners] == [{"ethusdt@trade"}]


async def test_a_retired_instrument_is_named(simulator: Simulator) -> None:
    names = {
        name: getattr(binance, name)
        for name in ("NAME", "TRADE_KINDS", "CHANNELS", "LIMITS", "COMPLETENESS", "connections", "session", "listing")
    }
    exchange = SimpleNamespace(**names, retired=okx.retired)
    bench = Bench(simulator, "BTC/USD", ETH, exchange=cast(Exchange, exchange))
    async with running(bench):
        await bench.connected(1)
        assert bench.feed.last_error == (
            "unknown instrument 'BTC/USD'; OKX closed its pairs in USD on 2026-09-30; their market is BTC/USDC (4 are listed)"
        )


async def test_a_delisted_instrument_is_reported(simulator: Simulator) -> None:
    def listing(options: Any) -> Any:
        rows = yield from binance.listing(options)
        return [replace(row, status="delisted") if row.instrument == BTC else row for row in rows]

    names = {
        name: getattr(binance, name)
        for name in ("NAME", "TRADE_KINDS", "CHANNELS", "LIMITS", "COMPLETENESS", "connections", "session")
    }
    bench = Bench(simulator, BTC, ETH, exchange=cast(Exchange, SimpleNamespace(**names, listing=listing)))
    async with running(bench):
        await bench.connected(1)
        assert bench.feed.last_error == "instrument 'BTC/USDT' is delisted: it sends nothing"
        assert [listener.streams for listener in simulator.listeners] == [{"ethusdt@trade"}]


async def test_an_error_of_the_first_listing_ends_the_feed(simulator: Simulator) -> None:
    bench = Bench(simulator)
    simulator.faults.refuse(LISTING, 400)
    with pytest.raises(ExceptionGroup) as group:
        await bench.feed.run()
    assert group.group_contains(Reject, match="HTTP 400")
    bench.refused = Stop("another kind")
    with pytest.raises(ExceptionGroup) as group:
        await bench.feed.run()
    assert group.group_contains(Stop, match="another kind")
    assert bench.value("source_connects_total") == 0


async def test_an_error_of_a_later_listing_changes_nothing(simulator: Simulator) -> None:
    bench = Bench(simulator)
    async with running(bench) as task:
        await bench.connected(1)
        (listener,) = simulator.listeners
        simulator.faults.refuse(LISTING, 400)
        bench.feed.reload(bench.section(BTC, ETH))
        await until(lambda: "HTTP 400" in bench.feed.last_error, 5)
        await bench.trade()
        assert not task.done()
        bench.feed.reload(bench.section(BTC, ETH))
        await bench.connected(2, open_now=2)
        assert listener in simulator.listeners
    assert bench.gaps == []


async def test_the_lag_is_measured(simulator: Simulator) -> None:
    bench = Bench(simulator)
    async with running(bench):
        await bench.connected(1)
        simulator.trade("BTCUSDT", 128)
        await until(lambda: len(bench.trades) == 128, 5)
    assert bench.value("lag_seconds_count") == 2
    assert (bench.metrics.registry.get_sample_value("ingest_lag_seconds_sum", {"source": "demo"}) or 0) < 2 * SECOND
