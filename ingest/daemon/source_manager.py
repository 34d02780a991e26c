"""The sources of one daemon: a feed and a gap filler for each exchange, a poller for each provider.

Sources fail independently. A source that fails is restarted after a growing wait; a source that raises Stop is restarted only by a
reload. A reload starts new sources, ends removed ones, and passes changed settings to the others.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Mapping
from typing import Protocol

from ingest import registry
from ingest.config.sections import ExchangeSection, PollerSection
from ingest.config.settings import Settings
from ingest.daemon.recording import recorder_of
from ingest.daemon.task_cancel import is_cancelled
from ingest.errors import IngestError, Retry, Stop, first
from ingest.metrics import Metrics
from ingest.pipeline.table_queue import TableQueue
from ingest.polling.provider import Streaming
from ingest.sources.coverage_claims import Watermarks
from ingest.sources.evidence import EvidenceSearch
from ingest.sources.exchange_feed import ExchangeFeed, StoreInstruments
from ingest.sources.gap_filler import GapFiller
from ingest.sources.poll_plan import plan_name
from ingest.sources.poller import Poller
from ingest.sources.provider_access import ProviderAccess
from ingest.sources.provider_stream import ProviderStream
from ingest.sources.provider_task import ProviderTask
from ingest.sources.run_state import RunState, State
from ingest.store.coverage import Claim
from ingest.store.coverage_buffer import CoverageBuffer
from ingest.store.pool import Pool
from ingest.store.ts_edition import Edition
from ingest.transports.backoff import Backoff

LONG_SECONDS = 300.0  # a source that ran so long has recovered, and its backoff starts again

log = logging.getLogger(__name__)


class Source(Protocol):
    """A feed, a gap filler or a poller. `run` runs until cancelled; `report` sets its state in the status after `run` raised."""

    def run(self) -> Awaitable[None]: ...

    def report(self, state: RunState) -> None: ...


class SourceManager:
    """Starts and restarts the sources as tasks of `group`. `holder` is the daemon's name in the leases; `queues` are by table."""

    def __init__(
        self,
        settings: Settings,
        holder: str,
        metrics: Metrics,
        *,
        group: asyncio.TaskGroup,
        queues: Mapping[str, TableQueue],
        coverage: CoverageBuffer,
        store_instruments: StoreInstruments,
    ) -> None:
        self.feeds: dict[str, ExchangeFeed] = {}
        self.gap_fillers: dict[str, GapFiller] = {}
        self.pollers: dict[str, Poller | ProviderStream] = {}
        self._settings = settings
        self._holder = holder
        self._metrics = metrics
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = group
        self._queues = queues
        self._coverage = coverage
        self._store_instruments = store_instruments
        self._database: tuple[Pool, Edition] | None = None  # None until it has answered

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return list(self._tasks.values())

    def start_feeds(self) -> None:
        """Start the feeds. They need no database."""
        for name, section in self._settings.exchanges.items():
            self._add_feed(name, section)

    def database_ready(self, pool: Pool, edition: Edition) -> None:
        """Start the sources that need the database, which has answered now."""
        self._database = pool, edition
        for name, section in self._settings.exchanges.items():
            self.feeds[name].reload(section)  # to store instruments whose ids were not known without the database
            self._add_gap_filler(name, section)
        for name, poller in self._settings.pollers.items():
            self._add_poller(name, poller)

    def reload(self, settings: Settings) -> None:
        """Start, end and change sources according to other settings."""
        before, self._settings = self._settings, settings
        for name in self.feeds.keys() - settings.exchanges.keys():
            self.feeds.pop(name), self.gap_fillers.pop(name, None)
            self._end(name), self._end(f"heal {name}")
        for name, section in settings.exchanges.items():
            if name in self._tasks and not self._tasks[name].done():
                self.feeds[name].reload(section)
                if name in self.gap_fillers:
                    self.gap_fillers[name].reload(section)
            else:
                self._add_feed(name, section)
                self._add_gap_filler(name, section)
        for name in self.pollers.keys() - settings.pollers.keys():
            self.pollers.pop(name)
            self._end(f"poll {name}")
        for name, poller in settings.pollers.items():
            if name not in self.pollers or poller != before.pollers.get(name) or self._tasks[f"poll {name}"].done():
                self._add_poller(name, poller)

    def claims(self, watermarks: Watermarks) -> list[Claim]:
        """The claims of all feeds: the time ranges that they cover, up to the watermarks."""
        return [claim for feed in self.feeds.values() for claim in feed.claims(watermarks)]

    def unready(self) -> list[str]:
        """Why no exchange is connected; empty if an exchange is connected or none is configured."""
        states = {name: feed.state for name, feed in self.feeds.items()}
        if not states or any(run.state in (State.OK, State.PARTIAL) for run in states.values()):
            return []
        failed = {name: run for name, run in states.items() if run.state is not State.CONNECTING}
        reasons = [f"{name}: {run if run.state is State.STOPPED else run.detail}" for name, run in failed.items()]
        return [f"no source is connected: {'; '.join(reasons) or 'all are connecting'}"]

    def status(self) -> dict[str, object]:
        """The status of all sources for `ingest status` and the page."""
        return {
            "sources": {name: feed.status() for name, feed in self.feeds.items()},
            "pollers": {name: poller.status() for name, poller in self.pollers.items()},
            "gaps": {name: gap_filler.status() for name, gap_filler in self.gap_fillers.items()},
        }

    # --- the tasks --------------------------------------------------------------------------------------------------------

    def _add_feed(self, name: str, section: ExchangeSection) -> None:
        feed = self.feeds[name] = ExchangeFeed(
            name,
            registry.exchanges()[section.protocol or name],
            section,
            writer=self._settings.name,
            puts={queue.table.record: queue.put for queue in self._queues.values()},
            store_instruments=self._store_instruments,
            on_gap=self._coverage.gap,
            on_malformed=self._coverage.malformed,
            metrics=self._metrics,
            make_recorder=recorder_of(self._settings, name, section, self._metrics),
        )
        self._start(name, feed)

    def _add_gap_filler(self, name: str, section: ExchangeSection) -> None:
        if self._database is None:
            return
        pool, edition = self._database
        exchange, counters = registry.exchanges()[section.protocol or name], self._metrics.counters

        def busy() -> bool:
            return any(queue.half_full for queue in self._queues.values())

        evidence = EvidenceSearch(
            name,
            exchange,
            self._settings.name,
            pool=pool,
            counters=counters,
            kept=self._settings.retention,
            busy=busy,
            on_gap=self._coverage.gap,
            retire_silent=self.feeds[name].retire_silent,
        )
        gap_filler = self.gap_fillers[name] = GapFiller(
            name,
            exchange,
            section,
            self._settings,
            pool=pool,
            edition=edition,
            counters=counters,
            busy=busy,
            evidence=evidence,
        )
        if self._settings.heal.enabled:
            self._start(f"heal {name}", gap_filler)

    def _add_poller(self, name: str, section: PollerSection) -> None:
        """Start a poller; it replaces a poller of the same name. Cursor and budget are in the database and stay."""
        if self._database is None:
            return
        module = registry.pollers()[name]
        self._metrics.preset_poller(name)
        task = ProviderTask(
            ProviderAccess(name, module, section),
            self._holder,
            pool=self._database[0],
            queues=self._queues,
            on_malformed=self._coverage.malformed,
            metrics=self._metrics,
        )
        is_streamed = isinstance(module, Streaming) and plan_name(module, section) in module.STREAMED
        poller = self.pollers[name] = ProviderStream(task) if is_streamed else Poller(task)
        self._start(f"poll {name}", poller)

    def _start(self, name: str, source: Source) -> None:
        self._tasks[name] = self._group.create_task(self._keep(name, source, self._end(name)))

    def _end(self, name: str) -> asyncio.Task[None] | None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
        return task

    async def _keep(self, name: str, source: Source, former: asyncio.Task[None] | None) -> None:
        """Run a source until cancelled, and restart it when it fails. It starts when `former`, its predecessor, has ended."""
        if former is not None:
            await asyncio.wait({former})
        backoff = Backoff(random.random)
        while True:
            started = time.monotonic()
            fault: BaseException = RuntimeError("the source ended without an error")
            try:
                await source.run()
            except Exception as error:
                fault = first(error)
            if is_cancelled():
                return
            if isinstance(fault, Stop):
                state = RunState(State.STOPPED, str(fault))
                source.report(state)
                log.error("%s: %s", name, state)
                self._metrics.counters.errors[name, "source", "Stop"] += 1
                return
            if not isinstance(fault, IngestError):
                log.error("%s: a defect, the source is restarted", name, exc_info=fault)
            else:
                log.warning("%s: %s", name, fault)
            self._metrics.counters.errors[name, "source", type(fault).__name__] += 1
            source.report(RunState(State.FAILING, str(fault)))
            if time.monotonic() - started > LONG_SECONDS:
                backoff.reset()
            await asyncio.sleep(max(backoff.next(), (fault.after or 0.0) if isinstance(fault, Retry) else 0.0))
