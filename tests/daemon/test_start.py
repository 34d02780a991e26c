"""A daemon with a spool starts while the database is away: what it knew of it is enough to lose nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster import Cluster

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, demo, on_apache, subscribed, until
from tests.support.spools import files, send_trades, spooling, stopped

Daemons = Callable[..., Daemon]
BOTH = ["BTC/USDT", "ETH/USDT"]


@on_apache
async def test_without_the_database_it_receives_and_spools(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    settings = spooling(market, simulator, tmp_path)
    one = await (await daemon(settings).start()).ready()
    await subscribed(simulator)
    assert await one.terminate() == 0
    await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
    settings["exchanges"]["demo"] = demo(simulator, instruments=BOTH)  # the second is not known yet
    async with stopped(cluster):
        two = await daemon(settings).start()
        await subscribed(simulator)
        await send_trades(simulator, two, 3000)
        scrape = await two.until(lambda now: now.rows("trades")["spooled"] >= 2800)
        assert scrape.rows("trades")["shed"] == 0
        assert not simulator.has_subscriber("ethusdt@trade")
        await two.unready("connecting to the database")
        await two.kill()
        await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
        spooled = scrape.rows("trades")["spooled"]
        three = await daemon(settings).start()
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 200)
        await three.until(lambda now: now.rows("trades")["decoded"] == 200)
        assert (await three.scrape()).rows("trades")["recovered"] >= spooled
    scrape = await three.until(lambda now: now.rows("trades")["written"] >= spooled + 200 and not now.rows("trades")["spooled"])
    await until(lambda: simulator.has_subscriber("ethusdt@trade"))
    await three.ready()
    kept, said = await stored.trades(market), list(simulator.oracle.trades("BTCUSDT"))
    ids = {row.id for row in kept}
    assert kept == [row for row in said if row.id in ids]
    assert kept[-200:] == said[-200:]
    assert len(kept) == scrape.rows("trades")["written"]
    assert await three.terminate() == 0
    assert files(tmp_path) == []


@on_apache
async def test_told_to_end_before_the_database_was_there_it_leaves_all_in_the_spool(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    settings = spooling(market, simulator, tmp_path, start_after="1 hour") | {"shutdown_timeout": "500 ms"}
    one = await (await daemon(settings).start()).ready()
    assert await one.terminate() == 0
    async with stopped(cluster):
        two = await daemon(settings).start()
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 300)
        await two.until(lambda now: now.rows("trades")["decoded"] == 300)
        assert await two.terminate() == 0
        assert two.logged_row_totals("trades") | {"decoded": 300, "shed": 0, "spooled": 300} == two.logged_row_totals("trades")
    three = await daemon(settings).start()
    await three.until(lambda now: now.rows("trades")["written"] == 300 and not now.rows("trades")["spooled"])
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_without_a_memory_of_the_database_it_waits(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    async with stopped(cluster):
        one = await daemon(spooling(market, simulator, tmp_path)).start()
        await one.unready("connecting to the database")
        assert not simulator.has_subscriber("btcusdt@trade")
    await one.ready()
    await subscribed(simulator)


@on_apache
async def test_rows_of_another_database_are_held(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path) | {"shutdown_timeout": "100 ms"}
    one = await daemon(settings).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, one, 300)
        assert await one.terminate() == 0
    await stored.execute(
        other_market,
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status) "
        "VALUES ('else', 'X', 'X/Y', 'X', 'Y', 'spot', 'trading')",
    )
    two = await daemon(spooling(other_market, simulator, tmp_path)).start()
    await two.unready("the spool has rows of another database: instrument 1 is demo BTCUSDT in ")
    assert "known.json, else X in this database; right would be that database, or another spool.path" in await two.readyz()
    assert await two.terminate() == 0
    assert await stored.trades(other_market) == []
    three = await daemon(settings).start()
    await three.until(lambda now: now.rows("trades")["recovered"] == 300 and not now.rows("trades")["spooled"])
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_an_empty_spool_may_go_with_another_database(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    one = await (await daemon(spooling(market, simulator, tmp_path)).start()).ready()
    assert await one.terminate() == 0
    await stored.execute(
        other_market,
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status) "
        "VALUES ('else', 'X', 'X/Y', 'X', 'Y', 'spot', 'trading')",
    )
    two = await (await daemon(spooling(other_market, simulator, tmp_path)).start()).ready()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await two.settled("trades", 100)
    await stored.assert_all_trades(other_market, simulator)
