"""Moves the batches of one table to the spool and from there to the database.

Spilling: while the database is away, batches that wait in the queue go to the spool. Batches in flight stay in the queue, because
the writer detects by them that the database is back. Replay: then the records of the spool are written beside the queue, one at a
time, and only while the queue is less than half full, because live rows come first. Write-ahead: every batch goes to the spool
before it goes to the writer.

While a table is held, its rows stay in the queue until that is half full, because a person is expected to correct the schema soon.
A record that cannot be read becomes a gap with the reason `spool`, so that its rows are fetched again. A record of another format
is held, and its rows stay `spooled`, until a person removes it.
Rows are `spooled` while only the disk has them; while the queue has them too, they are `queued`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import Retry
from ingest.pipeline.batch import Batch
from ingest.pipeline.spool import Damaged, Entry, Spool
from ingest.pipeline.spool_segment import FORMAT
from ingest.pipeline.table_queue import TableQueue
from ingest.pipeline.time_ranges import CHANNELS, Span, merged, newer, spans
from ingest.pipeline.writer import Writer
from ingest.protocol.session import Gap

CHECK_SECONDS = 0.1  # between two checks for something to spill or to replay
DISK_SECONDS = 1.0  # until a disk that failed is tried again

log = logging.getLogger(__name__)


class SpillRules(Struct, frozen=True, kw_only=True):
    """When a table uses the spool."""

    start_after: float = 5.0  # seconds for which the database must be away
    when_full: Literal["wait", "shed"] = "wait"  # what happens to rows for which the spool has no room
    write_ahead: bool = False  # every batch is on disk before the writer gets it


class Spill:
    """The spilling of one table's queue. `found` are the records that an earlier run left."""

    def __init__(
        self, queue: TableQueue, spool: Spool, rules: SpillRules, found: Iterable[Entry] = (), *, on_gap: Callable[[Gap], None]
    ) -> None:
        self._queue = queue
        self._spool = spool
        self._rules = rules
        self._on_gap = on_gap
        self._name = queue.table.name
        self._columns = tuple(column.name for column in queue.table.columns)
        found = list(found)
        self._due = deque(entry for entry in found if entry.format == FORMAT)  # records that only the disk has, oldest first
        self._foreign = [entry for entry in found if entry.format != FORMAT]
        self._logged: asyncio.Queue[Batch] = asyncio.Queue()  # write-ahead: batches that the writer may take
        self._entries: dict[int, Entry] = {}  # write-ahead: by `id(batch)`, the record of each batch that the queue has too
        self._lost: tuple[Span, ...] = ()  # shed since the spool is full, and not reported as gaps yet
        self._spilling = asyncio.Lock()
        self._disk_error = ""
        self._disk_retry_at = 0.0  # monotonic seconds; after an error the disk is not used until then
        rows = sum(entry.rows for entry in found)
        queue.tally.recovered += rows
        queue.tally.spooled += rows
        if rows:
            log.info("%s: the spool has %d rows of an earlier run", self._name, rows)

    @property
    def held(self) -> list[str]:
        """Why records stay in the spool until a person acts: a sentence for each segment of another format."""
        rows = Counter[tuple[str, int]]()
        for entry in self._foreign:
            rows[entry.segment.path.name, entry.format] += entry.rows
        return [
            f"{self._name}: held: segment {name} of the spool, with {count or 'an unknown number of'} rows, has format {number}, "
            f"this version reads {FORMAT}: run the version that wrote it, or stop the daemon and move the segment away"
            for (name, number), count in rows.items()
        ]

    # --- for the writer -----------------------------------------------------------------------------------------------------

    async def take(self) -> Batch:
        """The next batch to write; see `TableQueue.take`."""
        return await (self._logged.get() if self._rules.write_ahead else self._queue.take())

    def settle(self, batch: Batch) -> None:
        """The batch has an outcome: release it from the queue and from the disk."""
        self._queue.settle(batch)
        entry = self._entries.pop(id(batch), None)
        if entry is not None:
            self._spool.remove(entry)

    # --- tasks --------------------------------------------------------------------------------------------------------------

    async def run(self, writer: Writer) -> None:
        """Spill and replay until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._spill_waiting(writer))
            group.create_task(self._replay(writer))
            if self._rules.write_ahead:
                group.create_task(self._write_ahead())

    async def spill_all(self) -> None:
        """At the end of the daemon, spill every batch of the queue. A batch that the spool does not take stays in the queue."""
        self._queue.seal()
        self._disk_retry_at = 0.0
        for batch in self._queue.waiting():
            await self._spill(batch)
        self._record_lost()

    async def _write_ahead(self) -> None:
        while True:
            batch = await self._queue.take()
            await _to_its_end(self._log(batch))

    async def _log(self, batch: Batch) -> None:
        entry = await self._append(batch)
        if entry is not None:  # else its rows count when they are committed
            self._entries[id(batch)] = entry
            self._queue.accept(batch)
        self._logged.put_nowait(batch)

    async def _spill_waiting(self, writer: Writer) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            while self._is_away(writer) and (batch := self._take_nowait()) is not None:
                if not await _to_its_end(self._spill(batch)):
                    self._give_back(batch)
                    break
            if not self._is_away(writer):
                self._record_lost()

    def _is_away(self, writer: Writer) -> bool:
        if self._queue.half_full and (writer.retrying or writer.held):
            return True
        return writer.stalled_seconds > self._rules.start_after and not writer.held

    def _take_nowait(self) -> Batch | None:
        if self._rules.write_ahead:
            return None if self._logged.empty() else self._logged.get_nowait()
        return self._queue.take_nowait()

    def _give_back(self, batch: Batch) -> None:
        if self._rules.write_ahead:
            self._logged.put_nowait(batch)
        else:
            self._queue.give_back(batch)

    # --- from the queue to the disk -----------------------------------------------------------------------------------------

    async def _spill(self, batch: Batch) -> bool:
        """Move a batch from the queue to the spool. Returns whether it left the queue."""
        async with self._spilling:  # at the end, a slow disk may still be writing a batch that `spill_all` wants to spill
            if self._queue.has(batch):
                entry = self._entries.pop(id(batch), None) or await self._append(batch)
                return self._release(batch, entry)
            return True

    def _release(self, batch: Batch, entry: Entry | None) -> bool:
        if entry is not None:
            self._queue.settle(batch)
            if not self._due:
                log.warning("%s: rows go to the spool", self._name)
            self._queue.tally.spooled += entry.rows
            self._due.append(entry)
            return True
        if self._rules.when_full == "shed" and time.monotonic() >= self._disk_retry_at:
            self._lost = merged((*self._lost, *self._queue.shed(batch, "spool")))
            return True
        return False

    async def _append(self, batch: Batch) -> Entry | None:
        """The record of a batch on disk; None if there is no room or the disk fails."""
        if time.monotonic() < self._disk_retry_at:
            return None
        try:
            entry = await asyncio.to_thread(self._append_now, batch)
        except Retry as error:
            self._disk_retry_at = time.monotonic() + DISK_SECONDS
            self._log_once(str(error))
            return None
        self._disk_error = ""
        return entry

    def _append_now(self, batch: Batch) -> Entry | None:
        return self._spool.append(self._name, self._columns, batch, spans(self._queue.table, batch.data))

    def _log_once(self, error: str) -> None:
        if error != self._disk_error:  # once per cause
            log.error("%s: %s", self._name, error)
        self._disk_error = error

    def _record_lost(self) -> None:
        for gap in self._queue.gaps(self._lost):
            self._on_gap(gap)
        self._lost = ()

    # --- from the disk to the database --------------------------------------------------------------------------------------

    async def _replay(self, writer: Writer) -> None:
        while True:
            if not self._due or self._queue.half_full or self._is_away(writer) or writer.retrying or writer.held:
                await asyncio.sleep(CHECK_SECONDS)
                continue
            entry = self._due[0]
            try:
                batch = await asyncio.to_thread(self._spool.read, entry)
            except Retry as error:
                self._log_once(str(error))
                await asyncio.sleep(DISK_SECONDS)
                continue
            await self._replay_record(entry, batch, writer)
            if not self._due:
                log.info("%s: all rows of the spool are written", self._name)

    async def _replay_record(self, entry: Entry, batch: Batch | Damaged, writer: Writer) -> None:
        tally = self._queue.tally
        if isinstance(batch, Damaged):
            log.error("%s: spool: %s", self._name, batch.reason)
            tally.shed["damaged"] += entry.rows
            for instrument_id, since, until in batch.spans:
                self._on_gap(Gap(instrument_id, CHANNELS[self._name], "spool", since, until))
        else:
            kept = self._unexpired(batch)
            if kept.rows:
                await writer.store(kept)
            tally.expired += batch.rows - kept.rows
        tally.spooled -= entry.rows
        self._due.popleft()
        self._spool.remove(entry)

    def _unexpired(self, batch: Batch) -> Batch:
        """The batch without the rows that are older than retention by now."""
        cutoff = self._queue.cutoff
        if cutoff is None:
            return batch
        data = newer(batch.columns, batch.data, cutoff)
        return replace(batch, data=data, rows=batch.rows - batch.data.count(b"\n") + data.count(b"\n"))


async def _to_its_end(work: Coroutine[Any, Any, Any]) -> Any:
    """Await `work`, and let it end even if cancelled: a record that is on disk but not counted would be written twice."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # further cancellations
                await asyncio.wait({task})
        raise
