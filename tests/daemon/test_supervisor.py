"""The supervisor when the database stops responding, a source has stopped, or SIGHUP comes at an unusual moment."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, configuration, demo, on_apache, subscribed, until

Daemons = Callable[..., Daemon]


async def test_with_a_database_that_does_not_respond_it_ends_in_time(
    private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons
) -> None:
    cluster = private_cluster()
    instance = await daemon(configuration(cluster.dsn("market"), simulator, shutdown_timeout="500 ms")).start()
    await instance.ready()
    await subscribed(simulator)
    cluster.pause()
    try:
        simulator.trade("BTCUSDT", 2000)
        await instance.until(lambda now: now.rows("trades")["queued"] == 2000)
        assert await instance.terminate(seconds=15) == 0
    finally:
        cluster.resume()
    assert instance.logged_row_totals("trades") | {"decoded": 2000, "shed": 2000, "queued": 0} == instance.logged_row_totals(
        "trades"
    )


@pytest.mark.parametrize("spool", [False, True])
async def test_a_server_that_is_frozen_is_reported_within_ten_seconds(
    private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path, spool: bool
) -> None:
    cluster = private_cluster()
    settings = configuration(cluster.dsn("market"), simulator, **({"spool": {"path": str(tmp_path / "spool")}} if spool else {}))
    instance = await daemon(settings).start()
    await instance.ready()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    await asyncio.to_thread(cluster.pause)
    try:
        simulator.trade("BTCUSDT", 1000)
        async with asyncio.timeout(10):
            await instance.unready("querying the database: TimeoutError: no response")
            await until(lambda: instance.logged("trades: 1000 rows wait: the database has not answered a write"))
        while spool and not instance.logged("trades: rows go to the spool"):
            simulator.trade("BTCUSDT", 100)  # two batches are in flight, later ones go to the spool
            await instance.balanced_scrape()
        assert instance.logged("querying the database: TimeoutError: no response")
    finally:
        await asyncio.to_thread(cluster.resume)
    await instance.ready()
    await until(lambda: instance.logged("the database answers"))
    sent = len(list(simulator.oracle.trades("BTCUSDT")))
    await instance.until(lambda now: now.rows("trades")["written"] + now.rows("trades")["duplicate"] == sent)
    await stored.assert_all_trades(cluster.dsn("market"), simulator)


@on_apache
async def test_a_reload_during_the_drain_starts_nothing(market: str, simulator: Simulator, daemon: Daemons) -> None:
    instance = await daemon(configuration(market, simulator, shutdown_timeout="3s")).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 300)
        await instance.until(lambda now: now.rows("trades")["queued"] == 300)
        instance.signal(signal.SIGTERM)
        await instance.unready("stopping")
        instance.configure(instance.settings | {"exchanges": {"other": demo(simulator, instruments=["ETH/USDT"])}})
        instance.signal(signal.SIGHUP)
        assert await instance.wait(10) == 0
    assert not instance.logged("configuration reloaded")


@on_apache
async def test_a_reload_before_the_database_is_ready_is_applied(market: str, simulator: Simulator, daemon: Daemons) -> None:
    async with stored.locked(market, "schema_migrations"):
        instance = await daemon(configuration(market, simulator)).start()
        instance.configure(instance.settings | {"exchanges": {"other": demo(simulator, instruments=["ETH/USDT"])}})
        instance.signal(signal.SIGHUP)
        await until(lambda: instance.logged("configuration reloaded"))
    await instance.ready()
    assert list((await instance.status())["sources"]) == ["other"]
    assert simulator.has_subscriber("ethusdt@trade")
    assert not simulator.has_subscriber("btcusdt@trade")


@on_apache
async def test_a_reload_starts_the_source_that_had_stopped(market: str, simulator: Simulator, daemon: Daemons) -> None:
    first = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    await first.terminate()
    wrong = {"demo": demo(simulator, trade_kind="aggTrade")}
    instance = await daemon(configuration(market, simulator, exchanges=wrong)).start()
    await instance.unready("demo: stopped: demo: trade_kind is 'aggTrade', but the stored trades of BTCUSDT are 'trade'")
    instance.configure(instance.settings | {"exchanges": {"demo": demo(simulator)}})
    instance.signal(signal.SIGHUP)
    await instance.ready()
    await subscribed(simulator)


@on_apache
async def test_the_only_source_is_replaced_by_another(market: str, simulator: Simulator, daemon: Daemons) -> None:
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    for name, instrument in (("other", "ETH/USDT"), ("third", "SOL/USDT")):
        instance.configure(instance.settings | {"exchanges": {name: demo(simulator, instruments=[instrument])}})
        instance.signal(signal.SIGHUP)
        stream = instrument.replace("/", "").lower() + "@trade"
        await until(lambda stream=stream: [listener.streams for listener in simulator.listeners] == [{stream}])
        assert list((await instance.status())["sources"]) == [name]


@on_apache
async def test_an_edited_migration_stops_it_with_a_message(market: str, simulator: Simulator, daemon: Daemons) -> None:
    await stored.fetch(market, "UPDATE schema_migrations SET sha256 = 'edited' RETURNING version")
    instance = daemon(configuration(market, simulator))
    await instance.spawn()
    assert await instance.wait() == 2
    assert "Traceback" not in instance.log
    assert "ingest: " in instance.log.splitlines()[-1]
