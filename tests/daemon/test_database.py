"""The database fails in many ways and comes back: no row is lost or stored twice, and the daemon reports the reason."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from cluster import Cluster
from line import CutLine

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, Settings, configuration, on_apache, subscribed, to_toml, until
from tests.support.paths import ROOT

Daemons = Callable[..., Daemon]


async def test_a_backend_is_terminated_in_the_middle_of_a_copy(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    async with stored.stalled(market, 1_000_501):
        simulator.trade("BTCUSDT", 1000)
        for backend in await until(lambda: stored.stalled_backends(market)):
            await stored.execute(market, f"SELECT pg_terminate_backend({backend})")
        await instance.until(lambda now: now.value("write_retries_total"))
    scrape = await instance.settled("trades", 1000)
    assert scrape.rows("trades") | {"decoded": 1000, "written": 1000} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    await instance.ready()


@on_apache
async def test_the_line_is_cut_between_a_commit_and_its_answer(market: str, simulator: Simulator, daemon: Daemons):
    async with CutLine(market) as line:
        instance = await daemon(configuration(market, simulator, database={"dsn": line.dsn, "admin_dsn": market})).start()
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 100)
        await instance.settled("trades", 100)
        line.cut_after(b"COMMIT\0")
        simulator.trade("BTCUSDT", 100)
        scrape = await instance.settled("trades", 200)
    # the cut commit had stored its rows, so the second attempt counts them as duplicates
    rows = scrape.rows("trades")
    assert (line.cuts, rows["written"] + rows["duplicate"]) == (1, 200)
    assert rows["duplicate"] > 0
    await stored.assert_all_trades(market, simulator)


async def test_the_server_is_killed_and_comes_back(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 500)
    await instance.settled("trades", 500)
    stall = stored.stalled(market, 1_000_750)
    await stall.__aenter__()
    simulator.trade("BTCUSDT", 500)
    await until(lambda: stored.stalled_backends(market))
    await asyncio.to_thread(cluster.kill)
    simulator.trade("BTCUSDT", 500)
    await instance.until(lambda now: now.rows("trades")["queued"] == 1000)
    await instance.unready("querying the database")
    assert await instance.livez() == "ok"  # restarting the daemon would not help
    await asyncio.to_thread(cluster.start)
    scrape = await instance.settled("trades", 1500)
    assert scrape.rows("trades") | {"decoded": 1500, "written": 1500} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    await instance.ready()


@on_apache
async def test_the_database_is_down_at_the_start(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons
):
    cluster = private_cluster(edition)
    await asyncio.to_thread(cluster.stop)
    instance = await daemon(configuration(cluster.dsn("market"), simulator)).start()
    await instance.unready("connecting to the database")
    await asyncio.to_thread(cluster.start)
    await instance.ready()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    await stored.assert_all_trades(cluster.dsn("market"), simulator)


async def test_migrations_are_pending_and_are_then_applied(database: str, simulator: Simulator, daemon: Daemons):
    settings = configuration(database, simulator)
    instance = await daemon(settings).start()
    await instance.unready("migrations are pending: run `ingest migrate`")
    assert await migrate(settings) == 0
    await instance.ready()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    await stored.assert_all_trades(database, simulator)


async def migrate(settings: Settings) -> int:
    command = (sys.executable, "-m", "ingest", "migrate", "--config", "/dev/stdin")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    await process.communicate(to_toml(settings).encode())
    assert process.returncode is not None
    return process.returncode


SMALL = {"batch_rows": 100, "max_age": "50 ms", "max_rows": 1000, "max_wait": "300 ms"}


async def test_a_locked_table_fills_the_queue_which_then_sheds(market: str, simulator: Simulator, daemon: Daemons):
    settings = configuration(market, simulator, queue=SMALL)
    settings["exchanges"]["demo"]["instruments"] = ["BTC/USDT", "ETH/USDT"]
    instance = await daemon(settings).start()
    await subscribed(simulator, "btcusdt@trade", "ethusdt@trade")
    async with stored.locked(market, "trades"):
        for _ in range(40):
            simulator.trade("BTCUSDT", 100)
            simulator.trade("ETHUSDT", 100)
        scrape = await instance.until(lambda now: now.rows("trades")["decoded"] == 8000)
        rows = scrape.rows("trades")
        assert 1000 <= rows["queued"] <= 1100
        assert rows["shed"] == 8000 - rows["queued"]
    scrape = await instance.settled("trades", 8000)
    kept = {symbol: await stored.trades(market, symbol) for symbol in ("BTCUSDT", "ETHUSDT")}
    gaps = await until(lambda: stored.gaps(market))
    assert [(gap["symbol"], gap["channel"], gap["reason"], gap["state"]) for gap in gaps] == [
        (symbol, "trades", "shed", "open") for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    for gap in gaps:  # each gap is the range of exactly the trades that are not stored
        sent = list(simulator.oracle.trades(gap["symbol"]))
        ids = {row.id for row in kept[gap["symbol"]]}
        assert kept[gap["symbol"]] == [row for row in sent if row.id in ids]
        missing = [row.time for row in sent if row.id not in ids]
        assert (min(missing), max(missing)) == (millis(gap["since"]), millis(gap["until"]))
    assert scrape.rows("trades")["written"] == sum(map(len, kept.values()))


def millis(time: object) -> int:
    return round(time.timestamp() * 1000)  # type: ignore[attr-defined] # a datetime


@on_apache
async def test_a_gap_that_cannot_be_written_yet_is_written_later(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    async with stored.locked(market, "coverage"):
        await simulator.disconnect(abruptly=True)
        await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 100)
        await instance.settled("trades", 200)
        blocked = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'relation'"
        for row in await until(lambda: stored.fetch(market, blocked)):
            await stored.execute(market, f"SELECT pg_terminate_backend({row['pid']})")
        await instance.until(lambda now: now.value("errors_total", stage="coverage_buffer", error_type="Retry"))
    (gap,) = await until(lambda: stored.gaps(market))
    assert (gap["symbol"], gap["channel"], gap["reason"], gap["state"]) == ("BTCUSDT", "trades", "disconnect", "open")
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_memory_is_bounded_while_the_table_is_locked(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator, queue=SMALL)).start()
    await subscribed(simulator)
    await simulator.burst("BTCUSDT", simulator.prepare("BTCUSDT", 2_000))
    await instance.settled("trades", 2_000)
    before = resident_bytes(instance)
    async with stored.locked(market, "trades"):
        for rows in range(25_000, 100_001, 25_000):
            await simulator.burst("BTCUSDT", simulator.prepare("BTCUSDT", 25_000))
            await instance.until(lambda now, rows=rows: now.rows("trades")["decoded"] == 2_000 + rows)
        assert resident_bytes(instance) - before < 16 << 20  # as records they would be more than 40 MB
    await instance.settled("trades", 102_000)


def resident_bytes(instance: Daemon) -> int:
    with open(f"/proc/{instance.pid}/statm") as statm:  # noqa: PTH123 - a pseudo-file
        return int(statm.read().split()[1]) * 4096
