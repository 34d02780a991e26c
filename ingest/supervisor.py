"""Builds the parts of the daemon, joins them, restarts what fails alone, and ends them in the order in which nothing is lost.

Start: the status server, the database (waited for, its schema checked), lanes and writers, duties, feeds. With a spool that knows
the database from an earlier run, lanes and feeds do not wait for it: until it answers, rows go there.
End: readiness first, then feeds, then the lanes are drained within the deadline; what is left goes to the spool, or is a gap.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import time
from collections.abc import Callable
from functools import partial

import msgspec

from ingest import __version__, health, registry
from ingest.config import ExchangeSection, Settings
from ingest.database import look
from ingest.duties import Duties, desired_policies
from ingest.errors import Hold, IngestError, Retry, Stop, first
from ingest.flow import Gap
from ingest.metrics import Metrics
from ingest.pipeline.writer import Writer
from ingest.server import Server
from ingest.sources.feed import Feed, StoreInstruments
from ingest.sources.heal import Healer
from ingest.sources.poll import Poller
from ingest.sources.recording import recorder_of
from ingest.store import faults
from ingest.store.coverage import Claim
from ingest.store.edition import DatabaseInfo
from ingest.store.memory import Memory
from ingest.store.notes import Notes
from ingest.store.pool import Pool, open_pool
from ingest.tasks import cancelled, is_cancelled
from ingest.transports.backoff import Backoff
from ingest.writers import build_detours, build_writers, limits_of, settled

BEAT_SECONDS = 0.25
DATABASE_SECONDS = 2.0  # how often a database that is not ready is looked at again
LONG_SECONDS = 300.0  # a source that ran for so long has recovered: its next failure is a new one
PING_SECONDS = 5.0  # without an answer for so long, the database is away
PING_EVERY_SECONDS = 1.0
CANCEL_SECONDS = 2.0  # for what is in hand to end by itself; then its line is cut
NOTES_SECONDS = 5.0  # for the last notes, after the deadline

log = logging.getLogger(__name__)


class Supervisor:
    """One daemon. `run` returns when it has drained after SIGTERM or SIGINT; on SIGHUP it asks `load` for the settings anew."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.writers: dict[str, Writer] = {}
        self.feeds: dict[str, Feed] = {}
        self.healers: dict[str, Healer] = {}
        self.pollers: dict[str, Poller] = {}
        self.database: DatabaseInfo | None = None
        self._load = load
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._unready = "starting"  # why sources are not running yet
        self._unreachable = ""
        self._sources: dict[str, asyncio.Task[None]] = {}
        self._others: list[asyncio.Task[None]] = []
        self._group: asyncio.TaskGroup
        self._pool: Pool | None = None
        self._detours = build_detours(settings, self.metrics)
        self._memory = Memory(settings.spool.path if self._detours is not None else None)
        self._store_instruments: StoreInstruments
        self._notes: Notes
        self._holder = f"{settings.name} {secrets.token_hex(4)}"  # two daemons of one name must not both hold a lease
        admin = settings.database.admin_dsn
        self.duties = Duties(
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
            self.metrics.errors.labels("reload", "Stop").inc()
            return
        self.settings = settings
        self.duties.reload(desired)
        for name in self.feeds.keys() - settings.exchanges.keys():
            self._remove_source(name)
        for name, section in settings.exchanges.items():
            if name in self._sources and not self._sources[name].done():
                self.feeds[name].reload(section)
                if name in self.healers:
                    self.healers[name].reload(section)
            elif self.writers:  # else `_open` will add it
                self._add_source(name, section)
                self._add_healer(name, section)
        log.info("configuration reloaded")

    async def _start(self, group: asyncio.TaskGroup) -> None:
        if self._detours is not None:
            await self._detours.open()
            await asyncio.to_thread(self._memory.load)
        pool = self._pool = await open_pool(self.settings.database.dsn.get_secret_value(), self.settings.database.pool_size)
        self._notes = Notes(pool, self.metrics, self.settings.name, self._claims)
        self._group = group
        self._store_instruments = partial(self._memory.store, pool)
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
        self._others += [group.create_task(one) for one in (self._notes.run(), self.duties.run(), self._ping(pool))]
        for name, section in self.settings.exchanges.items():
            self.feeds[name].reload(section)  # for the instruments of which the id was not known
            self._add_healer(name, section)
        self._add_pollers(pool)
        self._unready = ""
        health.notify("READY=1")

    def _open(self, pool: Pool, info: DatabaseInfo) -> None:
        """Lanes, writers and feeds, for a database that is as `info` says; nothing is written there before it has answered."""
        self.writers = build_writers(
            self.settings,
            limits_of(self.settings.queue),
            info=info,
            pool=pool,
            metrics=self.metrics,
            on_gap=lambda gap: self._note_gap("lane", gap, None),
            detours=self._detours,
            known=self._memory.ids,
            closed=lambda: "" if self.database is not None else self._unready,
        )
        work = [writer.run() for writer in self.writers.values()]
        if self._detours is not None:
            work.append(self._detours.run(self.writers))
        self._others += [self._group.create_task(one) for one in work]
        for name, section in self.settings.exchanges.items():
            self._add_source(name, section)

    async def _look(self, pool: Pool) -> DatabaseInfo | None:
        """Its edition and versions, once it answers, its schema is current, and what is in the spool is its own."""
        try:
            info = await look(self.settings.database, bring_up=self.settings.migrate_on_start)
            await self._memory.meet(pool, info, needed=self._detours is not None and self._detours.has_rows)
        except (Retry, Hold) as error:
            self.metrics.errors.labels("database", type(error).__name__).inc()
            if str(error) != self._unready:
                log.error("%s", error)
            self._unready = str(error)
            return None
        return info

    # --- sources --------------------------------------------------------------------------------------------------------

    def _add_source(self, name: str, section: ExchangeSection) -> None:
        feed = Feed(
            name,
            registry.exchanges()[section.protocol or name],
            section,
            writer=self.settings.name,
            puts={writer.lane.table.record: writer.lane.put for writer in self.writers.values()},
            store_instruments=self._store_instruments,
            on_gap=self._note_gap,
            on_malformed=self._notes.malformed,
            metrics=self.metrics,
            make_recorder=recorder_of(self.settings, name, section, self.metrics),
        )
        self.feeds[name] = feed
        self._sources[name] = self._group.create_task(self._keep(name, feed))

    def _add_healer(self, name: str, section: ExchangeSection) -> None:
        if self._pool is None or self.database is None:  # `_start` will add it
            return
        healer = self.healers[name] = Healer(
            name,
            registry.exchanges()[section.protocol or name],
            section,
            self.settings,
            pool=self._pool,
            edition=self.database.edition,
            metrics=self.metrics,
            busy=lambda: any(writer.lane.half_full for writer in self.writers.values()),
        )
        if self.settings.heal.enabled:
            self._sources[f"heal {name}"] = self._group.create_task(self._keep(f"heal {name}", healer))

    def _add_pollers(self, pool: Pool) -> None:
        lanes = {name: writer.lane for name, writer in self.writers.items()}
        for name, section in self.settings.pollers.items():
            module, note = registry.pollers()[name], self._notes.malformed
            poller = Poller(name, module, section, self._holder, pool=pool, lanes=lanes, on_malformed=note, metrics=self.metrics)
            self.pollers[name] = poller
            self._sources[f"poll {name}"] = self._group.create_task(self._keep(f"poll {name}", poller))

    def _remove_source(self, name: str) -> None:
        self.feeds.pop(name), self.healers.pop(name, None)
        for key in (name, f"heal {name}"):
            if task := self._sources.pop(key, None):
                task.cancel()

    def _claims(self) -> list[Claim]:
        return [claim for feed in self.feeds.values() for claim in feed.claims(partial(settled, self.writers))]

    async def _keep(self, name: str, source: Feed | Healer | Poller) -> None:
        """Run one source, or its healer, for ever; what fails in it is its own affair."""
        backoff = Backoff(random.random)
        while True:
            started = time.monotonic()
            fault: BaseException = RuntimeError("it ended by itself")
            try:
                await source.run()
            except Exception as error:
                fault = first(error)
            if is_cancelled():
                return
            if isinstance(fault, Stop):
                source.last_error = f"stopped: {fault}"
                log.error("%s: %s", name, source.last_error)
                self.metrics.errors.labels("source", "Stop").inc()
                return
            if not isinstance(fault, IngestError):
                log.error("%s: a defect, the source is restarted", name, exc_info=fault)
            else:
                log.warning("%s: %s", name, fault)
            self.metrics.errors.labels("source", type(fault).__name__).inc()
            source.last_error = str(fault)
            if time.monotonic() - started > LONG_SECONDS:
                backoff.reset()
            await asyncio.sleep(max(backoff.next(), (fault.after or 0.0) if isinstance(fault, Retry) else 0.0))

    def _note_gap(self, source: str, gap: Gap, trade_kind: str | None) -> None:
        self._notes.gap(source, gap, trade_kind)

    # --- the end ----------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        await cancelled(self._sources.values(), CANCEL_SECONDS)
        if self.writers:
            await self._drain()
            await cancelled(self._others, CANCEL_SECONDS)
        if self._detours is not None:
            await self._detours.end()
        if self.writers:
            for writer in self.writers.values():
                for gap in writer.lane.abandon("shutdown"):
                    self._note_gap("lane", gap, None)
                log.info("%s: the account: %s", writer.lane.table.name, writer.lane.tally)
            await self._write_last_notes()
        if self._pool is not None:
            self._pool.terminate()
        await cancelled([*self._sources.values(), *self._others])

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
        if self.feeds and not self._connected():
            errors = [f"{name}: {feed.last_error}" for name, feed in self.feeds.items() if feed.last_error]
            reasons.append(f"no source is connected: {'; '.join(errors) or 'not yet'}")
        return reasons

    def status(self) -> dict[str, object]:
        """Everything that `ingest status` and the page show."""
        return {
            "daemon": {"name": self.settings.name, "version": __version__, "unready": self.unready()},
            "database": msgspec.structs.asdict(self.database) if self.database else {},
            "duties": dict(self.duties.state),
            "sources": {name: feed.status() for name, feed in self.feeds.items()},
            "pollers": {name: poller.status() for name, poller in self.pollers.items()},
            "gaps": {name: healer.state for name, healer in self.healers.items()},
            "lanes": {name: health.lane(writer) for name, writer in self.writers.items()},
        }

    def _connected(self) -> bool:
        value = self.metrics.registry.get_sample_value
        return any(value("ingest_source_connected", {"source": name}) for name in self.feeds)

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
            except faults.FOREIGN as error:
                self._unreachable = str(faults.translate(error, "asking the database"))
            await asyncio.sleep(PING_EVERY_SECONDS)
