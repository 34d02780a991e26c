"""The detour of one table's batches by the disk, for when the straight way to the database is closed.

Divert: while the database is away, what waits in the lane goes to the spool. The batches in flight stay: by them the writer learns
that it is back. Replay: then the spool is written beside the lane, a batch at a time, and only while the lane is not half full:
what is live comes first. Write-ahead: every batch goes to the disk first, and only then to the writer.

The rows of a table that is held stay in the lane, because a person is to mend it soon, until the lane is half full.
A record that cannot be read any more is a gap of the reason `spool`, so that healing brings its rows back. One of another format is
held, as long as it takes: its rows are `spooled`.
The rule one would get wrong: rows are `spooled` while only the disk has them; while the lane has them, too, they are `queued`.
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
from ingest.pipeline.time_ranges import CHANNELS, Span, joined, newer, spans
from ingest.pipeline.writer import Writer
from ingest.protocol.session import Gap

LOOK_SECONDS = 0.1  # how often it is looked whether there is something to divert or to replay
DISK_SECONDS = 1.0  # after which a disk that failed is tried again

log = logging.getLogger(__name__)


class Rules(Struct, frozen=True, kw_only=True):
    """When the disk is used. `start_after` is how long the database may be away first, in seconds."""

    start_after: float = 5.0
    when_full: Literal["wait", "shed"] = "wait"  # what becomes of rows for which the spool has no room
    write_ahead: bool = False


class Spill:
    """The way of one table's batches by the disk; `found` is what another run left there."""

    def __init__(
        self, lane: TableQueue, spool: Spool, rules: Rules, found: Iterable[Entry] = (), *, on_gap: Callable[[Gap], None]
    ) -> None:
        self._lane = lane
        self._spool = spool
        self._rules = rules
        self._on_gap = on_gap
        self._name = lane.table.name
        self._columns = tuple(column.name for column in lane.table.columns)
        found = list(found)
        self._due = deque(entry for entry in found if entry.format == FORMAT)  # what only the disk has, oldest first
        self._foreign = [entry for entry in found if entry.format != FORMAT]
        self._logged: asyncio.Queue[Batch] = asyncio.Queue()  # write-ahead: what the writer may take
        self._entries: dict[int, Entry] = {}  # write-ahead: the record of each batch that the lane has, too
        self._lost: tuple[Span, ...] = ()  # what was shed since there is no room
        self._spilling = asyncio.Lock()
        self._disk_error = ""
        self._rest_until = 0.0  # until then a disk that failed is left alone
        rows = sum(entry.rows for entry in found)
        lane.tally.recovered += rows
        lane.tally.spooled += rows
        if rows:
            log.info("%s: the spool has %d rows of an earlier run", self._name, rows)

    @property
    def held(self) -> list[str]:
        """Why rows stay in the spool until a person does something, in words: one for each segment of another format."""
        rows = Counter[tuple[str, int]]()
        for entry in self._foreign:
            rows[entry.segment.path.name, entry.format] += entry.rows
        return [
            f"{self._name}: held: segment {name} of the spool, with {count or 'an unknown number of'} rows, was written by format "
            f"{number}, this is {FORMAT}: run the version that wrote it, or end the daemon and move the segment away"
            for (name, number), count in rows.items()
        ]

    # --- what the writer sees -----------------------------------------------------------------------------------------------

    async def take(self) -> Batch:
        """The next batch to write; see `TableQueue.take`."""
        return await (self._logged.get() if self._rules.write_ahead else self._lane.take())

    def settle(self, batch: Batch) -> None:
        """The batch has an outcome: it is neither the lane's nor the disk's any more."""
        self._lane.settle(batch)
        entry = self._entries.pop(id(batch), None)
        if entry is not None:
            self._spool.remove(entry)

    # --- its tasks ----------------------------------------------------------------------------------------------------------

    async def run(self, writer: Writer) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._divert(writer))
            group.create_task(self._replay(writer))
            if self._rules.write_ahead:
                group.create_task(self._write_ahead())

    async def keep(self) -> None:
        """The end: bring to disk whatever the lane still has. What does not go there stays in the lane."""
        self._lane.seal()
        self._rest_until = 0.0
        for batch in self._lane.waiting():
            await self._spill(batch)
        self._note_lost()

    async def _write_ahead(self) -> None:
        while True:
            batch = await self._lane.take()
            await _to_its_end(self._log(batch))

    async def _log(self, batch: Batch) -> None:
        entry = await self._append(batch)
        if entry is not None:  # else the database alone will have it: its rows count when they are there
            self._entries[id(batch)] = entry
            self._lane.accept(batch)
        self._logged.put_nowait(batch)

    async def _divert(self, writer: Writer) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            while self._is_away(writer) and (batch := self._take_nowait()) is not None:
                if not await _to_its_end(self._spill(batch)):
                    self._give_back(batch)
                    break
            if not self._is_away(writer):
                self._note_lost()

    def _is_away(self, writer: Writer) -> bool:
        if self._lane.half_full and (writer.retrying or writer.held):
            return True
        return writer.stalled_seconds > self._rules.start_after and not writer.held

    def _take_nowait(self) -> Batch | None:
        if not self._rules.write_ahead:
            return self._lane.take_nowait()
        return None if self._logged.empty() else self._logged.get_nowait()

    def _give_back(self, batch: Batch) -> None:
        if self._rules.write_ahead:
            self._logged.put_nowait(batch)
        else:
            self._lane.give_back(batch)

    # --- lane to disk -------------------------------------------------------------------------------------------------------

    async def _spill(self, batch: Batch) -> bool:
        """Leave a batch to the disk alone; whether it left the lane."""
        async with self._spilling:  # at the end, a slow disk may still be at a batch that `keep` wants to bring there
            if self._lane.has(batch):
                entry = self._entries.pop(id(batch), None) or await self._append(batch)
                return self._spilled(batch, entry)
            return True

    def _spilled(self, batch: Batch, entry: Entry | None) -> bool:
        if entry is not None:
            self._lane.settle(batch)
            self._lane.tally.spooled += entry.rows
            self._due.append(entry)
            return True
        if self._rules.when_full == "shed" and time.monotonic() >= self._rest_until:
            self._lost = joined((*self._lost, *self._lane.shed(batch, "spool")))
            return True
        return False

    async def _append(self, batch: Batch) -> Entry | None:
        """Its record on disk; None where there is no room, or the disk does not take it."""
        if time.monotonic() < self._rest_until:
            return None
        try:
            entry = await asyncio.to_thread(self._append_now, batch)
        except Retry as error:
            self._rest_until = time.monotonic() + DISK_SECONDS
            self._say(str(error))
            return None
        self._disk_error = ""
        return entry

    def _append_now(self, batch: Batch) -> Entry | None:
        return self._spool.append(self._name, self._columns, batch, spans(self._lane.table, batch.data))

    def _say(self, error: str) -> None:
        if error != self._disk_error:  # once per cause
            log.error("%s: %s", self._name, error)
        self._disk_error = error

    def _note_lost(self) -> None:
        for gap in self._lane.gaps(self._lost):
            self._on_gap(gap)
        self._lost = ()

    # --- disk to database ---------------------------------------------------------------------------------------------------

    async def _replay(self, writer: Writer) -> None:
        while True:
            if not self._due or self._lane.half_full or self._is_away(writer) or writer.retrying or writer.held:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            entry = self._due[0]
            try:
                batch = await asyncio.to_thread(self._spool.read, entry)
            except Retry as error:
                self._say(str(error))
                await asyncio.sleep(DISK_SECONDS)
                continue
            await self._bring_back(entry, batch, writer)
            if not self._due:
                log.info("%s: the spool is empty again", self._name)

    async def _bring_back(self, entry: Entry, batch: Batch | Damaged, writer: Writer) -> None:
        tally = self._lane.tally
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
        """Without the rows that retention would have dropped by now."""
        cutoff = self._lane.cutoff
        if cutoff is None:
            return batch
        data = newer(batch.columns, batch.data, cutoff)
        return replace(batch, data=data, rows=batch.rows - batch.data.count(b"\n") + data.count(b"\n"))


async def _to_its_end(work: Coroutine[Any, Any, Any]) -> Any:
    """Await it, and when cancelled still let it end: a record that is written and not noted would be written again."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # it may come again
                await asyncio.wait({task})
        raise
