"""A daemon with a spool starts while the database is away: the instruments that it saved are enough to lose no row."""

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
    first = await (await daemon(settings).start()).ready()
    await subscribed(simulator)
    assert await first.terminate() == 0
    await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
    settings["exchanges"]["demo"] = demo(simulator, instruments=BOTH)  # the second instrument is not in the saved ones
    async with stopped(cluster):
        second = await daemon(settings).start()
        await subscribed(simulator)
        await send_trades(simulator, second, 3000)
        scrape = await second.until(lambda now: now.rows("trades")["spooled"] >= 2800)
        assert scrape.rows("trades")["shed"] == 0
        assert not simulator.has_subscriber("ethusdt@trade")
        await second.unready("connecting to the database")
        await second.kill()
        await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
        spooled = scrape.rows("trades")["spooled"]
        third = await daemon(settings).start()
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 200)
        await third.until(lambda now: now.rows("trades")["decoded"] == 200)
        assert (await third.scrape()).rows("trades")["recovered"] >= spooled
    scrape = await third.until(lambda now: now.rows("trades")["written"] >= spooled + 200 and not now.rows("trades")["spooled"])
    await until(lambda: simulator.has_subscriber("ethusdt@trade"))
    await third.ready()
    kept, sent = await stored.trades(market), list(simulator.oracle.trades("BTCUSDT"))
    ids = {row.id for row in kept}
    assert kept == [row for row in sent if row.id in ids]
    assert kept[-200:] == sent[-200:]
    assert len(kept) == scrape.rows("trades")["written"]
    assert await third.terminate() == 0
    assert files(tmp_path) == []


@on_apache
async def test_stopped_before_the_database_is_back_it_leaves_all_rows_in_the_spool(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    settings = spooling(market, simulator, tmp_path, start_after="1 hour") | {"shutdown_timeout": "500 ms"}
    first = await (await daemon(settings).start()).ready()
    assert await first.terminate() == 0
    async with stopped(cluster):
        second = await daemon(settings).start()
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 300)
        await second.until(lambda now: now.rows("trades")["decoded"] == 300)
        assert await second.terminate() == 0
        assert second.logged_row_totals("trades") | {"decoded": 300, "shed": 0, "spooled": 300} == second.logged_row_totals(
            "trades"
        )
    third = await daemon(settings).start()
    await third.until(lambda now: now.rows("trades")["written"] == 300 and not now.rows("trades")["spooled"])
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_without_saved_instruments_it_waits_for_the_database(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    async with stopped(cluster):
        instance = await daemon(spooling(market, simulator, tmp_path)).start()
        await instance.unready("connecting to the database")
        assert not simulator.has_subscriber("btcusdt@trade")
    await instance.ready()
    await subscribed(simulator)


@on_apache
async def test_rows_of_another_database_are_held(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path) | {"shutdown_timeout": "100 ms"}
    first = await daemon(settings).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, first, 300)
        assert await first.terminate() == 0
    await stored.execute(
        other_market,
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status) "
        "VALUES ('else', 'X', 'X/Y', 'X', 'Y', 'spot', 'trading')",
    )
    second = await daemon(spooling(other_market, simulator, tmp_path)).start()
    await second.unready("the spool has rows of another database: instrument 1 is demo BTCUSDT in ")
    assert "known.json, else X in this database; right would be that database, or another spool.path" in await second.readyz()
    assert await second.terminate() == 0
    assert await stored.trades(other_market) == []
    third = await daemon(settings).start()
    await third.until(lambda now: now.rows("trades")["recovered"] == 300 and not now.rows("trades")["spooled"])
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_an_empty_spool_may_be_used_with_another_database(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    first = await (await daemon(spooling(market, simulator, tmp_path)).start()).ready()
    assert await first.terminate() == 0
    await stored.execute(
        other_market,
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status) "
        "VALUES ('else', 'X', 'X/Y', 'X', 'Y', 'spot', 'trading')",
    )
    second = await (await daemon(spooling(other_market, simulator, tmp_path)).start()).ready()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await second.settled("trades", 100)
    await stored.assert_all_trades(other_market, simulator)
