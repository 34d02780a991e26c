"""SIGHUP: what changed in the configuration begins or ends, and the rest goes on without a hole."""

from __future__ import annotations

import signal
from collections.abc import Callable

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, Settings, configuration, demo, on_apache, subscribed, until

Daemons = Callable[..., Daemon]


async def reload(one: Daemon, settings: Settings) -> None:
    """SIGHUP with other settings; returns when they are read."""
    times = len(one.logged("configuration reloaded"))
    one.configure(settings)
    one.signal(signal.SIGHUP)
    await until(lambda: len(one.logged("configuration reloaded")) > times)


def trading(market: str, simulator: Simulator, *instruments: str, channels: tuple[str, ...] = ("trades",)) -> Settings:
    exchanges = {"demo": demo(simulator, instruments=list(instruments), channels=list(channels))}
    return configuration(market, simulator, exchanges=exchanges)


@on_apache
async def test_instruments_come_and_go_and_the_others_do_not_notice(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(trading(market, simulator, "BTC/USDT")).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)

    await reload(one, trading(market, simulator, "BTC/USDT", "ETH/USDT"))
    simulator.trade("BTCUSDT", 100)
    await subscribed(simulator, "btcusdt@trade", "ethusdt@trade")
    simulator.trade("BTCUSDT", 100)
    simulator.trade("ETHUSDT", 100)
    scrape = await one.settled("trades", 400)
    assert (scrape.value("source_connects_total"), scrape.value("source_disconnects_total")) == (2, 0)

    await reload(one, trading(market, simulator, "BTC/USDT"))
    simulator.trade("BTCUSDT", 100)
    await until(lambda: not simulator.has_subscriber("ethusdt@trade"))
    simulator.trade("BTCUSDT", 100)
    scrape = await one.settled("trades", 600)
    assert (scrape.value("source_connects_total"), scrape.value("source_disconnects_total")) == (2, 1)
    assert scrape.value("source_disconnects_total", reason="planned") == 1
    await stored.assert_all_trades(market, simulator, "BTCUSDT")
    await stored.assert_all_trades(market, simulator, "ETHUSDT")
    assert await stored.gaps(market) == []


@on_apache
async def test_of_two_instruments_on_one_connection_one_goes_without_a_hole_in_the_other(
    market: str, simulator: Simulator, daemon: Daemons
):
    one = await daemon(trading(market, simulator, "BTC/USDT", "ETH/USDT")).start()
    await subscribed(simulator, "btcusdt@trade", "ethusdt@trade")
    one.configure(trading(market, simulator, "ETH/USDT"))
    one.signal(signal.SIGHUP)
    while simulator.has_subscriber("btcusdt@trade"):
        simulator.trade("ETHUSDT", 10)
        await one.balanced_scrape()
    simulator.trade("ETHUSDT", 10)
    said = len(list(simulator.oracle.trades("ETHUSDT")))
    await one.until(lambda now: now.rows("trades")["written"] == said)
    await stored.assert_all_trades(market, simulator, "ETHUSDT")
    assert await stored.gaps(market) == []


@on_apache
async def test_a_channel_comes_and_goes(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(trading(market, simulator, "BTC/USDT")).start()
    await subscribed(simulator)
    await reload(one, trading(market, simulator, "BTC/USDT", channels=("trades", "quotes")))
    simulator.trade("BTCUSDT", 100)
    await one.until(lambda now: now.rows("quotes")["written"])
    await reload(one, trading(market, simulator, "BTC/USDT"))
    await until(lambda: not simulator.has_subscriber("btcusdt@bookTicker"))
    simulator.trade("BTCUSDT", 100)
    scrape = await one.settled("trades", 200)
    assert (scrape.value("source_connects_total"), scrape.value("source_disconnects_total")) == (2, 1)
    await stored.assert_all_trades(market, simulator)
    assert await stored.gaps(market) == []


@on_apache
async def test_an_exchange_comes_and_goes(market: str, simulator: Simulator, daemon: Daemons):
    both = {"demo": demo(simulator), "other": demo(simulator, instruments=["ETH/USDT"])}
    one = await daemon(trading(market, simulator, "BTC/USDT")).start()
    await subscribed(simulator)
    await reload(one, configuration(market, simulator, exchanges=both))
    await subscribed(simulator, "ethusdt@trade")
    simulator.trade("ETHUSDT", 100)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 200)
    await reload(one, trading(market, simulator, "BTC/USDT"))
    await until(lambda: not simulator.has_subscriber("ethusdt@trade"))
    simulator.trade("BTCUSDT", 100)
    scrape = await one.settled("trades", 300)
    assert (scrape.value("source_connects_total", source="demo"), scrape.value("source_disconnects_total", source="demo")) == (1, 0)
    await stored.assert_all_trades(market, simulator)
    await stored.assert_all_trades(market, simulator, "ETHUSDT", exchange="other")
    assert await stored.gaps(market) == []
    await one.ready()


@on_apache
async def test_a_wrong_configuration_is_refused_and_the_old_one_stays(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(trading(market, simulator, "BTC/USDT")).start()
    await subscribed(simulator)
    one.configure(trading(market, simulator, "BTC/USDT", channels=("trades", "ohlcv")))
    one.signal(signal.SIGHUP)
    (said,) = await until(lambda: one.logged("the new configuration is refused"))
    assert said == (
        "the new configuration is refused, the old one stays: "
        "exchanges.demo.channels: unknown channel 'ohlcv'; known: trades, candles, book, quotes"
    )
    simulator.trade("BTCUSDT", 100)
    scrape = await one.settled("trades", 100)
    assert scrape.value("source_connects_total") == 1
    assert scrape.value("errors_total", stage="reload") == 1
    await stored.assert_all_trades(market, simulator)
    await one.ready()
