"""The bounded queue of one table's rows, between the sources and the writer.

A batch is closed when it has `batch_rows` rows or its oldest row is `max_age` old, and is encoded at that moment: waiting rows are
compact text, so the bound in bytes is exact. A reader that finds the queue full waits at most `max_wait`: a websocket that is not
read does not answer pings, and the exchange would close it with every channel on it. After that the table sheds rows, which are
counted and become one gap per instrument.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain, repeat
from typing import cast

from msgspec import Struct

from ingest.counters import Tally
from ingest.pipeline.batch import SAMPLES, Batch, Refusal
from ingest.pipeline.copy_encoder import columns_encoder, encoder
from ingest.pipeline.time_ranges import CHANNELS, Span, merged, spans
from ingest.protocol.history import Columns
from ingest.protocol.session import Gap
from ingest.records import MINUTE, Record, Streamed
from ingest.tables import Table

FUTURE = 86_400_000_000  # microseconds; a row further ahead has a wrong clock or unit and would create a chunk of its own


class Limits(Struct, frozen=True, kw_only=True):
    """The bounds of a queue."""

    batch_rows: int = 5_000
    max_age: float = 0.25  # seconds
    max_rows: int = 200_000
    max_bytes: int = 64 << 20
    max_wait: float | None = 10.0  # seconds; None to wait without end and never shed


class TableQueue:
    """Rows of one table, in order of arrival. `put` is for any task of one event loop, `take` for the writer.

    With `count_late` a row counts as decoded when its batch is accepted, shed or settled instead of when it is put. So a kill never
    loses a row that was counted.
    """

    def __init__(
        self,
        table: Table,
        tally: Tally,
        limits: Limits,
        *,
        on_gap: Callable[[Gap], None],
        retention_seconds: float | None = None,
        mark_minutes: bool = False,
        count_late: bool = False,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.table = table
        self.limits = limits
        self.tally = tally
        tally.queues.append(self)
        self._encode = encoder(table)
        self._encode_columns = columns_encoder(table)
        self._clock = clock
        self.keep(retention_seconds)
        self._mark_minutes = mark_minutes
        self._on_gap = on_gap
        self._batch_rows = limits.batch_rows
        self._open: list[Record] = []
        self._sealed: asyncio.Queue[Batch] = asyncio.Queue()
        self._waiting: dict[int, Batch] = {}  # sealed and not settled, by `id(batch)`, oldest first
        self._count_late = count_late
        self._late: set[int] = set()  # `id(batch)` of sealed batches that are not counted yet
        self._late_rows = 0  # open or sealed, not counted yet
        self._sealed_rows = 0
        self._bytes = 0
        self._full = False
        self._shed: dict[int, list[int]] | None = None  # while shedding, by instrument: [first, last] event time
        self._room = asyncio.Event()
        self._room.set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rows(self) -> int:
        """Rows that have no outcome: open, sealed and in flight."""
        return len(self._open) + self._sealed_rows

    @property
    def counted_rows(self) -> int:
        """Rows that count as decoded and have no outcome."""
        return self.rows - self._late_rows

    @property
    def max_rows(self) -> int:
        return self.limits.max_rows

    @property
    def half_full(self) -> bool:
        """Whether sealed rows fill half of `max_rows` or `max_bytes`."""
        return 2 * self._sealed_rows >= self.limits.max_rows or 2 * self._bytes >= self.limits.max_bytes

    def keep(self, seconds: float | None) -> None:
        """Change the retention; None keeps every row."""
        self._retention = None if seconds is None else int(seconds * 1e6)

    @property
    def cutoff(self) -> int | None:
        """Event time of the oldest row within retention, in microseconds; None without retention."""
        return None if self._retention is None else self._clock() - self._retention

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the rows that have no outcome; of open rows, which are not encoded yet, an estimate."""
        return self._bytes + len(self._open) * self.table.row_bytes

    @property
    def oldest(self) -> int:
        """When the oldest row was received, in microseconds; now if the queue is empty."""
        if self._waiting:
            return next(iter(self._waiting.values())).received_at
        return self._open[0].received_at if self._open else self._clock()

    def put(self, record: Record) -> Awaitable[None] | None:
        """Add a record. If the queue is full, returns what the reader must await.

        The record is added even then, so that a reader that is cancelled while it waits loses nothing; each reader may exceed the
        bound by one row.
        """
        if self._count_late:
            self._late_rows += 1
        else:
            self.tally.decoded += 1
        if self._shed is not None:
            self._shed_row(record, self._shed)
            return None
        full = self._full
        self._append(record)
        return self._wait() if full else None

    def put_columns(self, columns: Columns) -> Awaitable[None] | None:
        """As `put`, for many rows, which become a batch of their own.

        The rows are put one by one while the table sheds, or if some of them are expired or dated too far ahead.
        """
        if self._shed is not None or min(columns.times) < (self.cutoff or 0) or max(columns.times) > self._clock() + FUTURE:
            return self._put_each(columns)
        if self._count_late:
            self._late_rows += len(columns)
        else:
            self.tally.decoded += len(columns)
        full = self._full
        self.seal()
        self._enqueue(self._batch_of(columns))
        return self._wait() if full else None

    async def _put_each(self, records: Iterable[Record]) -> None:
        for record in records:
            if (room := self.put(record)) is not None:
                await room

    def _append(self, record: Record) -> None:
        rows = self._open
        rows.append(record)
        if len(rows) >= self._batch_rows:
            self.seal()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.max_age, self.seal)

    async def _wait(self) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.limits.max_wait):
                while self._full and self._shed is None:
                    await self._room.wait()
        except TimeoutError:
            if self._full and self._shed is None:
                self._shed = {}
        self.tally.put_wait.observe(time.monotonic() - started)

    def _shed_row(self, record: Record, shed: dict[int, list[int]]) -> None:
        self._count(1)
        self.tally.shed["full"] += 1
        if isinstance(record, Streamed):
            span = shed.setdefault(record.instrument_id, [record.time, record.time])
            span[:] = min(span[0], record.time), max(span[1], record.time)

    def _count(self, rows: int) -> None:
        if self._count_late:
            self._late_rows -= rows
            self.tally.decoded += rows

    def seal(self) -> None:
        """Close the open batch: encode it and hand it to the writer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rows, self._open = self._open, []
        rows = self._unexpired(rows)
        if not rows:
            return
        self._enqueue(self._batch(rows))

    def _enqueue(self, batch: Batch) -> None:
        self._waiting[id(batch)] = batch
        self._sealed_rows += batch.rows
        self._bytes += len(batch.data)
        if self._count_late:
            self._late.add(id(batch))
        self._sealed.put_nowait(batch)
        self._update_room()

    def _unexpired(self, rows: list[Record]) -> list[Record]:
        cutoff = self.cutoff
        if cutoff is None or not rows or min([row.time for row in rows]) >= cutoff:
            return rows
        kept = [row for row in rows if row.time >= cutoff]
        self._count(len(rows) - len(kept))
        self.tally.expired += len(rows) - len(kept)
        return kept

    def _batch(self, rows: list[Record]) -> Batch:
        count = len(rows)
        refused: tuple[Refusal, ...] = ()
        data = self._text(rows)
        # a wrong time would create a chunk of its own; a value with a line break would be two rows of COPY
        last_time = max([row.time for row in rows])
        if last_time > self._clock() + FUTURE or data.count(b"\n") != count:
            rows, refused = self._refuse(rows)
            data = self._text(rows)
            last_time = max((row.time for row in rows), default=0)
        step = len(rows) // SAMPLES + 1
        return Batch(
            data=data,
            rows=count,
            last_time=last_time,
            received_at=rows[0].received_at if rows else self._clock(),
            samples=tuple((row.time, row.received_at) for row in rows[::step]),
            minutes=_minutes(rows) if self._mark_minutes else frozenset(),
            refused=refused,
        )

    def _batch_of(self, columns: Columns) -> Batch:
        times, values = columns.times, columns.values
        instrument_id, received_at = values["instrument_id"], values["received_at"]
        assert isinstance(instrument_id, int)  # columns are of one instrument and of one response
        assert isinstance(received_at, int)
        minutes = {time // MINUTE for time in times} if self._mark_minutes else ()
        return Batch(
            data=self._encode_columns(columns).encode(),
            rows=len(times),
            last_time=times[-1],
            received_at=received_at,
            samples=((times[-1], received_at),),  # all rows were received together
            minutes=frozenset(zip(repeat(instrument_id), minutes)),
        )

    def _text(self, rows: list[Record]) -> bytes:
        # a lone surrogate is no UTF-8: the server refuses the row and names its line, so only that row is rejected
        return "".join(map(self._encode, rows)).encode("utf-8", "surrogatepass")

    def _refuse(self, rows: list[Record]) -> tuple[list[Record], tuple[Refusal, ...]]:
        horizon = self._clock() + FUTURE
        good: list[Record] = []
        refused: list[Refusal] = []
        for row in rows:
            line = self._encode(row)
            if row.time > horizon:
                refused.append(Refusal(line, "future", "dated more than a day ahead"))
            elif line.count("\n") > 1:
                refused.append(Refusal(line, "value", "a line break within a value"))
            else:
                good.append(row)
        return good, tuple(refused)

    async def take(self) -> Batch:
        """Wait for the next batch. It counts as queued until `settle`."""
        return await self._sealed.get()

    def take_nowait(self) -> Batch | None:
        """As `take`; None if no batch waits."""
        return None if self._sealed.empty() else self._sealed.get_nowait()

    def give_back(self, batch: Batch) -> None:
        """Undo a `take`."""
        self._sealed.put_nowait(batch)

    def waiting(self) -> list[Batch]:
        """Every batch that waits or is in flight, oldest first."""
        return list(self._waiting.values())

    def has(self, batch: Batch) -> bool:
        """Whether the batch waits or is in flight."""
        return id(batch) in self._waiting

    def accept(self, batch: Batch) -> None:
        """Count the batch's rows, if they are not counted yet. Called when a kill cannot lose them any more."""
        if id(batch) in self._late:
            self._late.remove(id(batch))
            self._count(batch.rows)

    def settle(self, batch: Batch) -> None:
        """Release the batch, whose rows have an outcome."""
        self.accept(batch)
        del self._waiting[id(batch)]
        self._sealed_rows -= batch.rows
        self._bytes -= len(batch.data)
        self._update_room()

    def shed(self, batch: Batch, reason: str) -> tuple[Span, ...]:
        """Shed a batch. Returns the ranges that are missing without it."""
        self.tally.shed[reason] += batch.rows
        self.settle(batch)
        return spans(self.table, batch.data)

    def abandon(self, reason: str) -> list[Gap]:
        """Shed everything that waits or is in flight, at the deadline of a shutdown. Returns one gap per instrument."""
        self.seal()
        return self.gaps(chain.from_iterable(self.shed(batch, reason) for batch in self.waiting()))

    def gaps(self, missing: Iterable[Span]) -> list[Gap]:
        """The gaps that shed rows leave, one per instrument; none for a polled table."""
        channel = CHANNELS.get(self.table.name)
        if channel is None:
            return []
        return [Gap(instrument_id, channel, "shed", since, until) for instrument_id, since, until in merged(missing)]

    def _update_room(self) -> None:
        self._full = self._sealed_rows >= self.limits.max_rows or self._bytes >= self.limits.max_bytes
        if self._full:
            self._room.clear()
            return
        self._room.set()
        if self._shed:
            for gap in self.gaps((instrument_id, since, until) for instrument_id, (since, until) in self._shed.items()):
                self._on_gap(gap)
        self._shed = None


def _minutes(rows: list[Record]) -> frozenset[tuple[int, int]]:
    streamed = cast(list[Streamed], rows)  # only trades and candles are marked
    return frozenset((row.instrument_id, row.time // MINUTE) for row in streamed)
