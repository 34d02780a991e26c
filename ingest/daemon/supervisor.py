"""Builds the parts of the daemon, joins them, and ends them in the order in which nothing is lost.

Start: the status server, the database (waited for, its schema checked), lanes and writers, duties, feeds. With a spool that knows
the database from an earlier run, lanes and feeds do not wait for it: until it answers, rows go there.
End: readiness first, then feeds, then the lanes are drained within the deadline; what is left goes to the spool, or is a gap.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Callable
from functools import partial

import msgspec

from ingest import __version__
from ingest.config.settings import Settings
from ingest.daemon import health
from ingest.daemon.db_readiness import look
from ingest.daemon.http_server import Server
from ingest.daemon.maintenance import Maintenance
from ingest.daemon.maintenance_spec import desired_policies
from ingest.daemon.source_manager import SourceManager
from ingest.daemon.task_cancel import cancelled
from ingest.daemon.write_path import build_detours, build_writers, limits_of, watermarks
from ingest.errors import Hold, IngestError, Retry, Stop, first
from ingest.metrics import Metrics
from ingest.pipeline.writer import Writer
from ingest.store import sqlstate
from ingest.store.coverage_buffer import CoverageBuffer
from ingest.store.known_instruments import KnownInstruments
from ingest.store.pool import Pool, open_pool
from ingest.store.ts_edition import DatabaseInfo

BEAT_SECONDS = 0.25
DATABASE_SECONDS = 2.0  # how often a database that is not ready is looked at again
PING_SECONDS = 5.0  # without an answer for so long, the database is away
PING_EVERY_SECONDS = 1.0
CLAIM_SECONDS = 1.0  # between two computations of what the feeds cover
CANCEL_SECONDS = 2.0  # for what is in hand to end by itself; then its line is cut
NOTES_SECONDS = 5.0  # for the last notes, after the deadline

log = logging.getLogger(__name__)


class Supervisor:
    """One daemon. `run` returns when it has drained after SIGTERM or SIGINT; on SIGHUP it asks `load` for the settings anew."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.writers: dict[str, Writer] = {}
        self.database: DatabaseInfo | None = None
        self._load = load
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._unready = "starting"  # why sources are not running yet
        self._unreachable = ""
        self._others: list[asyncio.Task[None]] = []
        self._group: asyncio.TaskGroup
        self._pool: Pool | None = None
        self._detours = build_detours(settings, self.metrics.counters)
        if self._detours is not None:
            self.metrics.spool_max_bytes.set(self._detours.max_bytes)
            self.metrics.spool_bytes.set_function(partial(getattr, self._detours, "used_bytes"))
        self._memory = KnownInstruments(settings.spool.path if self._detours is not None else None)
        self._notes: CoverageBuffer
        self._holder = f"{settings.name} {secrets.token_hex(4)}"  # two daemons of one name must not both hold a lease
        self.roster = SourceManager(settings, self._holder, self.metrics)
        admin = settings.database.admin_dsn
        self.duties = Maintenance(
            admin.get_secret_value() if admin else None,
            self._holder,
            desired_policies(settings),
            self.metrics,
        )
        self.server = Server(
            settings.server.host,
            settings.server.port,
            metrics=self.metrics,
            status=self.status,
            alive=self._stuck,
            unready=self.unready,
        )
        self.metrics.build_info.labels(__version__).set(1)

    # --- the course of a run ------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Until told to stop; the exit code. Raises Stop where a person must mend something before anything can work."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        await self.server.start()
        log.info("status, metrics and health on %s", self.server.url)
        try:
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(self._beat())
                starting = group.create_task(self._start(group))
                try:
                    await self._stopping.wait()
                except asyncio.CancelledError:  # a part failed that nothing restarts: what is in the lanes is noted, not drained
                    self._hurry.set()
                    raise
                finally:
                    starting.cancel()
                    await self._end()
                    beat.cancel()
        except BaseExceptionGroup as group:
            if (stops := group.subgroup(Stop)) is not None:
                raise first(stops) from None
            raise
        finally:
            await self.server.stop()
        return 0

    def stop(self) -> None:
        """Drain and end; called a second time, do not wait for the drain."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()
        health.notify("STOPPING=1")

    def reload(self) -> None:
        """Read the configuration again: instruments, channels and policies. A wrong one is refused and the old one stays."""
        if self._stopping.is_set():
            return
        try:
            settings = self._load()
            desired = desired_policies(settings)
        except Stop as error:
            log.error("reload refused, the old configuration stays: %s", error)
            self.metrics.counters.errors["reload", "Stop"] += 1
            return
        self.settings = settings
        self.duties.reload(desired)
        self.roster.reload(settings)
        log.info("configuration reloaded")

    async def _start(self, group: asyncio.TaskGroup) -> None:
        if self._detours is not None:
            await self._detours.open()
            await asyncio.to_thread(self._memory.load)
        pool = self._pool = await open_pool(self.settings.database.dsn.get_secret_value(), self.settings.database.pool_size)
        self._notes = CoverageBuffer(pool, self.metrics.counters, self.settings.name)
        self._group = group
        while (info := await self._look(pool)) is None:
            if not self.writers and self._memory.database is not None:
                log.error("until the database can be written to, what is received goes to the spool")
                self._open(pool, self._memory.database)
            await asyncio.sleep(DATABASE_SECONDS)
        self.metrics.database_info.labels(info.edition, info.timescaledb, info.postgres, str(info.schema_version)).set(1)
        log.info("TimescaleDB %s (%s edition), PostgreSQL %s", info.timescaledb, info.edition, info.postgres)
        self.database = info
        if not self.writers:
            self._open(pool, info)
        self._others += [
            group.create_task(one) for one in (self._claim_forever(), self._notes.run(), self.duties.run(), self._ping(pool))
        ]
        self.roster.meet(pool, info.edition)
        self._unready = ""
        health.notify("READY=1")

    def _open(self, pool: Pool, info: DatabaseInfo) -> None:
        """Lanes, writers and feeds, for a database that is as `info` says; nothing is written there before it has answered."""
        self.writers = build_writers(
            self.settings,
            limits_of(self.settings.queue),
            info=info,
            pool=pool,
            counters=self.metrics.counters,
            on_gap=lambda gap: self._notes.gap("lane", gap),
            detours=self._detours,
            known=self._memory.ids,
            closed=lambda: "" if self.database is not None else self._unready,
        )
        work = [writer.run() for writer in self.writers.values()]
        if self._detours is not None:
            work.append(self._detours.run(self.writers))
        self._others += [self._group.create_task(one) for one in work]
        lanes = {name: writer.lane for name, writer in self.writers.items()}
        self.roster.open(self._group, lanes, self._notes, partial(self._memory.store, pool))

    async def _look(self, pool: Pool) -> DatabaseInfo | None:
        """Its edition and versions, once it answers, its schema is current, and what is in the spool is its own."""
        try:
            info = await look(self.settings.database, bring_up=self.settings.migrate_on_start)
            await self._memory.confirm(pool, info, needed=self._detours is not None and self._detours.has_rows)
        except (Retry, Hold) as error:
            self.metrics.counters.errors["database", type(error).__name__] += 1
            if str(error) != self._unready:
                log.error("%s", error)
            self._unready = str(error)
            return None
        return info

    async def _claim_forever(self) -> None:
        while True:
            self._claim()
            await asyncio.sleep(CLAIM_SECONDS)

    def _claim(self) -> None:
        """Hand to the coverage buffer what the feeds cover, as far as the rows in the queues have their outcome."""
        self._notes.claim(self.roster.claims(watermarks(self.writers)))

    # --- the end ----------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        await cancelled(self.roster.tasks, CANCEL_SECONDS)
        if self.writers:
            await self._drain()
            await cancelled(self._others, CANCEL_SECONDS)
        if self._detours is not None:
            await self._detours.end()
        if self.writers:
            for writer in self.writers.values():
                for gap in writer.lane.abandon("shutdown"):
                    self._notes.gap("lane", gap)
                log.info("%s: the account: %s", writer.lane.table.name, writer.lane.tally)
            self._claim()
            await self._write_last_notes()
        if self._pool is not None:
            self._pool.terminate()
        await cancelled([*self.roster.tasks, *self._others])

    async def _drain(self) -> None:
        """Until the lanes are empty, the deadline has come, or we are told to hurry."""
        seconds = self.settings.shutdown_timeout.total_seconds()
        drained = asyncio.ensure_future(self._drain_all())
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({drained, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            left = sum(writer.lane.rows for writer in self.writers.values())
            fate = "are given up, each counted as shed{shutdown}" if self._detours is None else "go to the spool"
            log.error("not drained in time: %d rows %s", left, fate)
        await cancelled([drained, hurry])

    async def _drain_all(self) -> None:
        for writer in self.writers.values():
            await writer.drain()

    async def _write_last_notes(self) -> None:
        flushing = asyncio.create_task(self._flush_notes())
        self._others.append(flushing)
        await asyncio.wait({flushing}, timeout=NOTES_SECONDS)
        if not flushing.done():
            log.error("the last gaps could not be noted: no answer within %.0f s", NOTES_SECONDS)

    async def _flush_notes(self) -> None:
        try:
            await self._notes.flush()
        except IngestError as error:
            log.error("the last gaps could not be noted: %s", error)

    # --- what others may know -----------------------------------------------------------------------------------------------

    def unready(self) -> list[str]:
        """Why this daemon is not ready; empty when it is."""
        reasons = ["stopping"] if self._stopping.is_set() else []
        reasons += [self._unready] if self._unready else []
        reasons += [self._unreachable] if self._unreachable else []
        reasons += [f"{name}: held: {writer.held}" for name, writer in self.writers.items() if writer.held]
        reasons += self._detours.held if self._detours is not None else []
        return reasons + self.roster.unready()

    def status(self) -> dict[str, object]:
        """Everything that `ingest status` and the page show."""
        return {
            "daemon": {"name": self.settings.name, "version": __version__, "unready": self.unready()},
            "database": msgspec.structs.asdict(self.database) if self.database else {},
            "duties": dict(self.duties.state),
            **self.roster.status(),
            "lanes": {name: health.lane(writer) for name, writer in self.writers.items()},
        }

    def _stuck(self) -> list[str]:
        return health.stuck(self.writers)

    async def _beat(self) -> None:
        """Measures how late the loop wakes, and tells the service manager that we live."""
        while True:
            started = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            self.metrics.event_loop_lag.observe(max(0.0, time.monotonic() - started - BEAT_SECONDS))
            if not self._stuck():
                health.notify("WATCHDOG=1")

    async def _ping(self, pool: Pool) -> None:
        """Whether the database answers: the writers alone would not notice while no row comes."""
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS), pool.acquire() as connection:
                    await connection.execute("SELECT 1")
                self._unreachable = ""
            except sqlstate.FOREIGN as error:
                self._unreachable = str(sqlstate.translate(error, "asking the database"))
            await asyncio.sleep(PING_EVERY_SECONDS)
