"""The spill of one table: a real queue, writer and spool; the database is an object that the test opens and closes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.counters import Tally
from ingest.errors import Retry
from ingest.pipeline.batch import Batch, Outcome
from ingest.pipeline.copy_encoder import encoder
from ingest.pipeline.spill import Spill, SpillRules
from ingest.pipeline.spool import Entry, Spool, open_spool
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.pipeline.time_ranges import spans
from ingest.pipeline.writer import Writer
from ingest.protocol.session import Gap
from ingest.records import SECOND, Trade
from ingest.tables import TRADES
from tests.support.batches import NOW, in_format, trade

COLUMNS = tuple(column.name for column in TRADES.columns)


class Database:
    """Writes batches while it is open; `away` makes each write fail."""

    def __init__(self) -> None:
        self.received: list[bytes] = []  # the data of each batch
        self.lines: list[bytes] = []  # the rows that were written
        self.open = asyncio.Event()
        self.away = False

    async def write(self, batch: Batch) -> Outcome:
        self.received.append(batch.data)
        if self.away:
            raise Retry("away", after=0.001)
        await self.open.wait()
        self.lines += batch.data.splitlines(keepends=True)
        return Outcome(written=batch.rows)


class Bench:
    """A queue, spool, spill and writer of one table; `earlier` are the batches that an earlier run left in the spool."""

    def __init__(
        self,
        path: Path,
        rules: SpillRules,
        earlier: list[list[Trade]],
        *,
        retention_seconds: float | None,
        clock: Callable[[], int],
    ) -> None:
        self._path = path
        self.gaps: list[Gap] = []
        self.database = Database()
        self.spool, _ = opened(path)
        for rows in earlier:
            data = text(*rows)
            batch = Batch(data, len(rows), rows[-1].time, rows[0].received_at, ())
            assert self.spool.append("trades", COLUMNS, batch, spans(TRADES, data))
        self.spool.close()
        self.queue = TableQueue(
            TRADES,
            Tally(TRADES.name),
            Limits(batch_rows=1, max_rows=10, max_wait=3600),
            on_gap=self.gaps.append,
            retention_seconds=retention_seconds,
            count_late=rules.write_ahead,
            clock=clock,
        )
        self.spool, left = opened(path)
        self.spill = Spill(self.queue, self.spool, rules, left.get("trades", []), on_gap=self.gaps.append)
        self.writer = Writer(self.queue, self.database.write, workers=1, batches=self.spill)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.writer.run()), group.create_task(self.spill.run(self.writer))]
            yield
            for task in tasks:
                task.cancel()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for the condition; the row totals balance at every step."""
        async with asyncio.timeout(10):
            while not condition():
                assert self.queue.tally.balance() == 0
                await asyncio.sleep(0.001)
        assert self.queue.tally.balance() == 0

    def left(self) -> list[str]:
        """The files in the directory after the spool was closed."""
        self.spool.close()
        return [path.name for path in self._path.iterdir()]

    def put(self, *numbers: int) -> None:
        for number in numbers:
            assert self.queue.put(trade(number)) is None


def text(*rows: Trade) -> bytes:
    return "".join(map(encoder(TRADES), rows)).encode()


def trades(*numbers: int) -> list[Trade]:
    return [trade(number) for number in numbers]


def opened(path: Path) -> tuple[Spool, dict[str, list[Entry]]]:
    return open_spool(path, Counter(), max_bytes=1 << 30, sync_seconds=0)


def make(path: Path, *earlier: list[Trade], retention_seconds: float | None = None, **rules: object) -> Bench:
    return Bench(path, SpillRules(**rules), list(earlier), retention_seconds=retention_seconds, clock=lambda: NOW)  # type: ignore[arg-type]


async def test_batches_of_an_earlier_run_are_recovered_and_written_oldest_first(tmp_path: Path) -> None:
    bench = make(tmp_path, trades(1, 2), trades(3))
    assert (bench.queue.tally.recovered, bench.queue.tally.spooled) == (3, 3)
    bench.database.open.set()
    async with bench.running():
        await bench.until(lambda: bench.queue.tally.written == 3)
    assert bench.database.lines == text(*trades(1, 2, 3)).splitlines(keepends=True)
    assert (bench.queue.tally.spooled, bench.gaps) == (0, [])
    assert bench.left() == []


async def test_a_damaged_record_is_a_gap_and_the_next_record_is_written(tmp_path: Path) -> None:
    bench = make(tmp_path, trades(1, 3), trades(5))
    path = tmp_path / "trades-00000001.spool"
    data = bytearray(path.read_bytes())
    data[data.index(b"\xffSPL\xff", 1) - 3] ^= 1
    path.write_bytes(data)
    bench.database.open.set()
    async with bench.running():
        await bench.until(lambda: not bench.queue.tally.spooled)
    assert bench.database.lines == [text(trade(5))]
    assert bench.gaps == [Gap(2, "trades", "spool", NOW + 1, NOW + 3)]
    assert dict(bench.queue.tally.shed) == {"damaged": 2}


async def test_a_record_of_another_format_is_held_and_the_rest_is_written(tmp_path: Path) -> None:
    bench = make(tmp_path, trades(1, 2))
    bench.spool.close()
    record = (tmp_path / "trades-00000001.spool").read_bytes()
    foreign = tmp_path / "trades-00000007.spool"
    foreign.write_bytes(in_format(2, record) + in_format(2, record, b"?"))
    bench = make(tmp_path, trades(3))
    bench.database.open.set()
    async with bench.running():
        await bench.until(lambda: bench.queue.tally.written == 3)
    assert bench.database.lines == text(*trades(1, 2, 3)).splitlines(keepends=True)
    assert (bench.queue.tally.recovered, bench.queue.tally.spooled, bench.gaps) == (5, 2, [])
    assert bench.spill.held == [
        "trades: held: segment trades-00000007.spool of the spool, with 2 rows, has format 2, this version reads 1: run the "
        "version that wrote it, or stop the daemon and move the segment away"
    ]
    assert bench.left() == [foreign.name]


