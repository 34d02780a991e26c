"""Runs the chunks of a backfill, a few at a time, and reports the result. The backfills of exchanges and providers share it.

A chunk is marked done when its rows are committed. A failed chunk keeps the reason, and the same command tries it again.
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
from ingest.store.missing_minutes import note_missing
from ingest.store.pool import Connection

NOTHING = "nothing is pending"
PARALLEL = 2  # chunks at a time: one is fetched while another is written

T = TypeVar("T")


class ChunkResult(Struct, frozen=True):
    """The result of one chunk: its rows by outcome; `verdict` is the reason where it is not done.

    `missing` are the minutes without a candle in a chunk of candles that was read to its end; None in any other chunk. `filtered`
    is the number of elements that a rule of a provider's module excludes.
    """

    outcome: Outcome
    verdict: str | None = None
    missing: Sequence[tuple[int, int]] | None = None
    filtered: int = 0


class ChunkRunner:
    """The chunks of one command. Their states are written through `connection`."""

    def __init__(self, connection: Connection, progress: Progress) -> None:
        self._connection = connection
        self._progress = progress
        self._failed: list[str] = []
        self._others = 0  # chunks that another process runs
        self._total = Outcome()
        self._filtered = 0

    async def run(self, chunks: Sequence[tuple[T, str, Chunk]], fill: Callable[[T, Chunk], Awaitable[ChunkResult]]) -> None:
        """Fill each chunk that no other process fills. A chunk is given as (subject, name of the subject for people, chunk)."""
        waiting = iter(chunks)
        lock = asyncio.Lock()  # the connection is shared

        async def worker() -> None:
            for subject, name, chunk in waiting:
                async with lock:
                    is_mine = await claim(self._connection, chunk)
                if is_mine:
                    result = await fill(subject, chunk)
                    async with lock:
                        if result.missing is not None:
                            await note_missing(self._connection, chunk, result.missing, result.verdict)
                        await finish(self._connection, chunk, result.outcome, result.verdict)
                    self._add(name, chunk, result)
                self._others += not is_mine
                self._progress.add_step()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(PARALLEL):
                    group.create_task(worker())
        except ExceptionGroup as errors:  # the command fails with the first error
            raise first(errors) from errors

    def _add(self, name: str, chunk: Chunk, result: ChunkResult) -> None:
        self._filtered += result.filtered
        before, outcome = self._total, result.outcome
        self._total = Outcome(
            before.written + outcome.written,
            before.revised + outcome.revised,
            before.duplicate + outcome.duplicate,
            Counter(before.rejected) + Counter(outcome.rejected),
        )
        if result.verdict is not None:
            self._failed.append(f"{name} {range_text(chunk.since, chunk.until)}: {result.verdict}")

    def summary(self) -> str:
        """The result as text. Raises Retry where a chunk failed."""
        done = self._total
        if not self._progress.done:
            return NOTHING
        summary = f"{done.written:,} written, {done.revised:,} revised, {done.duplicate:,} were there already"
        if rejected := sum(done.rejected.values()):
            summary += f", {rejected:,} rejected (see the table rejects)"
        if self._filtered:
            summary += f", {self._filtered:,} filtered"
        if self._others:
            summary += f"; another process runs {self._others} of the chunks"
        if self._failed:
            failures = "\n".join(self._failed)
            raise Retry(f"{summary}; {len(self._failed)} chunks failed, the same command tries them again:\n{failures}")
        return f"{self._progress.done} chunks: {summary}"


def refuse_empty(since: datetime, until: datetime) -> None:
    """Raises Stop for a range that ends before it begins, or as it begins."""
    if until <= since:
        raise Stop(f"--to {until:%Y-%m-%d %H:%M} must be later than --from {since:%Y-%m-%d %H:%M}")


def refuse_expired(settings: Settings, table: str, since: datetime) -> None:
    """Raises Stop where retention would drop rows of the range that begins at `since`."""
    kept = settings.retention[table]
    if kept is not None and since < (oldest := datetime.now(UTC) - kept):
        raise Stop(
            f"--from {since:%Y-%m-%d}: retention.{table} keeps {kept.days} days, so rows older than "
            f"{oldest:%Y-%m-%d %H:%M} would be dropped again; begin there, or keep more"
        )


def range_text(since: int, until: int) -> str:
    """The range as text for people; the arguments are in microseconds."""
    return f"{to_datetime(since):%Y-%m-%d %H:%M} to {to_datetime(until):%Y-%m-%d %H:%M}"
