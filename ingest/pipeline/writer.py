"""Takes the batches of one table and writes each until it has an outcome. The writer never drops a batch.

On Retry it waits, with exponential backoff and jitter, and writes the same batch again. On Hold it reports the table as held and
tries again every `HOLD_SECONDS`, because a person has to correct the cause, such as a column's type or a privilege.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from ingest.errors import Hold, Retry
from ingest.pipeline.batch import Batch, Outcome, Write
from ingest.pipeline.table_queue import TableQueue

HOLD_SECONDS = 5.0
STALL_SECONDS = 5.0  # a batch in flight for longer is logged
RETRY_SECONDS = (0.1, 10.0)  # first and longest wait

Trouble = Literal["retrying", "held"]

log = logging.getLogger(__name__)


class BatchSource(Protocol):
    """The source of the writer's batches, to which settled batches are reported: the queue, or the spill beside it."""

    async def take(self) -> Batch: ...

    def settle(self, batch: Batch) -> None: ...


class Writer:
    """Writes the batches of a queue, `workers` at a time: the next batch is sent while the server works on the one before."""

    def __init__(
        self,
        queue: TableQueue,
        write: Write,
        *,
        workers: int = 2,
        batches: BatchSource | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.queue = queue
        self.committed_time = 0  # event time of the latest row committed, microseconds
        self.lag_seconds: float | None = None  # from received to committed, of the oldest row of the last batch
        self.last_active_at = time.monotonic()  # when a worker last began an attempt; /livez reports a writer that is stuck
        self._batches: BatchSource = batches or queue
        self._started: dict[int, float] = {}  # by `id(batch)`: monotonic seconds since which a batch of the queue is in flight
        self._troubles: dict[int, tuple[Trouble, str]] = {}  # by `id(batch)` of each batch that failed: its state and the error
        self._write = write
        self._sleep = sleep
        self._workers = workers

    @property
    def held(self) -> str | None:
        """Why a batch is held; None if no batch is held."""
        return self._reason("held")

    @property
    def retrying(self) -> str | None:
        """The error of the last attempt, while a batch is retried."""
        return self._reason("retrying")

    @property
    def stalled_seconds(self) -> float:
        """The time for which the queue's oldest batch has been in flight."""
        return time.monotonic() - min(self._started.values()) if self._started else 0.0

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())
            group.create_task(self._report_stalls())

    async def drain(self) -> None:
        """Return when the queue is empty."""
        while self.queue.rows:
            self.queue.seal()
            await asyncio.sleep(0.01)

    async def store(self, batch: Batch) -> None:
        """Write a batch, however long it takes, and count its outcome. The caller then settles it."""
        self.last_active_at = time.monotonic()
        started = time.perf_counter()
        outcome = await self._write_with_retry(batch)
        self.queue.tally.write_duration[outcome.method].observe(time.perf_counter() - started)
        self._count(batch, outcome)

    async def _work(self) -> None:
        while True:
            batch = await self._batches.take()
            self._started[id(batch)] = time.monotonic()
            try:
                await self.store(batch)
            finally:
                del self._started[id(batch)]
            self._batches.settle(batch)

    async def _report_stalls(self) -> None:
        """Log when rows wait although no attempt has failed: a frozen server and a lock give no error for a minute."""
        reported = False
        while True:
            await asyncio.sleep(STALL_SECONDS / 5)
            stalled = self.stalled_seconds > STALL_SECONDS and not self._troubles  # an error is logged where it occurs
            if stalled and not reported:
                text = "%s: %d rows wait: the database has not answered a write for %.0f s"
                log.warning(text, self.queue.table.name, self.queue.rows, self.stalled_seconds)
            elif reported and not stalled and not self._troubles:
                log.info("%s: writing again", self.queue.table.name)
            reported = stalled

    async def _write_with_retry(self, batch: Batch) -> Outcome:
        wait, longest = RETRY_SECONDS
        while True:
            self.last_active_at = time.monotonic()
            try:
                outcome = await self._write(batch)
            except Retry as error:
                self.queue.tally.retries[error.code or "connection"] += 1
                self._report(batch, "retrying", str(error), logging.WARNING)
                await self._sleep(error.after or wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, longest)
            except Hold as error:
                self.queue.tally.holds += 1
                self._report(batch, "held", str(error), logging.ERROR)
                await self._sleep(HOLD_SECONDS)
            else:
                self._recovered(batch)
                return outcome

    def _reason(self, trouble: Trouble) -> str | None:
        return next((reason for kind, reason in self._troubles.values() if kind == trouble), None)

    def _report(self, batch: Batch, trouble: Trouble, reason: str, level: int) -> None:
        if (trouble, reason) not in self._troubles.values():  # once per cause, not once per attempt
            log.log(level, "%s: %s: %s", self.queue.table.name, trouble, reason)
        self._troubles[id(batch)] = (trouble, reason)
        self.queue.tally.held = self.held is not None

    def _recovered(self, batch: Batch) -> None:
        if self._troubles.pop(id(batch), None) and not self._troubles:
            log.info("%s: writing again", self.queue.table.name)
        self.queue.tally.held = self.held is not None

    def _count(self, batch: Batch, outcome: Outcome) -> None:
        tally = self.queue.tally
        tally.written += outcome.written
        tally.revised += outcome.revised
        tally.duplicate += outcome.duplicate
        tally.rejected.update(outcome.rejected)
        now = time.time()
        for event, received in batch.samples:
            tally.commit_lag.observe(now - received / 1e6)
            tally.event_to_commit_lag.observe(now - event / 1e6)
        tally.batch_rows.observe(batch.rows)
        tally.last_success = now
        self.committed_time = max(self.committed_time, batch.last_time)
        self.lag_seconds = now - batch.received_at / 1e6