async def test_live_rows_come_first(tmp_path: Path) -> None:
    bench = make(tmp_path, trades(1))
    bench.put(*range(10, 16))  # more than half of the queue
    async with bench.running():
        await bench.until(lambda: bench.writer.stalled_seconds > 0.3)  # long enough for the spooled batch to be read
        assert bench.database.received == [text(trade(10))]
        bench.database.open.set()
        await bench.until(lambda: bench.queue.tally.written == 7)
    assert sorted(bench.database.lines) == sorted(text(*trades(1, *range(10, 16))).splitlines(keepends=True))


async def test_spooled_rows_older_than_retention_expire(tmp_path: Path) -> None:
    old = [trade(1, time=NOW - 11 * SECOND), trade(2, time=NOW - 10 * SECOND), trade(3)]
    bench = make(tmp_path, old, [trade(4, time=NOW - 60 * SECOND)], retention_seconds=10)
    bench.database.open.set()
    async with bench.running():
        await bench.until(lambda: not bench.queue.tally.spooled)
    assert bench.database.lines == text(*old[1:]).splitlines(keepends=True)
    assert (bench.queue.tally.expired, bench.queue.tally.written) == (2, 2)


@pytest.mark.parametrize("write_ahead", [False, True])
async def test_the_batch_in_flight_stays_queued_and_the_rest_is_spooled(tmp_path: Path, write_ahead: bool) -> None:
    bench = make(tmp_path, start_after=0.05, write_ahead=write_ahead)
    async with bench.running():
        bench.put(*range(5))
        await bench.until(lambda: bench.queue.tally.spooled == 4)
        assert bench.queue.tally.queued == 1
        bench.database.open.set()
        await bench.until(lambda: bench.queue.tally.written == 5)
    assert sorted(bench.database.lines) == sorted(text(*trades(*range(5))).splitlines(keepends=True))


async def test_a_half_full_queue_is_spooled_before_start_after(tmp_path: Path) -> None:
    bench = make(tmp_path, start_after=3600.0)
    bench.database.away = True
    async with bench.running():
        bench.put(*range(4))
        await bench.until(lambda: bench.writer.retrying)
        bench.put(4)
        await bench.until(lambda: bench.queue.tally.spooled)
        assert not bench.queue.half_full
        bench.database.away = False
        bench.database.open.set()
        await bench.until(lambda: bench.queue.tally.written == 5)


async def test_with_write_ahead_a_row_is_counted_when_it_is_on_disk(tmp_path: Path) -> None:
    bench = make(tmp_path, write_ahead=True)
    bench.put(1)
    assert (bench.queue.tally.decoded, bench.queue.tally.queued, bench.queue.rows) == (0, 0, 1)
    async with bench.running():
        await bench.until(lambda: bench.queue.tally.decoded == 1)
        assert (bench.queue.tally.queued, bench.spool.used_bytes > 0) == (1, True)
        bench.database.open.set()
        await bench.until(lambda: bench.queue.tally.written == 1)
    assert bench.left() == []


@pytest.mark.parametrize("write_ahead", [False, True])
async def test_at_the_end_everything_is_on_disk(tmp_path: Path, write_ahead: bool) -> None:
    bench = make(tmp_path, start_after=3600.0, write_ahead=write_ahead)
    async with bench.running():
        bench.put(*range(4))
        await bench.until(lambda: bench.writer.stalled_seconds > 0)
    bench.put(9)  # the last row that arrived
    await bench.spill.spill_all()
    assert (bench.queue.tally.decoded, bench.queue.tally.spooled, bench.queue.rows) == (5, 5, 0)
    assert bench.queue.tally.balance() == 0
    bench.spool.close()
    bench.spool, entries_by_table = opened(tmp_path)
    (entries,) = entries_by_table.values()
    batches = [bench.spool.read(entry) for entry in entries]
    assert [batch.data for batch in batches if isinstance(batch, Batch)] == [text(trade(number)) for number in (0, 1, 2, 3, 9)]


async def test_a_slow_disk_at_the_end_stores_no_batch_twice(tmp_path: Path) -> None:
    bench = make(tmp_path, start_after=0.0)
    bench.put(*range(3))
    with bench.spool._guard:  # a disk that does not respond
        async with asyncio.TaskGroup() as group:
            spilling = group.create_task(bench.spill.run(bench.writer))
            writing = group.create_task(bench.writer.run())
            await bench.until(lambda: bench.writer.stalled_seconds > 0.15)  # by now the next batch is being written to the disk
            spilling.cancel()
            writing.cancel()
            spilling_all = group.create_task(bench.spill.spill_all())
            await asyncio.sleep(0)
            _, pending = await asyncio.wait({spilling, spilling_all}, timeout=0.05)
            assert pending == {spilling, spilling_all}
            bench.spool._guard.release()
            await asyncio.wait({spilling, spilling_all})
            bench.spool._guard.acquire()
    assert (bench.queue.tally.spooled, bench.queue.rows) == (3, 0)
    bench.spool.close()
    bench.spool, entries_by_table = opened(tmp_path)
    (entries,) = entries_by_table.values()
    assert sum(entry.rows for entry in entries) == 3
