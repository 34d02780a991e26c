"""SIGHUP starts and ends what changed in the configuration; the rest continues without a gap."""

from __future__ import annotations

import signal
from collections.abc import Callable

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, Settings, configuration, demo, on_apache, subscribed, until

Daemons = Callable[..., Daemon]


async def reload(instance: Daemon, settings: Settings) -> None:
    """Write other settings and send SIGHUP; returns when they are loaded."""
    times = len(instance.logged("configuration reloaded"))
    instance.configure(settings)
    instance.signal(signal.SIGHUP)
    await until(lambda: len(instance.logged("configuration reloaded")) > times)


def trading(market: str, simulator: Simulator, *instruments: str, channels: tuple[str, ...] = ("trades",)) -> Settings:
    exchanges = {"demo": demo(simulator, instruments=list(instruments), channels=list(channels))}
    return configuration(market, simulator, exchanges=exchanges)


@on_apache
async def test_instruments_come_and_go_and_the_others_do_not_notice(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(trading(market, simulator, "BTC/USDT")).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)

    await reload(instance, trading(market, simulator, "BTC/USDT", "ETH/USDT"))
    simulator.trade("BTCUSDT", 100)
    await subscribed(simulator, "btcusdt@trade", "ethusdt@trade")
    simulator.trade("BTCUSDT", 100)
    simulator.trade("ETHUSDT", 100)
    scrape = await instance.settled("trades", 400)
    assert (scrape.value("source_connects_total"), scrape.value("source_disconnects_total")) == (2, 0)

    await reload(instance, trading(market, simulator, "BTC/USDT"))
    simulator.trade("BTCUSDT", 100)
    await until(lambda: not simulator.has_subscriber("ethusdt@trade"))
    simulator.trade("BTCUSDT", 100)
    scrape = await instance.settled("trades", 600)
    assert (scrape.value("source_connects_total"), scrape.value("source_disconnects_total")) == (2, 1)
    assert scrape.value("source_disconnects_total", reason="planned") == 1
    await stored.assert_all_trades(market, simulator, "BTCUSDT")
    await stored.assert_all_trades(market, simulator, "ETHUSDT")
    assert await stored.gaps(market) == []


@on_apache
async def test_removing_one_of_two_instruments_of_a_connection_leaves_no_gap_in_the_other(
    market: str, simulator: Simulator, daemon: Daemons
):
    instance = await daemon(trading(market, simulator, "BTC/USDT", "ETH/USDT")).start()
    await subscribed(simulator, "btcusdt@trade", "ethusdt@trade")
    instance.configure(trading(market, simulator, "ETH/USDT"))
    instance.signal(signal.SIGHUP)
    while simulator.has_subscriber("btcusdt@trade"):
        simulator.trade("ETHUSDT", 10)
        await instance.balanced_scrape()
    simulator.trade("ETHUSDT", 10)
    sent = len(list(simulator.oracle.trades("ETHUSDT")))
    await instance.until(lambda now: now.rows("trades")["written"] == sent)
    await stored.assert_all_trades(market, simulator, "ETHUSDT")
    assert await stored.gaps(market) == []


@on_apache
async def test_a_channel_comes_and_goes(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(trading(market, simulator, "BTC/USDT")).start()
    await subscribed(simulator)
    await reload(instance, trading(market, simulator, "BTC/USDT", channels=("trades", "quotes")))
    simulator.trade("BTCUSDT", 100)
    await instance.until(lambda now: now.rows("quotes")["written"])
    await reload(instance, trading(market, simulator, "BTC/USDT"))
    await until(lambda: not simulator.has_subscriber("btcusdt@bookTicker"))
    simulator.trade("BTCUSDT", 100)
    scrape = await instance.settled("trades", 200)
    assert (scrape.value("source_connects_total"), scrape.value("source_disconnects_total")) == (2, 1)
    await stored.assert_all_trades(market, simulator)
    assert await stored.gaps(market) == []


@on_apache
async def test_an_exchange_comes_and_goes(market: str, simulator: Simulator, daemon: Daemons):
    both = {"demo": demo(simulator), "other": demo(simulator, instruments=["ETH/USDT"])}
    instance = await daemon(trading(market, simulator, "BTC/USDT")).start()
    await subscribed(simulator)
    await reload(instance, configuration(market, simulator, exchanges=both))
    await subscribed(simulator, "ethusdt@trade")
    simulator.trade("ETHUSDT", 100)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 200)
    await reload(instance, trading(market, simulator, "BTC/USDT"))
    await until(lambda: not simulator.has_subscriber("ethusdt@trade"))
    simulator.trade("BTCUSDT", 100)
    scrape = await instance.settled("trades", 300)
    assert (scrape.value("source_connects_total", source="demo"), scrape.value("source_disconnects_total", source="demo")) == (1, 0)
    await stored.assert_all_trades(market, simulator)
    await stored.assert_all_trades(market, simulator, "ETHUSDT", exchange="other")
    assert await stored.gaps(market) == []
    await instance.ready()


@on_apache
async def test_a_wrong_configuration_is_refused_and_the_old_one_stays(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(trading(market, simulator, "BTC/USDT")).start()
    await subscribed(simulator)
    instance.configure(trading(market, simulator, "BTC/USDT", channels=("trades", "ohlcv")))
    instance.signal(signal.SIGHUP)
    (message,) = await until(lambda: instance.logged("the new configuration is refused"))
    assert message == (
        "the new configuration is refused, the old one stays: "
        "exchanges.demo.channels: unknown channel 'ohlcv'; known: trades, candles, book, quotes"
    )
    simulator.trade("BTCUSDT", 100)
    scrape = await instance.settled("trades", 100)
    assert scrape.value("source_connects_total") == 1
    assert scrape.value("errors_total", stage="reload") == 1
    await stored.assert_all_trades(market, simulator)
    await instance.ready()


@on_apache
async def test_a_reload_names_what_needs_a_restart_and_drops_no_stream_for_a_misspelt_name(
    market: str, simulator: Simulator, daemon: Daemons
):
    settings = trading(market, simulator, "BTC/USDT")
    instance = await daemon(settings).start()
    await subscribed(simulator)
    changed = trading(market, simulator, "BTCUSD/TT") | {"name": "two", "queue": {"max_rows": 7}, "retention": {"trades": "none"}}
    await reload(instance, changed)
    assert instance.logged("changed settings that need a restart: name, queue.max_rows")
    await until(lambda: instance.logged("demo: BTC/USDT stays subscribed until every configured instrument is known"))
    simulator.trade("BTCUSDT", 100)
    scrape = await instance.settled("trades", 100)
    assert (scrape.value("source_connects_total"), scrape.value("source_disconnects_total")) == (1, 0)
    assert (scrape.value("queue_max_rows", table="trades"), (await instance.status())["daemon"]["name"]) == (200_000, "one")
    await stored.assert_all_trades(market, simulator)
