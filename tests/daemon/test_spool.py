"""A daemon with a spool: the database is away for longer than the queue can hold rows, and every row is stored afterwards."""

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
async def test_a_database_that_is_away_for_longer_than_the_queue_holds(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    instance = await daemon(spooling(market, simulator, tmp_path)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    async with stopped(cluster):
        await send_trades(simulator, instance, 5000)  # five times what the queue holds
        # all but the two batches in flight, whose retries notice that the database is back
        scrape = await instance.until(lambda now: now.rows("trades")["spooled"] >= 4800)
        rows = scrape.rows("trades")
        assert (rows["shed"], rows["queued"] + rows["spooled"]) == (0, 5000)
        assert scrape.value("spool_bytes") == sum((tmp_path / "spool" / name).stat().st_size for name in files(tmp_path))
        assert scrape.value("spool_max_bytes") == 1 << 30
    scrape = await instance.until(lambda now: now.rows("trades")["written"] + now.rows("trades")["duplicate"] == 5100)
    assert scrape.rows("trades") | {"decoded": 5100, "recovered": 0, "shed": 0, "queued": 0, "spooled": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    assert await stored.gaps(market) == []
    await instance.ready()
    assert await instance.terminate() == 0
    assert files(tmp_path) == []


@on_apache
async def test_a_locked_table_fills_the_spool_and_not_the_queue(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    instance = await daemon(spooling(market, simulator, tmp_path, fsync="always")).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, instance, 3000)
        await instance.until(lambda now: now.rows("trades")["spooled"] >= 2800)
    scrape = await instance.until(lambda now: now.rows("trades")["written"] == 3000)
    assert scrape.rows("trades") | {"decoded": 3000, "shed": 0, "spooled": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_killed_while_rows_are_spooled_the_next_run_writes_them(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path)
    instance = await daemon(settings).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, instance, 2000)
        rows = (await instance.until(lambda now: now.rows("trades")["spooled"] >= 1800)).rows("trades")
        await instance.kill()
    second = await daemon(settings).start()
    scrape = await second.until(lambda now: now.rows("trades")["recovered"] and not now.rows("trades")["spooled"])
    assert scrape.rows("trades") | {"recovered": rows["spooled"], "written": rows["spooled"]} == scrape.rows("trades")
    sent = list(simulator.oracle.trades("BTCUSDT"))
    kept = await stored.trades(market)
    assert kept == [row for row in sent if row.id in {trade.id for trade in kept}]
    # rows in flight or in the open batch are lost with the process: durability is "spool", not "always"
    assert len(kept) == rows["spooled"]


@on_apache
async def test_past_the_deadline_rows_go_to_the_spool(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    settings = spooling(market, simulator, tmp_path, start_after="1 hour") | {"shutdown_timeout": "500 ms"}
    first = await daemon(settings).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, first, 300)
        assert await first.terminate() == 0
    assert first.logged_row_totals("trades") | {"decoded": 300, "shed": 0, "queued": 0, "spooled": 300} == first.logged_row_totals(
        "trades"
    )
    assert await stored.gaps(market) == []
    second = await daemon(settings).start()
    scrape = await second.until(lambda now: now.rows("trades")["recovered"] == 300 and not now.rows("trades")["spooled"])
    assert scrape.rows("trades")["written"] + scrape.rows("trades")["duplicate"] == 300
    await stored.assert_all_trades(market, simulator)
    assert await second.terminate() == 0
    assert files(tmp_path) == []


@on_apache
async def test_a_torn_end_and_a_flipped_bit_lose_only_their_own_records(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path, start_after="1 hour") | {"shutdown_timeout": "100 ms"}
    before = await daemon(settings).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, before, 500)
        assert await before.terminate() == 0
    (name,) = files(tmp_path)
    path = tmp_path / "spool" / name
    data = bytearray(path.read_bytes())
    second = data.index(b"\xffSPL\xff", 1)
    data[second - 10] ^= 1  # in the last row of the first record
    path.write_bytes(data[:-10])
    after = await daemon(settings).start()
    scrape = await after.until(lambda now: now.rows("trades")["recovered"] and not now.rows("trades")["spooled"])
    rows = scrape.rows("trades")
    sent, kept = list(simulator.oracle.trades("BTCUSDT")), await stored.trades(market)
    first, last = rows["shed"], 500 - rows["recovered"]
    assert first > 0
    assert last > 0
    assert kept == sent[first : 500 - last]
    assert scrape.value("rows_shed_total", table="trades", reason="damaged") == first
    assert scrape.value("errors_total", stage="spool", error_type="torn") == 1
    assert (tmp_path / "spool" / f"{path.stem}-0.bad").read_bytes() == data[:second]
    (gap,) = await until(lambda: stored.gaps(market))
    assert (gap["symbol"], gap["channel"], gap["reason"]) == ("BTCUSDT", "trades", "spool")
    assert [round(gap[end].timestamp() * 1000) for end in ("since", "until")] == [sent[0].time, sent[first - 1].time]


@on_apache
async def test_a_full_spool_makes_rows_wait_in_the_queue_and_then_sheds_them(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await daemon(spooling(market, simulator, tmp_path, max_wait=SHORT, max_bytes=1 << 16)).start()
    await full_spool(instance, market, simulator, reason="full", queued=1000)


@on_apache
async def test_a_full_spool_sheds_rows_at_once_with_when_full_shed(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await daemon(spooling(market, simulator, tmp_path, max_bytes=1 << 16, when_full={"trades": "shed"})).start()
    await full_spool(instance, market, simulator, reason="spool", queued=0)


async def full_spool(instance: Daemon, market: str, simulator: Simulator, *, reason: str, queued: int) -> None:
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, instance, 5000)
        scrape = await instance.until(lambda now: now.rows("trades")["shed"] and now.value("spool_bytes"))
        assert scrape.value("spool_bytes") <= 1 << 16
    scrape = await instance.until(lambda now: not now.rows("trades")["queued"] and not now.rows("trades")["spooled"])
    rows = scrape.rows("trades")
    assert scrape.value("rows_shed_total", table="trades", reason=reason) == rows["shed"] == 5000 - rows["written"]
    sent, kept = list(simulator.oracle.trades("BTCUSDT")), await stored.trades(market)
    assert len(kept) == rows["written"] > queued
    ids = {row.id for row in kept}
    assert kept == [row for row in sent if row.id in ids]
    missing = [row.time for row in sent if row.id not in ids]

    async def noted() -> bool:
        spans = [[round(gap[end].timestamp() * 1000) for end in ("since", "until")] for gap in await stored.gaps(market)]
        return all(any(since <= time <= until for since, until in spans) for time in missing)

    await until(noted)
    assert set(await stored.reasons(market)) == {("trades", "shed")}


@on_apache
async def test_a_second_daemon_on_the_same_directory_ends_with_the_reason(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path)
    await (await daemon(settings).start()).ready()
    second = daemon(settings)
    await second.spawn()
    assert await second.wait() == 2
    assert f"spool.path {tmp_path / 'spool'} is in use by another daemon: give each a directory of its own" in second.log


@on_apache
async def test_a_spool_path_that_cannot_be_used_ends_the_daemon_with_the_reason(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    (tmp_path / "spool").touch()
    instance = daemon(spooling(market, simulator, tmp_path))
    await instance.spawn()
    assert await instance.wait() == 2
    assert f"spool.path {tmp_path / 'spool'}: File exists; right would be a directory that this user may write to" in instance.log
    assert "Traceback" not in instance.log


@on_apache
async def test_with_durability_always_a_kill_loses_no_counted_row(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path, durability="always", start_after="1 hour")
    first = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 200)
    await first.settled("trades", 200)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 700)
        rows = (await first.until(lambda now: now.rows("trades")["decoded"] == 900)).rows("trades")
        assert rows | {"written": 200, "queued": 700, "spooled": 0} == rows
        first.signal(signal.SIGKILL)
        await first.wait()
    second = await daemon(settings).start()
    scrape = await second.until(lambda now: now.rows("trades")["recovered"] and not now.rows("trades")["spooled"])
    rows = scrape.rows("trades")
    assert rows["recovered"] == rows["written"] + rows["duplicate"] >= 700
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_with_durability_always_rows_leave_the_queue_while_the_table_is_locked(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await daemon(spooling(market, simulator, tmp_path, durability="always")).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, instance, 3000)
        scrape = await instance.until(lambda now: now.rows("trades")["spooled"] >= 2800)
    scrape = await instance.until(lambda now: now.rows("trades")["written"] == 3000)
    assert scrape.rows("trades") | {"decoded": 3000, "shed": 0, "spooled": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    assert await instance.terminate() == 0
    assert files(tmp_path) == []
