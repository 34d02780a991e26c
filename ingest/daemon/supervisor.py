"""The supervisor of the daemon: it starts the parts, runs them, and ends them in an order that loses no row.

Start: the status server, the spool, the database (wait for it and check its schema), queues and writers, sources, maintenance. If
the spool has the instruments of an earlier run, queues and feeds start without the database, and rows go to the spool until it
answers.
End: report not ready, end the sources, drain the queues within `shutdown_timeout`. The remaining rows go to the spool; without a
spool they are shed and recorded as gaps.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

import msgspec
from msgspec import Struct

from ingest import __version__
from ingest.config.restart import reloaded
from ingest.config.settings import Settings
from ingest.daemon import health
from ingest.daemon.db_readiness import DatabaseReadiness, check_database, watch_database
from ingest.daemon.health import DaemonState
from ingest.daemon.http_server import Server
from ingest.daemon.maintenance import Maintenance
from ingest.daemon.maintenance_spec import maintenance_spec
from ingest.daemon.source_manager import SourceManager
from ingest.daemon.task_cancel import cancelled
from ingest.daemon.write_path import OpenSpool, WritePath, build_write_path, limits_of, open_configured_spool, spool_path
from ingest.errors import Hold, IngestError, Retry, Stop, first
from ingest.metrics import Metrics
from ingest.pipeline.writer import Writer
from ingest.sources.run_state import RunState, State
from ingest.store.coverage_buffer import CoverageBuffer
from ingest.store.known_instruments import KnownInstruments, load_known_instruments
from ingest.store.pool import Pool, open_pool
from ingest.store.ts_edition import DatabaseInfo

HEARTBEAT_SECONDS = 0.25
DATABASE_SECONDS = 2.0  # between two checks of a database that is not ready
CLAIM_SECONDS = 1.0  # between two computations of what the feeds cover
CANCEL_SECONDS = 2.0  # for running statements to end; then their connections are closed
FLUSH_SECONDS = 5.0  # to write the last claims and gaps, after the deadline of the drain

log = logging.getLogger(__name__)


class OpenResources(Struct, frozen=True):
    """The resources that are opened before the database has answered."""

    pool: Pool
    coverage: CoverageBuffer
    known: KnownInstruments
    spool: OpenSpool | None


class Intake(Struct, frozen=True):
    """The write path, and the sources that put rows into it."""

    path: WritePath
    sources: SourceManager


class Supervisor:
    """One daemon. `listener` is the socket of its status server; SIGHUP calls `load` for new settings.

    `run` returns after SIGTERM or SIGINT, when the queues are drained.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings], listener: socket.socket) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.database = DatabaseReadiness()
        self._load = load
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []  # without those of the sources
        self._resources: OpenResources | None = None
        self._intake: Intake | None = None
        self._holder = (
            f"{settings.name} {secrets.token_hex(4)}"  # unique, so that two daemons with the same name cannot both hold a lease
        )
        admin_dsn = settings.database.admin_dsn
        self.maintenance = Maintenance(
            admin_dsn.get_secret_value() if admin_dsn else None,
            self._holder,
            maintenance_spec(settings),
            self.metrics,
        )
        self.server = Server(
            listener,
            metrics=self.metrics,
            status=self.status,
            stuck=self._stuck,
            unready=self.unready,
            hosts=(settings.server.host, *settings.server.hosts),
        )
        self.metrics.build_info.labels(__version__).set(1)

    @property
    def writers(self) -> dict[str, Writer]:
        """The writers by table; empty until the intake has started."""
        return self._intake.path.writers if self._intake is not None else {}

    # --- start --------------------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Run until stopped; returns the exit code. Raises Stop if a person must correct the configuration."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            async with self.server.serving(), asyncio.TaskGroup() as group:
                log.info("status, metrics and health on %s", self.server.url)
                heartbeat = group.create_task(self._heartbeat())
                starting = group.create_task(self._start(group))
                try:
                    await self._stopping.wait()
                except asyncio.CancelledError:  # a part that is not restarted failed: do not drain, record gaps
                    self._hurry.set()
                    raise
                finally:
                    starting.cancel()
                    await self._end()
                    heartbeat.cancel()
        except BaseExceptionGroup as group:
            if (stops := group.subgroup(Stop)) is not None:
                raise first(stops) from None
            raise
        return 0

    def stop(self) -> None:
        """Drain and end. The second call ends without draining."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()
        health.notify("STOPPING=1")

    def reload(self) -> None:
        """Load the configuration again and apply it to sources, retention and maintenance. If it is invalid, the old one stays."""
        if self._stopping.is_set():
            return
        try:
            settings, ignored = reloaded(self.settings, self._load())
            spec = maintenance_spec(settings)
        except Stop as error:
            log.error("the new configuration is refused, the old one stays: %s", error)
            self.metrics.counters.errors["", "reload", "Stop"] += 1
            return
        self.settings = settings
        self.maintenance.reload(spec)
        if self._intake is not None:
            self._intake.path.reload(settings.retention)
            self._intake.sources.reload(settings)
        if ignored:
            log.warning("changed settings that need a restart: %s", ", ".join(ignored))
        log.info("configuration reloaded")

    async def _start(self, group: asyncio.TaskGroup) -> None:
        resources = self._resources = await self._open()
        while (info := await self._check_database(resources)) is None:
            if self._intake is None and resources.known.database is not None:
                log.error("received rows go to the spool until the database can be written to")
                self._intake = self._start_intake(group, resources, resources.known.database)
            await asyncio.sleep(DATABASE_SECONDS)
        self.metrics.database_info.labels(info.edition, info.timescaledb, info.postgres, str(info.schema_version)).set(1)
        log.info("TimescaleDB %s (%s edition), PostgreSQL %s", info.timescaledb, info.edition, info.postgres)
        self.database.info = info
        if self._intake is None:
            self._intake = self._start_intake(group, resources, info)
        self.database.state = RunState(State.OK)
        work = (
            self._claim_forever(self._intake, resources),
            resources.coverage.run(),
            self.maintenance.run(),
            watch_database(self.database, self.settings.database),
        )
        self._tasks += [group.create_task(coroutine) for coroutine in work]
        self._intake.sources.database_ready(resources.pool, info.edition)
        health.notify("READY=1")

    async def _open(self) -> OpenResources:
        counters, database = self.metrics.counters, self.settings.database
        spool = await open_configured_spool(self.settings, counters.errors)
        if spool is not None:
            self.metrics.spool_max_bytes.set(spool.spool.max_bytes)
            self.metrics.spool_bytes.set_function(partial(getattr, spool.spool, "used_bytes"))
        known = await asyncio.to_thread(load_known_instruments, spool_path(self.settings))
        pool = await open_pool(database.dsn.get_secret_value(), database.pool_size)
        return OpenResources(pool, CoverageBuffer(pool, counters, self.settings.name), known, spool)

    def _start_intake(self, group: asyncio.TaskGroup, resources: OpenResources, info: DatabaseInfo) -> Intake:
        """Start writers and feeds. `info` describes the database; nothing is written before it has answered."""
        path = build_write_path(
            self.settings,
            limits_of(self.settings.queue),
            info=info,
            pool=resources.pool,
            counters=self.metrics.counters,
            on_gap=partial(resources.coverage.gap, "queue"),
            spool=resources.spool,
            known=resources.known.ids,
            readiness=self.database,
        )
        self._tasks.append(group.create_task(path.run()))
        sources = SourceManager(
            self.settings,
            self._holder,
            self.metrics,
            group=group,
            queues=path.queues,
            coverage=resources.coverage,
            store_instruments=partial(resources.known.store, resources.pool),
        )
        sources.start_feeds()
        return Intake(path, sources)

    async def _check_database(self, resources: OpenResources) -> DatabaseInfo | None:
        """The database's edition and versions; None if it does not answer, is not current, or does not match the spool."""
        has_spooled = resources.spool is not None and (bool(resources.spool.found) or self._intake is not None)
        try:
            info = await check_database(self.settings.database, migrate_first=self.settings.migrate_on_start)
            await resources.known.confirm(resources.pool, info, needed=has_spooled)
        except (Retry, Hold) as error:
            self.metrics.counters.errors["", "database", type(error).__name__] += 1
            if str(error) != self.database.state.detail:
                log.error("%s", error)
            self.database.state = RunState(State.FAILING, str(error))
            return None
        return info

    async def _claim_forever(self, intake: Intake, resources: OpenResources) -> None:
        while True:
            _claim(intake, resources)
            await asyncio.sleep(CLAIM_SECONDS)

    # --- end ----------------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        if self._resources is not None and self._intake is not None:
            await self._end_intake(self._resources, self._intake)
        elif self._resources is not None and self._resources.spool is not None:
            await asyncio.to_thread(self._resources.spool.spool.close)
        if self._resources is not None:
            self._resources.pool.terminate()
        await cancelled([*(self._intake.sources.tasks if self._intake is not None else []), *self._tasks])

    async def _end_intake(self, resources: OpenResources, intake: Intake) -> None:
        await cancelled(intake.sources.tasks, CANCEL_SECONDS)
        await self._drain(intake.path)
        await cancelled(self._tasks, CANCEL_SECONDS)
        if intake.path.spills is not None:
            await intake.path.spills.end()
        for gap in intake.path.abandon():
            resources.coverage.gap("queue", gap)
        for name, queue in intake.path.queues.items():
            log.info("%s: row totals: %s", name, queue.tally)
        _claim(intake, resources)
        await self._write_last_coverage(resources.coverage)

    async def _drain(self, path: WritePath) -> None:
        """Return when the queues are empty, at the deadline, or after a second signal."""
        seconds = self.settings.shutdown_timeout.total_seconds()
        drained = asyncio.ensure_future(path.drain())
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({drained, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            fate = "are shed, counted with the reason shutdown" if path.spills is None else "go to the spool"
            log.error("not drained in time: %d rows %s", path.rows, fate)
        await cancelled([drained, hurry])

    async def _write_last_coverage(self, coverage: CoverageBuffer) -> None:
        flushing = asyncio.create_task(_flush(coverage))
        self._tasks.append(flushing)
        await asyncio.wait({flushing}, timeout=FLUSH_SECONDS)
        if not flushing.done():
            log.error("the last claims and gaps were not written: the database did not answer within %.0f s", FLUSH_SECONDS)

    # --- status -------------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> DaemonState:
        if self._stopping.is_set():
            return DaemonState.STOPPING
        if self.database.info is None:
            return DaemonState.STARTING
        return DaemonState.UNREADY if self.unready() else DaemonState.READY

    def unready(self) -> list[str]:
        """Why the daemon is not ready, a sentence for each reason; empty if it is ready."""
        reasons = ["stopping"] if self._stopping.is_set() else []
        if self.database.state.state != State.OK:
            reasons.append(self.database.state.detail)
        reasons += [f"{name}: held: {writer.held}" for name, writer in self.writers.items() if writer.held]
        if self._intake is not None:
            reasons += self._intake.path.spills.held if self._intake.path.spills is not None else []
            reasons += self._intake.sources.unready()
        return reasons

    def status(self) -> dict[str, object]:
        """The status that /status serves."""
        info = self.database.info
        unopened: dict[str, object] = {"sources": {}, "pollers": {}, "gaps": {}}  # until the intake has started
        sources = unopened if self._intake is None else self._intake.sources.status()
        return {
            "daemon": {
                "name": self.settings.name,
                "version": __version__,
                "state": self.state,
                "detail": "; ".join(self.unready()),
            },
            "database": self.database.state.status() | (msgspec.structs.asdict(info) if info is not None else {}),
            "maintenance": self.maintenance.status(),
            **sources,
            "queues": {name: health.queue_status(writer) for name, writer in self.writers.items()},
        }

    def _stuck(self) -> list[str]:
        return health.stuck(self.writers)

    async def _heartbeat(self) -> None:
        """Measure by how much the event loop wakes too late, and send keep-alives to systemd unless a writer is stuck."""
        while True:
            started = time.monotonic()
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self.metrics.event_loop_tasks.set(len(asyncio.all_tasks()))
            self.metrics.event_loop_lag.observe(max(0.0, time.monotonic() - started - HEARTBEAT_SECONDS))
            if not self._stuck():
                health.notify("WATCHDOG=1")


def _claim(intake: Intake, resources: OpenResources) -> None:
    """Pass the claims of the feeds to the coverage buffer, up to the watermarks of the queues."""
    resources.coverage.claim(intake.sources.claims(intake.path.watermarks()))


async def _flush(coverage: CoverageBuffer) -> None:
    try:
        await coverage.flush()
    except IngestError as error:
        log.error("the last claims and gaps were not written: %s", error)
