"""The write path: for each table a queue, a writer and, with a spool, a spill, built from the settings.

The daemon uses `build_write_path`. A command uses `writing`: when its block is left, every row has its outcome. A live reader waits
`queue.max_wait` for room and then sheds rows, because the exchange would close a connection that is not read. Rows from files and
providers wait as long as necessary.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ingest.config.sections import Queue
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.daemon.db_readiness import DatabaseReadiness, check_database
from ingest.errors import Hold, IngestError, Retry, Stop, first
from ingest.pipeline.batch import Batch, Outcome
from ingest.pipeline.spill import Spill, SpillRules
from ingest.pipeline.spills import Spills
from ingest.pipeline.spool import Entry, Spool, open_spool
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.pipeline.time_ranges import CHANNELS
from ingest.pipeline.writer import Writer
from ingest.protocol.session import ChannelName, Gap
from ingest.store.batch_writer import BatchWriter
from ingest.store.coverage import Claim
from ingest.store.coverage_buffer import CoverageBuffer
from ingest.store.pool import Pool, open_pool
from ingest.store.rollup import is_rolled_up
from ingest.store.ts_edition import DatabaseInfo
from ingest.tables import TABLES

YEAR = 86_400.0 * 365  # seconds

log = logging.getLogger(__name__)


class OpenSpool(Struct, frozen=True):
    """The open spool, the rules by table, and by table the records that an earlier run left."""

    spool: Spool
    rules: dict[str, SpillRules]
    found: dict[str, list[Entry]]


def spool_path(settings: Settings) -> Path | None:
    """The directory of the spool; None if rows wait only in memory."""
    return None if settings.durability == "memory" else settings.spool.path


async def open_configured_spool(settings: Settings, errors: Counter[tuple[str, str, str]]) -> OpenSpool | None:
    """Opens the configured spool; None if there is none. Raises Stop if its directory cannot be used."""
    path, section = spool_path(settings), settings.spool
    if path is None:
        return None
    fsync = {"always": 0.0, "never": None}
    sync_seconds = fsync[section.fsync] if isinstance(section.fsync, str) else section.fsync.total_seconds()
    spool, found = await asyncio.to_thread(open_spool, path, errors, max_bytes=section.max_bytes, sync_seconds=sync_seconds)
    for name in found.keys() - section.when_full.keys():
        rows = sum(entry.rows for entry in found[name])
        log.error("the spool has %d rows of table %s, which this version does not have; they stay in the spool", rows, name)
    start_after, write_ahead = section.start_after.total_seconds(), settings.durability == "always"
    rules = {
        table: SpillRules(start_after=start_after, when_full=when_full, write_ahead=write_ahead)
        for table, when_full in section.when_full.items()
    }
    return OpenSpool(spool, rules, found)


def limits_of(section: Queue) -> Limits:
    """The bounds of a queue, in seconds, rows and bytes."""
    return Limits(
        batch_rows=section.batch_rows,
        max_age=section.max_age.total_seconds(),
        max_rows=section.max_rows,
        max_bytes=section.max_bytes,
        max_wait=section.max_wait.total_seconds(),
    )


class WritePath:
    """Queues, writers and spills, by table."""

    def __init__(self, writers: dict[str, Writer], spills: Spills | None) -> None:
        self.writers = writers
        self.queues = {name: writer.queue for name, writer in writers.items()}
        self.spills = spills

    @property
    def rows(self) -> int:
        """Rows in all queues."""
        return sum(queue.rows for queue in self.queues.values())

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for writer in self.writers.values():
                group.create_task(writer.run())
            if self.spills is not None:
                group.create_task(self.spills.run(self.writers))

    async def drain(self) -> None:
        """Return when all queues are empty."""
        for writer in self.writers.values():
            await writer.drain()

    def reload(self, retention: Mapping[str, timedelta | None]) -> None:
        """Apply another retention, by table."""
        for name, queue in self.queues.items():
            queue.keep(_seconds(retention[name]))

    def abandon(self) -> list[Gap]:
        """Shed all rows in the queues, after the deadline of a shutdown. Returns the resulting gaps."""
        return [gap for queue in self.queues.values() for gap in queue.abandon("shutdown")]

    def watermarks(self) -> dict[ChannelName, int]:
        """By channel: the time in microseconds up to which all received rows have an outcome; 0 while rows wait in the spool."""
        queues = {CHANNELS[name]: queue for name, queue in self.queues.items() if name in CHANNELS}
        return {channel: 0 if queue.tally.spooled else queue.oldest for channel, queue in queues.items()}


def build_write_path(
    settings: Settings,
    limits: Limits,
    *,
    info: DatabaseInfo,
    pool: Pool,
    counters: Counters,
    on_gap: Callable[[Gap], None],
    spool: OpenSpool | None = None,
    known: Collection[int] = (),
    readiness: DatabaseReadiness | None = None,
) -> WritePath:
    """Builds the write path. `info` describes the database; `on_gap` receives the gaps of shed rows.

    `known` are the ids of instruments whose rows the spool may have. With `readiness`, writes raise Retry until the database has
    answered.
    """
    writers, spills = {}, {}
    for table in TABLES:
        retention = settings.retention[table.name]
        queue = TableQueue(
            table,
            counters.tallies[table.name],
            limits if table.name in CHANNELS else replace(limits, max_wait=None),  # only live channels shed rows
            on_gap=on_gap,
            retention_seconds=_seconds(retention),
            mark_minutes=is_rolled_up(table.name, info.edition),
            count_late=spool is not None and settings.durability == "always",
        )
        if spool is not None:
            spool.spool.instruments[table.name].update(known)
            found = spool.found.get(table.name, ())
            spills[table.name] = Spill(queue, spool.spool, spool.rules[table.name], found, on_gap=on_gap)
        write = partial(_write, readiness, BatchWriter(table, pool, info.edition))
        # one worker keeps the order, so that an older value cannot replace a newer one
        workers = 1 if table.revise else settings.queue.workers
        writers[table.name] = Writer(queue, write, workers=workers, batches=spills.get(table.name))
    return WritePath(writers, None if spool is None else Spills(spool.spool, spills))


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


async def _write(readiness: DatabaseReadiness | None, batch_writer: BatchWriter, batch: Batch) -> Outcome:
    if readiness is not None and readiness.info is None:
        raise Retry(readiness.state.detail)
    return await batch_writer.write(batch)


class Writing(Struct, frozen=True):
    """The running write path of a command. Its `claims` are written after all rows have their outcome."""

    pool: Pool
    writers: Mapping[str, Writer]
    coverage: CoverageBuffer
    claims: list[Claim]


@asynccontextmanager
async def writing(settings: Settings, counters: Counters, writer: str) -> AsyncIterator[Writing]:
    """Runs a write path. When the block is left, every row has its outcome, and claims and gaps are written.

    `writer` is the name of the claims' owner in the coverage ledger. Raises Stop if the database cannot be reached or its schema is
    not current.
    """
    try:
        info = await check_database(settings.database)
    except (Retry, Hold) as error:
        raise Stop(str(error)) from error
    pool = await open_pool(settings.database.dsn.get_secret_value(), settings.database.pool_size)
    coverage = CoverageBuffer(pool, counters, writer)
    limits = replace(limits_of(settings.queue), max_wait=YEAR)
    on_gap = partial(coverage.gap, "queue")
    path = build_write_path(settings, limits, info=info, pool=pool, counters=counters, on_gap=on_gap)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(path.run()), group.create_task(coverage.run())]
            work = Writing(pool, path.writers, coverage, [])
            yield work
            await path.drain()
            coverage.claim(work.claims)
            for task in tasks:
                task.cancel()
        await coverage.flush()
    except BaseExceptionGroup as group:
        if (errors := group.subgroup(IngestError)) is not None:
            raise first(errors) from None
        raise
    finally:
        pool.terminate()
