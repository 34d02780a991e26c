"""The way into the database, for whoever has rows: a lane and a writer for each table, built from the settings.

`build_writers` is for the daemon, which keeps them alive by itself; `writing` is for a command that has an end: what it put has its
outcome when the block is left. https://docs.python.org/3/library/asyncio-task.html#task-groups
The rule one would get wrong: a live reader waits a little for room and then sheds, because its exchange would hang up; rows from a
file can wait for as long as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from ingest.config.sections import Queue
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.daemon.db_readiness import look
from ingest.errors import Hold, IngestError, Retry, Stop, first
from ingest.pipeline.batch import Batch, Outcome
from ingest.pipeline.spill import Rules
from ingest.pipeline.spills import Spills
from ingest.pipeline.spool import Spool
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

FOR_EVER = 86_400.0 * 365  # seconds


class Writing(Struct, frozen=True):
    """What a command that brings rows works with; `claims` takes what it may claim once all of them have their outcome."""

    pool: Pool
    writers: dict[str, Writer]
    notes: CoverageBuffer
    claims: list[Claim]


def limits_of(queue: Queue) -> Limits:
    """The bounds of a lane, as the settings have them."""
    return Limits(
        batch_rows=queue.batch_rows,
        max_age=queue.max_age.total_seconds(),
        max_rows=queue.max_rows,
        max_bytes=queue.max_bytes,
        max_wait=queue.max_wait.total_seconds(),
    )


def build_detours(settings: Settings, counters: Counters) -> Spills | None:
    """What leads rows around a database that is away; None where they only wait in memory."""
    section = settings.spool
    if section.path is None or settings.durability == "memory":
        return None
    fsync = {"always": 0.0, "never": None}
    spool = Spool(
        section.path,
        counters.errors,
        max_bytes=section.max_bytes,
        sync_seconds=fsync[section.fsync] if isinstance(section.fsync, str) else section.fsync.total_seconds(),
    )
    start_after, write_ahead = section.start_after.total_seconds(), settings.durability == "always"
    rules = {
        table: Rules(start_after=start_after, when_full=when_full, write_ahead=write_ahead)
        for table, when_full in section.when_full.items()
    }
    return Spills(spool, rules)


def build_writers(
    settings: Settings,
    limits: Limits,
    *,
    info: DatabaseInfo,
    pool: Pool,
    counters: Counters,
    on_gap: Callable[[Gap], None],
    detours: Spills | None = None,
    known: Collection[int] = (),
    closed: Callable[[], str] = str,
) -> dict[str, Writer]:
    """One for each table, by its name; none of them runs yet. `on_gap` hears of rows that a lane had no room for.

    `known` are the instruments of which the spool may hold rows. Nothing is written while `closed` says why not.
    """
    writers = {}
    for table in TABLES:
        retention = settings.retention[table.name]

        lane = TableQueue(
            table,
            counters.tallies[table.name],
            limits if table.name in CHANNELS else replace(limits, max_wait=None),  # what is polled can wait, as long as it takes
            on_gap=on_gap,
            retention_seconds=None if retention is None else retention.total_seconds(),
            mark_minutes=is_rolled_up(table.name, info.edition),
            count_late=detours is not None and settings.durability == "always",
        )
        batch_writer = BatchWriter(table, pool, info.edition)
        # rows that may be revised are written in order: a newer value must not be overtaken by an older one
        workers = 1 if table.revise else settings.queue.workers
        way = None if detours is None else detours.add(lane, on_gap, known)
        writers[table.name] = Writer(lane, partial(_write, closed, batch_writer), workers=workers, way=way)
    return writers


async def _write(closed: Callable[[], str], batch_writer: BatchWriter, batch: Batch) -> Outcome:
    if why := closed():
        raise Retry(why)
    return await batch_writer.write(batch)


def watermarks(writers: Mapping[str, Writer]) -> dict[ChannelName, int]:
    """By channel: the time, in microseconds, up to which every row received has an outcome; 0 while some wait on disk."""
    lanes = {CHANNELS[name]: writer.lane for name, writer in writers.items() if name in CHANNELS}
    return {channel: 0 if lane.tally.spooled else lane.oldest for channel, lane in lanes.items()}


@asynccontextmanager
async def writing(settings: Settings, counters: Counters, writer: str) -> AsyncIterator[Writing]:
    """Writers that run, on a database that is ready; on leaving, every row has its outcome and every note is written.

    `writer` is who claims and misses, in the ledger. Raises Stop where the database cannot be reached or its schema is behind.
    """
    try:
        info = await look(settings.database)
    except (Retry, Hold) as error:
        raise Stop(str(error)) from error
    pool = await open_pool(settings.database.dsn.get_secret_value(), settings.database.pool_size)
    notes = CoverageBuffer(pool, counters, writer)
    limits = replace(limits_of(settings.queue), max_wait=FOR_EVER)
    writers = build_writers(settings, limits, info=info, pool=pool, counters=counters, on_gap=lambda gap: notes.gap("lane", gap))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in (*(one.run() for one in writers.values()), notes.run())]
            way = Writing(pool, writers, notes, [])
            yield way
            for one in writers.values():
                await one.drain()
            notes.claim(way.claims)
            for task in tasks:
                task.cancel()
        await notes.flush()
    except BaseExceptionGroup as group:
        if (errors := group.subgroup(IngestError)) is not None:
            raise first(errors) from None
        raise
    finally:
        pool.terminate()
