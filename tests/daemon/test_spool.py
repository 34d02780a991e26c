"""The whole daemon with a spool: the database is away for longer than memory lasts, and every row is in the table afterwards."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from cluster import Cluster

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, on_apache, subscribed, until
from tests.support.spools import SHORT, files, send_trades, spooling, stopped

Daemons = Callable[..., Daemon]


@on_apache
async def test_a_database_that_is_away_for_longer_than_the_lane_holds(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    one = await daemon(spooling(market, simulator, tmp_path)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 100)
    async with stopped(cluster):
        await send_trades(simulator, one, 5000)  # five times what the queue holds
        # all but the two batches in flight, by which it will notice that the database is back
        scrape = await one.until(lambda now: now.rows("trades")["spooled"] >= 4800)
        rows = scrape.rows("trades")
        assert (rows["shed"], rows["queued"] + rows["spooled"]) == (0, 5000)
        assert scrape.value("spool_bytes") == sum((tmp_path / "spool" / name).stat().st_size for name in files(tmp_path))
        assert scrape.value("spool_max_bytes") == 1 << 30
    scrape = await one.until(lambda now: now.rows("trades")["written"] + now.rows("trades")["duplicate"] == 5100)
    assert scrape.rows("trades") | {"decoded": 5100, "recovered": 0, "shed": 0, "queued": 0, "spooled": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    assert await stored.gaps(market) == []
    await one.ready()
    assert await one.terminate() == 0
    assert files(tmp_path) == []


@on_apache
async def test_a_database_that_stands_still_fills_the_spool_and_not_the_queue(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    one = await daemon(spooling(market, simulator, tmp_path, fsync="always")).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, one, 3000)
        await one.until(lambda now: now.rows("trades")["spooled"] >= 2800)
    scrape = await one.until(lambda now: now.rows("trades")["written"] == 3000)
    assert scrape.rows("trades") | {"decoded": 3000, "shed": 0, "spooled": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_killed_while_rows_are_spooled_the_next_run_writes_them(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path)
    one = await daemon(settings).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, one, 2000)
        rows = (await one.until(lambda now: now.rows("trades")["spooled"] >= 1800)).rows("trades")
        await one.kill()
    two = await daemon(settings).start()
    scrape = await two.until(lambda now: now.rows("trades")["recovered"] and not now.rows("trades")["spooled"])
    assert scrape.rows("trades") | {"recovered": rows["spooled"], "written": rows["spooled"]} == scrape.rows("trades")
    said = list(simulator.oracle.trades("BTCUSDT"))
    kept = await stored.trades(market)
    assert kept == [row for row in said if row.id in {one.id for one in kept}]
    assert len(kept) == rows["spooled"]  # what was in flight or open died with the process: durability is "spool", not "always"


@on_apache
async def test_past_the_deadline_rows_go_to_the_spool(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    settings = spooling(market, simulator, tmp_path, start_after="1 hour") | {"shutdown_timeout": "500 ms"}
    one = await daemon(settings).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, one, 300)
        assert await one.terminate() == 0
    assert one.logged_row_totals("trades") | {"decoded": 300, "shed": 0, "queued": 0, "spooled": 300} == one.logged_row_totals(
        "trades"
    )
    assert await stored.gaps(market) == []
    two = await daemon(settings).start()
    scrape = await two.until(lambda now: now.rows("trades")["recovered"] == 300 and not now.rows("trades")["spooled"])
    assert scrape.rows("trades")["written"] + scrape.rows("trades")["duplicate"] == 300
    await stored.assert_all_trades(market, simulator)
    assert await two.terminate() == 0
    assert files(tmp_path) == []


@on_apache
async def test_a_torn_tail_and_a_flipped_byte_lose_their_records_alone(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path, start_after="1 hour") | {"shutdown_timeout": "100 ms"}
    one = await daemon(settings).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, one, 500)
        assert await one.terminate() == 0
    (name,) = files(tmp_path)
    path = tmp_path / "spool" / name
    data = bytearray(path.read_bytes())
    second = data.index(b"\xffSPL\xff", 1)
    data[second - 10] ^= 1  # in the last row of the first record
    path.write_bytes(data[:-10])
    two = await daemon(settings).start()
    scrape = await two.until(lambda now: now.rows("trades")["recovered"] and not now.rows("trades")["spooled"])
    rows = scrape.rows("trades")
    said, kept = list(simulator.oracle.trades("BTCUSDT")), await stored.trades(market)
    first, last = rows["shed"], 500 - rows["recovered"]
    assert first > 0
    assert last > 0
    assert kept == said[first : 500 - last]
    assert scrape.value("rows_shed_total", table="trades", reason="damaged") == first
    assert scrape.value("errors_total", stage="spool", error_type="torn") == 1
    assert (tmp_path / "spool" / f"{path.stem}-0.bad").read_bytes() == data[:second]
    (gap,) = await until(lambda: stored.gaps(market))
    assert (gap["symbol"], gap["channel"], gap["reason"]) == ("BTCUSDT", "trades", "spool")
    assert [round(gap[end].timestamp() * 1000) for end in ("since", "until")] == [said[0].time, said[first - 1].time]


@on_apache
async def test_at_the_bound_rows_wait_in_the_lane_and_are_then_shed(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    one = await daemon(spooling(market, simulator, tmp_path, max_wait=SHORT, max_bytes=1 << 16)).start()
    await full_spool(one, market, simulator, reason="full", queued=1000)


@on_apache
async def test_at_the_bound_rows_are_shed_at_once_where_the_settings_say_so(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    one = await daemon(spooling(market, simulator, tmp_path, max_bytes=1 << 16, when_full={"trades": "shed"})).start()
    await full_spool(one, market, simulator, reason="spool", queued=0)


async def full_spool(one: Daemon, market: str, simulator: Simulator, *, reason: str, queued: int) -> None:
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, one, 5000)
        scrape = await one.until(lambda now: now.rows("trades")["shed"] and now.value("spool_bytes"))
        assert scrape.value("spool_bytes") <= 1 << 16
    scrape = await one.until(lambda now: not now.rows("trades")["queued"] and not now.rows("trades")["spooled"])
    rows = scrape.rows("trades")
    assert scrape.value("rows_shed_total", table="trades", reason=reason) == rows["shed"] == 5000 - rows["written"]
    said, kept = list(simulator.oracle.trades("BTCUSDT")), await stored.trades(market)
    assert len(kept) == rows["written"] > queued
    ids = {row.id for row in kept}
    assert kept == [row for row in said if row.id in ids]
    missing = [row.time for row in said if row.id not in ids]

    async def noted() -> bool:
        spans = [[round(gap[end].timestamp() * 1000) for end in ("since", "until")] for gap in await stored.gaps(market)]
        return all(any(since <= time <= until for since, until in spans) for time in missing)

    await until(noted)
    assert set(await stored.reasons(market)) == {("trades", "shed")}


@on_apache
async def test_a_second_daemon_on_the_directory_ends_and_says_why(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path)
    await (await daemon(settings).start()).ready()
    two = daemon(settings)
    await two.spawn()
    assert await two.wait() == 2
    assert f"spool.path {tmp_path / 'spool'} is in use by another daemon: give each a directory of its own" in two.log


@on_apache
async def test_a_path_that_cannot_be_used_ends_the_daemon_and_it_says_why(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    (tmp_path / "spool").touch()
    one = daemon(spooling(market, simulator, tmp_path))
    await one.spawn()
    assert await one.wait() == 2
    assert f"spool.path {tmp_path / 'spool'}: File exists; right would be a directory that this user may write to" in one.log
    assert "Traceback" not in one.log


@on_apache
async def test_with_always_a_kill_loses_nothing_that_was_counted(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path, durability="always", start_after="1 hour")
    one = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 200)
    await one.settled("trades", 200)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 700)
        rows = (await one.until(lambda now: now.rows("trades")["decoded"] == 900)).rows("trades")
        assert rows | {"written": 200, "queued": 700, "spooled": 0} == rows
        one.signal(signal.SIGKILL)
        await one.wait()
    two = await daemon(settings).start()
    scrape = await two.until(lambda now: now.rows("trades")["recovered"] and not now.rows("trades")["spooled"])
    rows = scrape.rows("trades")
    assert rows["recovered"] == rows["written"] + rows["duplicate"] >= 700
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_with_always_rows_of_a_database_that_is_away_leave_the_queue(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    one = await daemon(spooling(market, simulator, tmp_path, durability="always")).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, one, 3000)
        scrape = await one.until(lambda now: now.rows("trades")["spooled"] >= 2800)
    scrape = await one.until(lambda now: now.rows("trades")["written"] == 3000)
    assert scrape.rows("trades") | {"decoded": 3000, "shed": 0, "spooled": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    assert await one.terminate() == 0
    assert files(tmp_path) == []
