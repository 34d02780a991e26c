"""The batch loop of one lane: take a batch, have it written, settle its outcome. A batch is never dropped here.

Retry keeps the batch and waits, with capped and jittered backoff; Hold keeps it, too, marks the table and looks again every
`HOLD_SECONDS`, because what is wrong (a column's type, a privilege) is mended by a person outside.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from ingest.errors import Hold, Retry
from ingest.pipeline.batch import Batch, Outcome, Write
from ingest.pipeline.table_queue import TableQueue

HOLD_SECONDS = 5.0
RETRY_SECONDS = (0.1, 10.0)  # first and longest wait

log = logging.getLogger(__name__)


class Way(Protocol):
    """Where batches come from and go to when they are settled, if not straight from and to the lane."""

    async def take(self) -> Batch: ...

    def settle(self, batch: Batch) -> None: ...


class Writer:
    """Drains a lane with `workers` batches in flight: while the server works on one, the next is sent."""

    def __init__(
        self,
        lane: TableQueue,
        write: Write,
        *,
        workers: int = 2,
        way: Way | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.lane = lane
        self.committed_time = 0  # event time of the latest row committed, microseconds
        self.lag_seconds: float | None = None  # received to committed, of the oldest row of the last batch
        self._way: Way = way or lane
        self._started: dict[int, float] = {}  # of each batch of the lane that is in flight: since when
        self._troubles: dict[int, tuple[str, str]] = {}  # of each batch that is not through: what happens to it, and why
        self._write = write
        self._sleep = sleep
        self._workers = workers
        self.beat = time.monotonic()  # when a worker last did anything: a stuck one is seen by /livez

    @property
    def held(self) -> str | None:
        """Why a batch is held, in words; None when none is."""
        return self._why("held")

    @property
    def retrying(self) -> str | None:
        """What the last attempt failed with, while a batch is tried again."""
        return self._why("retrying")

    @property
    def stalled_seconds(self) -> float:
        """How long the lane's oldest batch in flight has been so."""
        return time.monotonic() - min(self._started.values()) if self._started else 0.0

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def drain(self) -> None:
        """Return when nothing is left in the lane."""
        while self.lane.rows:
            self.lane.seal()
            await asyncio.sleep(0.01)

    async def _work(self) -> None:
        while True:
            batch = await self._way.take()
            self._started[id(batch)] = time.monotonic()
            try:
                await self.store(batch)
            finally:
                del self._started[id(batch)]
            self._way.settle(batch)

    async def store(self, batch: Batch) -> None:
        """Write a batch, however long it takes, and count what became of its rows; they are then the caller's to settle."""
        self.beat = time.monotonic()
        started = time.perf_counter()
        outcome = await self._insist(batch)
        self.lane.tally.write_duration[outcome.method].observe(time.perf_counter() - started)
        self._count(batch, outcome)

    async def _insist(self, batch: Batch) -> Outcome:
        first, longest = RETRY_SECONDS
        wait = first
        while True:
            self.beat = time.monotonic()
            try:
                outcome = await self._write(batch)
            except Retry as error:
                self.lane.tally.retries[error.code or "connection"] += 1
                self._say(batch, "retrying", str(error), logging.WARNING)
                await self._sleep(error.after or wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, longest)
            except Hold as error:
                self.lane.tally.holds += 1
                self._say(batch, "held", str(error), logging.ERROR)
                await self._sleep(HOLD_SECONDS)
            else:
                self._clear(batch)
                return outcome

    def _why(self, state: str) -> str | None:
        return next((why for is_, why in self._troubles.values() if is_ == state), None)

    def _say(self, batch: Batch, state: str, why: str, level: int) -> None:
        if (state, why) not in self._troubles.values():  # once per cause, not once per attempt
            log.log(level, "%s: %s: %s", self.lane.table.name, state, why)
        self._troubles[id(batch)] = (state, why)
        self.lane.tally.held = self.held is not None

    def _clear(self, batch: Batch) -> None:
        if self._troubles.pop(id(batch), None) and not self._troubles:
            log.info("%s: writing again", self.lane.table.name)
        self.lane.tally.held = self.held is not None

    def _count(self, batch: Batch, outcome: Outcome) -> None:
        tally = self.lane.tally
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
