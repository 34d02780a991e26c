"""The chunks of jobs, filled by a few at once, and the account of them: what the backfills of exchanges and providers share.

A chunk is marked done when its rows are committed; one that failed says why, and the same command tries it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from msgspec import Struct

from ingest.config.settings import Settings
from ingest.errors import Retry, Stop, first
from ingest.pipeline.batch import Outcome
from ingest.sources.progress import Progress
from ingest.store.coverage import to_datetime
from ingest.store.jobs import Chunk, claim, finish
from ingest.store.pool import Connection

NOTHING = "nothing is pending"
PARALLEL = 2  # chunks at once: while one is written the next is fetched

T = TypeVar("T")


class Filled(Struct, frozen=True):
    """What came of one chunk: its rows by outcome, and why it is not done, if so."""

    outcome: Outcome
    verdict: str | None = None


class Work:
    """One command's chunks. `connection` notes what becomes of each."""

    def __init__(self, connection: Connection, progress: Progress) -> None:
        self._connection = connection
        self._progress = progress
        self._failed: list[str] = []
        self._others = 0  # chunks that another process has
        self._sum = Outcome()

    async def fill_all(self, chunks: Sequence[tuple[T, str, Chunk]], fill: Callable[[T, Chunk], Awaitable[Filled]]) -> None:
        """Have each chunk (of what, its name for people, itself) filled, unless another process does it."""
        waiting = iter(chunks)
        turn = asyncio.Lock()  # one connection for all

        async def work() -> None:
            for subject, name, chunk in waiting:
                async with turn:
                    ours = await claim(self._connection, chunk)
                if ours:
                    filled = await fill(subject, chunk)
                    async with turn:
                        await finish(self._connection, chunk, filled.outcome, filled.verdict)
                    self._add(name, chunk, filled)
                self._others += not ours
                self._progress.add_step()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(PARALLEL):
                    group.create_task(work())
        except ExceptionGroup as errors:  # what one of them failed with is what the command fails with
            raise first(errors) from errors

    def _add(self, name: str, chunk: Chunk, filled: Filled) -> None:
        before, outcome = self._sum, filled.outcome
        self._sum = Outcome(
            before.written + outcome.written,
            before.revised + outcome.revised,
            before.duplicate + outcome.duplicate,
            Counter(before.rejected) + Counter(outcome.rejected),
        )
        if filled.verdict is not None:
            self._failed.append(f"{name} {shown(chunk.since, chunk.until)}: {filled.verdict}")

    def account(self) -> str:
        """What was done, in words. Raises Retry where a chunk failed."""
        done = self._sum
        if not self._progress.done:
            return NOTHING
        account = f"{done.written:,} written, {done.revised:,} revised, {done.duplicate:,} were there already"
        if rejected := sum(done.rejected.values()):
            account += f", {rejected:,} rejected (see the table rejects)"
        if self._others:
            account += f"; {self._others} of the chunks another process has taken"
        if self._failed:
            failures = "\n".join(self._failed)
            raise Retry(f"{account}; {len(self._failed)} chunks failed, the same command tries them again:\n{failures}")
        return f"{self._progress.done} chunks: {account}"


def refuse_expired(settings: Settings, table: str, since: datetime) -> None:
    """Raises Stop where rows from `since` on would be dropped again."""
    kept = settings.retention[table]
    if kept is not None and since < (oldest := datetime.now(UTC) - kept):
        raise Stop(
            f"--from {since:%Y-%m-%d}: retention.{table} keeps {kept.days} days, so what is older than "
            f"{oldest:%Y-%m-%d %H:%M} would be dropped again; begin there, or keep more"
        )


def shown(since: int, until: int) -> str:
    """The stretch for people; microseconds."""
    return f"{to_datetime(since):%Y-%m-%d %H:%M} to {to_datetime(until):%Y-%m-%d %H:%M}"
