"""The supervisor where its parts misbehave: a server that answers no more, a part that fails, a SIGHUP at the wrong moment."""

from __future__ import annotations

import signal
from collections.abc import Callable

from cluster import Cluster

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, configuration, demo, on_apache, subscribed, until

Daemons = Callable[..., Daemon]


async def test_with_a_server_that_answers_no_more_it_ends_in_time(
    private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons
) -> None:
    cluster = private_cluster()
    one = await daemon(configuration(cluster.dsn("market"), simulator, shutdown_timeout="500 ms")).start()
    await one.ready()
    await subscribed(simulator)
    cluster.pause()
    try:
        simulator.trade("BTCUSDT", 2000)
        await one.until(lambda now: now.rows("trades")["queued"] == 2000)
        assert await one.terminate(seconds=15) == 0
    finally:
        cluster.resume()
    assert one.logged_row_totals("trades") | {"decoded": 2000, "shed": 2000, "queued": 0} == one.logged_row_totals("trades")


@on_apache
async def test_a_reload_during_the_drain_starts_nothing(market: str, simulator: Simulator, daemon: Daemons) -> None:
    one = await daemon(configuration(market, simulator, shutdown_timeout="3s")).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 300)
        await one.until(lambda now: now.rows("trades")["queued"] == 300)
        one.signal(signal.SIGTERM)
        await one.unready("stopping")
        one.configure(one.settings | {"exchanges": {"other": demo(simulator, instruments=["ETH/USDT"])}})
        one.signal(signal.SIGHUP)
        assert await one.wait(10) == 0
    assert not one.logged("configuration reloaded")


@on_apache
async def test_a_reload_before_the_database_is_there_is_heeded(market: str, simulator: Simulator, daemon: Daemons) -> None:
    async with stored.locked(market, "schema_migrations"):
        one = await daemon(configuration(market, simulator)).start()
        one.configure(one.settings | {"exchanges": {"other": demo(simulator, instruments=["ETH/USDT"])}})
        one.signal(signal.SIGHUP)
        await until(lambda: one.logged("configuration reloaded"))
    await one.ready()
    assert list((await one.status())["sources"]) == ["other"]
    assert simulator.has_subscriber("ethusdt@trade")
    assert not simulator.has_subscriber("btcusdt@trade")


@on_apache
async def test_a_reload_starts_the_source_that_had_stopped(market: str, simulator: Simulator, daemon: Daemons) -> None:
    first = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    await first.terminate()
    wrong = {"demo": demo(simulator, trade_kind="aggTrade")}
    one = await daemon(configuration(market, simulator, exchanges=wrong)).start()
    await one.unready("demo: stopped: demo: trade_kind is 'aggTrade', but the stored trades of BTCUSDT are 'trade'")
    one.configure(one.settings | {"exchanges": {"demo": demo(simulator)}})
    one.signal(signal.SIGHUP)
    await one.ready()
    await subscribed(simulator)


@on_apache
async def test_the_last_source_goes_and_another_comes(market: str, simulator: Simulator, daemon: Daemons) -> None:
    one = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    for name, instrument in (("other", "ETH/USDT"), ("third", "SOL/USDT")):
        one.configure(one.settings | {"exchanges": {name: demo(simulator, instruments=[instrument])}})
        one.signal(signal.SIGHUP)
        stream = instrument.replace("/", "").lower() + "@trade"
        await until(lambda stream=stream: [listener.streams for listener in simulator.listeners] == [{stream}])
        assert list((await one.status())["sources"]) == [name]


@on_apache
async def test_an_edited_migration_stops_it_with_words(market: str, simulator: Simulator, daemon: Daemons) -> None:
    await stored.fetch(market, "UPDATE schema_migrations SET sha256 = 'edited' RETURNING version")
    one = daemon(configuration(market, simulator))
    await one.spawn()
    assert await one.wait() == 2
    assert "Traceback" not in one.log
    assert "ingest: " in one.log.splitlines()[-1]
