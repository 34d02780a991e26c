"""SIGTERM drains the queues; rows that cannot be written in time are counted as shed and stored as a gap."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from cluster import Cluster
from line import CutLine

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, configuration, on_apache, subscribed, until

Daemons = Callable[..., Daemon]


@on_apache
async def test_queues_are_drained_when_the_database_responds_again(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    instance = await daemon(configuration(market, simulator, shutdown_timeout="15s")).start()
    await instance.ready()
    await subscribed(simulator)
    cluster.pause()
    try:
        simulator.trade("BTCUSDT", 2000)
        await instance.until(lambda now: now.rows("trades")["queued"] == 2000)
        instance.signal(signal.SIGTERM)
        await instance.unready("stopping")  # before the drain, which cannot end yet
        assert instance.exit_code is None
    finally:
        cluster.resume()
    assert await instance.wait() == 0
    await stored.assert_all_trades(market, simulator)
    assert instance.logged_row_totals("trades") | {"decoded": 2000, "written": 2000, "queued": 0} == instance.logged_row_totals(
        "trades"
    )
    assert await stored.gaps(market) == []


@on_apache
async def test_past_the_deadline_rows_are_shed_and_the_gap_is_stored(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator, shutdown_timeout="500 ms")).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 300)
        await instance.until(lambda now: now.rows("trades")["queued"] == 300)
        assert await instance.terminate() == 0
    await assert_shed(instance, market, simulator, kept=100)


@on_apache
async def test_a_second_sigterm_does_not_wait_for_the_drain(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator, shutdown_timeout="10 minutes")).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 300)
        await instance.until(lambda now: now.rows("trades")["queued"] == 300)
        instance.signal(signal.SIGTERM)
        await instance.unready("stopping")
        assert await instance.terminate(seconds=10) == 0
    await assert_shed(instance, market, simulator, kept=0)


@on_apache
async def test_without_a_database_it_ends_in_time_and_logs_what_was_lost(market: str, simulator: Simulator, daemon: Daemons):
    async with CutLine(market) as line:
        database = {"dsn": line.dsn, "admin_dsn": market}
        instance = await daemon(configuration(market, simulator, database=database, shutdown_timeout="500 ms")).start()
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 100)
        await instance.settled("trades", 100)
        line.close()
        simulator.trade("BTCUSDT", 300)
        await instance.until(lambda now: now.rows("trades")["queued"] == 300)
        assert await instance.terminate(seconds=10) == 0
    assert instance.logged("not drained in time: 300 rows are shed, counted with the reason shutdown")
    assert instance.logged("the last claims and gaps were not written: ")
    assert instance.logged_row_totals("trades") | {"decoded": 400, "written": 100, "shed": 300} == instance.logged_row_totals(
        "trades"
    )
    assert await stored.trades(market) == list(simulator.oracle.trades("BTCUSDT"))[:100]


async def assert_shed(instance: Daemon, market: str, simulator: Simulator, *, kept: int) -> None:
    """The first `kept` trades are stored; the others are counted as shed and are one gap, from the first to the last of them."""
    sent = list(simulator.oracle.trades("BTCUSDT"))
    assert await stored.trades(market) == sent[:kept]
    rows = {"decoded": len(sent), "written": kept, "shed": len(sent) - kept, "queued": 0}
    assert instance.logged_row_totals("trades") | rows == instance.logged_row_totals("trades")
    (gap,) = await stored.gaps(market)
    assert (gap["symbol"], gap["channel"], gap["reason"], gap["state"]) == ("BTCUSDT", "trades", "shed", "open")
    times = [round(gap[end].timestamp() * 1000) for end in ("since", "until")]
    assert times == [sent[kept].time, sent[-1].time]


@on_apache
async def test_the_row_with_which_a_reader_waits_at_a_full_queue_is_drained_too(market: str, simulator: Simulator, daemon: Daemons):
    queue = {"batch_rows": 100, "max_rows": 1000, "max_wait": "1 hour"}
    instance = await daemon(configuration(market, simulator, queue=queue, shutdown_timeout="15s")).start()
    await instance.ready()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 2000)
        await instance.until(lambda now: now.rows("trades")["queued"] == 1001)
        instance.signal(signal.SIGTERM)
        await instance.unready("stopping")
    assert await instance.wait() == 0
    assert instance.logged_row_totals("trades") | {"decoded": 1001, "written": 1001} == instance.logged_row_totals("trades")
    assert await stored.trades(market) == list(simulator.oracle.trades("BTCUSDT"))[:1001]


@on_apache
async def test_a_daemon_that_waits_for_its_database_ends_at_once(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration("postgresql://nobody@127.0.0.1:1/market", simulator)).start()
    await instance.unready("connecting to the database")
    assert await instance.terminate(seconds=5) == 0


@on_apache
async def test_trades_that_come_during_the_stop_are_not_half_counted(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    trading = asyncio.ensure_future(trade_for_ever(simulator))
    await instance.until(lambda now: now.rows("trades")["written"] > 500)
    assert await instance.terminate() == 0
    trading.cancel()
    sent, kept = list(simulator.oracle.trades("BTCUSDT")), await stored.trades(market)
    assert kept == sent[: len(kept)]  # every trade up to some moment
    assert instance.logged_row_totals("trades")["decoded"] == instance.logged_row_totals("trades")["written"] == len(kept)
    await until(lambda: not simulator.has_subscriber("btcusdt@trade"))


async def trade_for_ever(simulator: Simulator) -> None:
    while True:
        simulator.trade("BTCUSDT", 10)
        await asyncio.sleep(0.005)
