"""The database goes away in every way that it can and comes back: no row is lost or stands twice, and the daemon says why."""

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
    one = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    async with stored.stalled(market, 1_000_501):
        simulator.trade("BTCUSDT", 1000)
        for backend in await until(lambda: stored.stalled_backends(market)):
            await stored.execute(market, f"SELECT pg_terminate_backend({backend})")
        await one.until(lambda now: now.value("write_retries_total"))
    scrape = await one.settled("trades", 1000)
    assert scrape.rows("trades") | {"decoded": 1000, "written": 1000} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    await one.ready()


@on_apache
async def test_the_line_is_cut_between_a_commit_and_its_answer(market: str, simulator: Simulator, daemon: Daemons):
    async with CutLine(market) as line:
        one = await daemon(configuration(market, simulator, database={"dsn": line.dsn, "admin_dsn": market})).start()
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 100)
        await one.settled("trades", 100)
        line.cut_after(b"COMMIT\0")
        simulator.trade("BTCUSDT", 100)
        scrape = await one.settled("trades", 200)
    # the rows of the cut commit were stored, as the second attempt found: whose doing they are can no longer be told
    rows = scrape.rows("trades")
    assert (line.cuts, rows["written"] + rows["duplicate"]) == (1, 200)
    assert rows["duplicate"] > 0
    await stored.assert_all_trades(market, simulator)


async def test_the_server_is_killed_and_comes_back(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    one = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 500)
    await one.settled("trades", 500)
    stall = stored.stalled(market, 1_000_750)
    await stall.__aenter__()
    simulator.trade("BTCUSDT", 500)
    await until(lambda: stored.stalled_backends(market))
    await asyncio.to_thread(cluster.kill)
    simulator.trade("BTCUSDT", 500)
    await one.until(lambda now: now.rows("trades")["queued"] == 1000)
    await one.unready("querying the database")
    assert await one.livez() == "ok"  # a restart of the daemon would mend nothing
    await asyncio.to_thread(cluster.start)
    scrape = await one.settled("trades", 1500)
    assert scrape.rows("trades") | {"decoded": 1500, "written": 1500} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    await one.ready()


@on_apache
async def test_the_database_is_down_at_the_start(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons
):
    cluster = private_cluster(edition)
    await asyncio.to_thread(cluster.stop)
    one = await daemon(configuration(cluster.dsn("market"), simulator)).start()
    await one.unready("connecting to the database")
    await asyncio.to_thread(cluster.start)
    await one.ready()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 100)
    await stored.assert_all_trades(cluster.dsn("market"), simulator)


async def test_migrations_are_pending_and_are_then_applied(database: str, simulator: Simulator, daemon: Daemons):
    settings = configuration(database, simulator)
    one = await daemon(settings).start()
    await one.unready("migrations are pending: run `ingest migrate`")
    assert await migrate(settings) == 0
    await one.ready()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 100)
    await stored.assert_all_trades(database, simulator)


async def migrate(settings: Settings) -> int:
    command = (sys.executable, "-m", "ingest", "migrate", "--config", "/dev/stdin")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    await process.communicate(to_toml(settings).encode())
    assert process.returncode is not None
    return process.returncode


SMALL = {"batch_rows": 100, "max_age": "50 ms", "max_rows": 1000, "max_wait": "300 ms"}


async def test_a_database_that_stands_still_fills_the_lane_which_then_sheds(market: str, simulator: Simulator, daemon: Daemons):
    settings = configuration(market, simulator, queue=SMALL)
    settings["exchanges"]["demo"]["instruments"] = ["BTC/USDT", "ETH/USDT"]
    one = await daemon(settings).start()
    await subscribed(simulator, "btcusdt@trade", "ethusdt@trade")
    async with stored.locked(market, "trades"):
        for _ in range(40):
            simulator.trade("BTCUSDT", 100)
            simulator.trade("ETHUSDT", 100)
        scrape = await one.until(lambda now: now.rows("trades")["decoded"] == 8000)
        rows = scrape.rows("trades")
        assert 1000 <= rows["queued"] <= 1100
        assert rows["shed"] == 8000 - rows["queued"]
    scrape = await one.settled("trades", 8000)
    kept = {symbol: await stored.trades(market, symbol) for symbol in ("BTCUSDT", "ETHUSDT")}
    gaps = await until(lambda: stored.gaps(market))
    assert [(gap["symbol"], gap["channel"], gap["reason"], gap["state"]) for gap in gaps] == [
        (symbol, "trades", "shed", "open") for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    for gap in gaps:  # what is not stored is what the gap says is missing
        said = list(simulator.oracle.trades(gap["symbol"]))
        ids = {row.id for row in kept[gap["symbol"]]}
        assert kept[gap["symbol"]] == [row for row in said if row.id in ids]
        missing = [row.time for row in said if row.id not in ids]
        assert (min(missing), max(missing)) == (millis(gap["since"]), millis(gap["until"]))
    assert scrape.rows("trades")["written"] == sum(map(len, kept.values()))


def millis(time: object) -> int:
    return round(time.timestamp() * 1000)  # type: ignore[attr-defined] # a datetime


@on_apache
async def test_a_hole_that_cannot_be_noted_yet_is_noted_later(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 100)
    async with stored.locked(market, "coverage"):
        await simulator.disconnect(abruptly=True)
        await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
        await subscribed(simulator)
        simulator.trade("BTCUSDT", 100)
        await one.settled("trades", 200)
        noting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'relation'"
        for row in await until(lambda: stored.fetch(market, noting)):
            await stored.execute(market, f"SELECT pg_terminate_backend({row['pid']})")
        await one.until(lambda now: now.value("errors_total", stage="coverage_buffer", error_type="Retry"))
    (gap,) = await until(lambda: stored.gaps(market))
    assert (gap["symbol"], gap["channel"], gap["reason"], gap["state"]) == ("BTCUSDT", "trades", "disconnect", "open")
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_memory_is_bounded_while_the_database_stands_still(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(configuration(market, simulator, queue=SMALL)).start()
    await subscribed(simulator)
    await simulator.burst("BTCUSDT", simulator.prepare("BTCUSDT", 2_000))
    await one.settled("trades", 2_000)
    before = resident_bytes(one)
    async with stored.locked(market, "trades"):
        for rows in range(25_000, 100_001, 25_000):
            await simulator.burst("BTCUSDT", simulator.prepare("BTCUSDT", 25_000))
            await one.until(lambda now, rows=rows: now.rows("trades")["decoded"] == 2_000 + rows)
        assert resident_bytes(one) - before < 16 << 20  # as records they would be more than 40 MB
    await one.settled("trades", 102_000)


def resident_bytes(one: Daemon) -> int:
    with open(f"/proc/{one.pid}/statm") as statm:  # noqa: PTH123 - a pseudo-file
        return int(statm.read().split()[1]) * 4096
