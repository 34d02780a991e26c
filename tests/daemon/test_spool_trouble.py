"""The spool under more faults than an absent database: a held table, a full or missing disk, a changed schema or format."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.pipeline import spool_segment
from ingest.pipeline.batch import Batch
from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, on_apache, subscribed
from tests.support.spools import SHORT, files, send_trades, spooling

Daemons = Callable[..., Daemon]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the privilege to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@on_apache
async def test_a_held_table_keeps_its_rows_until_its_queue_is_half_full(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await daemon(spooling(market, simulator, tmp_path)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    await stored.execute(market, "ALTER TABLE trades RENAME COLUMN price TO cost")
    await send_trades(simulator, instance, 300)
    await instance.unready("trades: held")
    await send_trades(simulator, instance, 100)
    rows = (await instance.scrape()).rows("trades")
    assert rows | {"queued": 400, "spooled": 0} == rows
    await send_trades(simulator, instance, 3000)
    scrape = await instance.until(lambda now: now.rows("trades")["spooled"] > 2000)
    assert scrape.rows("trades")["shed"] == 0
    await stored.execute(market, "ALTER TABLE trades RENAME COLUMN cost TO price")
    scrape = await instance.until(lambda now: now.rows("trades")["written"] == 3500)
    assert scrape.rows("trades") | {"shed": 0, "rejected": 0, "queued": 0, "spooled": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_with_a_full_disk_it_works_as_without_a_spool(market: str, simulator: Simulator, daemon: Daemons, small_disk: Path):
    await assert_works_without_spool(
        await daemon(spooling(market, simulator, small_disk, max_wait=SHORT)).start(), market, simulator, "No space left on device"
    )


@on_apache
async def test_with_a_deleted_directory_it_works_as_without_a_spool(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await (await daemon(spooling(market, simulator, tmp_path, max_wait=SHORT)).start()).ready()
    shutil.rmtree(tmp_path / "spool")
    await assert_works_without_spool(instance, market, simulator, "No such file or directory")


async def assert_works_without_spool(instance: Daemon, market: str, simulator: Simulator, why: str) -> None:
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, instance, 5000)
        await instance.until(lambda now: now.rows("trades")["shed"] > 0)
    scrape = await instance.until(lambda now: not now.rows("trades")["queued"] and not now.rows("trades")["spooled"])
    rows = scrape.rows("trades")
    assert rows["written"] + rows["shed"] == 5000
    assert rows["written"] >= 1000
    assert instance.logged(why)
    assert scrape.value("errors_total", stage="spool", error_type="disk") > 0
    kept = await stored.trades(market)
    assert len(kept) == rows["written"]
    ids = {row.id for row in kept}
    assert kept == [row for row in simulator.oracle.trades("BTCUSDT") if row.id in ids]
    simulator.trade("BTCUSDT", 100)
    await instance.until(lambda now, rows=rows: now.rows("trades")["written"] == rows["written"] + 100)
    await instance.ready()
    assert await instance.terminate() == 0


@on_apache
async def test_with_durability_always_and_no_disk_it_still_writes_to_the_database(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await (await daemon(spooling(market, simulator, tmp_path, durability="always")).start()).ready()
    shutil.rmtree(tmp_path / "spool")
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 1000)
    scrape = await instance.until(lambda now: now.rows("trades")["written"] == 1000)
    assert scrape.rows("trades") | {"decoded": 1000, "queued": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)


def rewritten(path: Path, change: Callable[[Batch], tuple[tuple[str, ...], bytes]]) -> bytes:
    """The segment as a version with other columns would have written it."""
    data = path.read_bytes()
    records = []
    for piece in spool_segment.parse(data):
        assert piece.head is not None
        batch = spool_segment.unpack(piece.head, data[piece.body : piece.end], path.name)
        columns, lines = change(batch)
        changed = Batch(lines, batch.rows, batch.last_time, batch.received_at, batch.samples)
        records.append(b"".join(spool_segment.pack("trades", columns, changed, piece.head.spans)))
    return b"".join(records)


def without_native_id(batch: Batch) -> tuple[tuple[str, ...], bytes]:
    lines = [line.rpartition(b"\t")[0] + b"\n" for line in batch.data.splitlines()]
    return batch.columns[:-1], b"".join(lines)


def with_an_unknown_column(batch: Batch) -> tuple[tuple[str, ...], bytes]:
    return (*batch.columns[:-1], "venue"), batch.data


async def leave_in_the_spool(instance: Daemon, market: str, simulator: Simulator, trades: int) -> None:
    await instance.start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        await send_trades(simulator, instance, trades)
        assert await instance.terminate() == 0


@on_apache
async def test_rows_of_an_older_schema_are_stored_by_column_name(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path) | {"shutdown_timeout": "100 ms"}
    await leave_in_the_spool(daemon(settings), market, simulator, 300)
    for name in files(tmp_path):
        path = tmp_path / "spool" / name
        path.write_bytes(rewritten(path, without_native_id))
    second = await daemon(settings).start()
    scrape = await second.until(lambda now: now.rows("trades")["recovered"] == 300 and not now.rows("trades")["spooled"])
    assert scrape.rows("trades")["written"] == 300
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_after_a_migration_a_new_column_gets_its_default_and_a_renamed_column_holds(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path) | {"shutdown_timeout": "100 ms"}
    await leave_in_the_spool(daemon(settings), market, simulator, 300)
    await stored.execute(
        market, "ALTER TABLE trades ADD COLUMN venue text NOT NULL DEFAULT 'spot'; ALTER TABLE trades RENAME COLUMN size TO amount"
    )
    second = await daemon(settings).start()
    reason = await second.unready("trades: held: ")
    assert "size" in reason
    rows = (await second.scrape()).rows("trades")
    assert rows | {"recovered": 300, "spooled": 300, "rejected": 0, "written": 0} == rows
    await stored.execute(market, "ALTER TABLE trades RENAME COLUMN amount TO size")
    scrape = await second.until(lambda now: now.rows("trades")["recovered"] == 300 and not now.rows("trades")["spooled"])
    assert scrape.rows("trades")["written"] == 300
    await stored.assert_all_trades(market, simulator)
    assert [row["venue"] for row in await stored.fetch(market, "SELECT DISTINCT venue FROM trades")] == ["spot"]


@on_apache
async def test_a_segment_with_an_unknown_column_is_held_and_live_rows_are_written(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path) | {"shutdown_timeout": "100 ms"}
    await leave_in_the_spool(daemon(settings), market, simulator, 300)
    (name,) = files(tmp_path)
    path = tmp_path / "spool" / name
    path.write_bytes(rewritten(path, with_an_unknown_column))
    second = await daemon(settings).start()
    await second.unready(f"trades: held: segment {name} of the spool has rows with the column trades.venue, which does not exist")
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 200)
    scrape = await second.until(lambda now: now.rows("trades")["written"] == 200)
    assert scrape.rows("trades") | {"recovered": 300, "spooled": 300, "queued": 0} == scrape.rows("trades")
    assert await stored.trades(market) == list(simulator.oracle.trades("BTCUSDT"))[300:]
    assert await second.terminate() == 0
    assert second.logged_row_totals("trades") | {"recovered": 300, "spooled": 300} == second.logged_row_totals("trades")
    assert await asyncio.to_thread(path.exists)


@on_apache
async def test_a_segment_of_another_format_is_held_and_live_rows_are_written(
    market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = spooling(market, simulator, tmp_path) | {"shutdown_timeout": "100 ms"}
    await leave_in_the_spool(daemon(settings), market, simulator, 300)
    (name,) = files(tmp_path)
    path = tmp_path / "spool" / name
    path.write_bytes(b"".join(in_a_newer_format(path.read_bytes())))
    second = await daemon(settings).start()
    await second.unready(f"trades: held: segment {name} of the spool, with 300 rows, has format 2, this version reads 1")
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 200)
    scrape = await second.until(lambda now: now.rows("trades")["written"] == 200)
    assert scrape.rows("trades") | {"recovered": 300, "spooled": 300, "queued": 0} == scrape.rows("trades")
    assert await second.terminate() == 0
    assert files(tmp_path) == [name]


def in_a_newer_format(data: bytes) -> Iterator[bytes]:
    for piece in spool_segment.parse(data):
        start = data[piece.offset : piece.offset + 5] + b"\2" + data[piece.offset + 6 : piece.offset + 14]
        head = data[piece.offset + 18 : piece.body]
        yield start + zlib.crc32(start + head).to_bytes(4, "big") + data[piece.offset + 18 : piece.end]
