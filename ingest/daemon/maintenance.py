"""The maintenance tasks: roll-ups of candles and sentiment, indicators, policies, retention, and the audit.

Each task has a lease, and the daemon that holds the lease does the work for the whole database. The tasks need `admin_dsn`, a
direct connection with the owner's rights. Without it the status shows them as disabled.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from msgspec import Struct

from ingest.daemon.maintenance_spec import MaintenanceSpec
from ingest.errors import IngestError
from ingest.metrics import Metrics
from ingest.sources.run_state import RunState, State
from ingest.store import bar_views, coverage, indicator_dirty_ranges, platforms, rejects, sqlstate
from ingest.store.audit import RecordedFinding, audit
from ingest.store.hourly_sentiment import roll_up_sentiment
from ingest.store.indicators import ComputeResult, compute
from ingest.store.leases import acquire, release
from ingest.store.policies import apply_retention, reconcile
from ingest.store.poll_state import delete_expired_native_ids
from ingest.store.pool import Connection, connect
from ingest.store.rollup import roll_up
from ingest.store.ts_edition import detect
from ingest.tables import CANDLES, INDICATORS
from ingest.transports.backoff import Backoff

LEASE_SECONDS = 30.0
ROLLUP_SECONDS = 1.0
INDICATORS_SECONDS = 1.0  # at most; a notification starts the task earlier
INDICATORS_BUDGET = 5.0  # seconds after which a run ends, so that the lease is renewed in time
SENTIMENT_SECONDS = 10.0
SENTIMENT_ROUNDS = 20  # per run, of a thousand hours each
POLICY_SECONDS = 600.0
AUDIT_SECONDS = 30.0
AUDIT_BUDGET = 1.0  # seconds after which a run ends; the next run continues
AUDIT_LOOKBACK = timedelta(hours=2)  # of all runs but those of the whole history
AUDIT_ALL_SECONDS = 600.0  # between two audits of the whole history, because gaps anywhere in it may have been filled
RUN_TIMEOUT = 600.0  # seconds; a statement on a dead connection would never return
RELEASE_SECONDS = 1.0

log = logging.getLogger(__name__)


class MaintenanceTask(Struct, frozen=True):
    """`run` is called every `interval` seconds while this daemon holds the lease `name`, and at once when `channel` is notified."""

    name: str
    interval: float
    run: Callable[[Connection], Awaitable[None]]
    channel: str | None = None


class Maintenance:
    """The tasks of one daemon. `holder` is its name in the leases; `dsn` is `admin_dsn`, and None disables the tasks."""

    def __init__(self, dsn: str | None, holder: str, spec: MaintenanceSpec, metrics: Metrics) -> None:
        self._dsn = dsn
        self._holder = holder
        self._spec = spec
        self._metrics = metrics
        self._tasks = (
            MaintenanceTask("rollup", ROLLUP_SECONDS, self._roll_up),
            MaintenanceTask("sentiment", SENTIMENT_SECONDS, self._roll_up_sentiment),
            MaintenanceTask("indicators", INDICATORS_SECONDS, self._compute_indicators, indicator_dirty_ranges.CHANNEL),
            MaintenanceTask("policies", POLICY_SECONDS, self._apply_policies),
            MaintenanceTask("audit", AUDIT_SECONDS, self._audit),
        )
        self._audit_all_at = 0.0
        self._due_now = {task.name: asyncio.Event() for task in self._tasks}
        initial = RunState(State.WAITING) if dsn else RunState(State.DISABLED, "database.admin_dsn is not set")
        self.states = {task.name: initial for task in self._tasks}

    def status(self) -> dict[str, object]:
        """The state of each task."""
        return {name: state.status() for name, state in self.states.items()}

    def reload(self, spec: MaintenanceSpec) -> None:
        """Use other settings from now on. Policies are reconciled at once."""
        self._spec = spec
        self._due_now["policies"].set()

    async def run(self) -> None:
        """Run the tasks until cancelled."""
        if self._dsn is None:
            log.warning("maintenance (%s) is disabled: database.admin_dsn is not set", ", ".join(self.states))
            return
        async with asyncio.TaskGroup() as group:
            for task in self._tasks:
                group.create_task(self._run_forever(self._dsn, task))

    async def _run_forever(self, dsn: str, task: MaintenanceTask) -> None:
        """Run one task on its own connection. After an error, wait and connect again."""
        backoff = Backoff(random.random)
        while True:
            try:
                connection = await connect(dsn, f"ingest {task.name}")
                try:
                    if task.channel is not None:
                        await connection.add_listener(task.channel, lambda *_: self._due_now[task.name].set())
                    await self._run_while_connected(connection, task, backoff)
                finally:
                    await self._release(connection, task)
            except (*sqlstate.FOREIGN, IngestError) as error:
                self._metrics.counters.errors["", "maintenance", type(error).__name__] += 1
                reason = error if isinstance(error, IngestError) else sqlstate.translate(error, "database.admin_dsn")
                self.states[task.name] = RunState(State.FAILING, str(reason))
                log.warning("maintenance %s: %s", task.name, reason)
            await asyncio.sleep(backoff.next())

    async def _run_while_connected(self, connection: Connection, task: MaintenanceTask, backoff: Backoff) -> None:
        due_at, due_now = 0.0, self._due_now[task.name]
        while True:
            is_due = time.monotonic() >= due_at or due_now.is_set()
            due_now.clear()
            async with asyncio.timeout(RUN_TIMEOUT):
                if not await acquire(connection, task.name, self._holder, LEASE_SECONDS):
                    self.states[task.name] = RunState(State.STANDBY, "another daemon holds the lease")
                elif is_due:
                    await task.run(connection)
                    due_at = time.monotonic() + task.interval
                    self.states[task.name] = RunState(State.OK)
                    backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(task.interval, LEASE_SECONDS / 3)):
                    await due_now.wait()

    async def _release(self, connection: Connection, task: MaintenanceTask) -> None:
        """Release the lease, so that another daemon need not wait until it expires."""
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await release(connection, task.name, self._holder)
                await connection.close()
        except sqlstate.FOREIGN:
            connection.terminate()

    # --- the tasks ----------------------------------------------------------------------------------------------------------

    async def _roll_up(self, connection: Connection) -> None:
        await roll_up(connection)

    async def _roll_up_sentiment(self, connection: Connection) -> None:
        for _ in range(SENTIMENT_ROUNDS):
            if not (await roll_up_sentiment(connection)).taken:
                break

    async def _compute_indicators(self, connection: Connection) -> None:
        end, done = time.monotonic() + INDICATORS_BUDGET, ComputeResult(taken=1)
        while done.taken:
            done = await compute(connection, self._spec.indicators)
            tally = self._metrics.counters.tallies[INDICATORS.name]
            tally.decoded += done.values
            tally.written += done.written
            tally.revised += done.revised
            tally.duplicate += done.values - done.written - done.revised
            if time.monotonic() > end:
                self._due_now["indicators"].set()
                return

    async def _apply_policies(self, connection: Connection) -> None:
        policies = self._spec.policies
        for change in await reconcile(connection, policies):
            log.info("policy: %s", change)
        if (await detect(connection)).edition == "apache":
            for chunk in await apply_retention(connection, policies):
                log.info("retention: dropped %s", chunk)
        await coverage.delete_expired(connection, policies.retention)
        await rejects.delete_expired(connection)
        await delete_expired_native_ids(connection, policies.retention)
        await platforms.delete_expired(connection, policies.retention)
        await platforms.move_newest(connection, policies.retention.get(CANDLES.name))
        for change in await platforms.reconcile(connection, self._spec.platforms):
            log.info("platform %s", change)
        await bar_views.switch(connection)

    async def _audit(self, connection: Connection) -> None:
        spec, is_whole = self._spec, time.monotonic() >= self._audit_all_at
        lookback = timedelta.max if is_whole else AUDIT_LOOKBACK
        done = await audit(connection, spec.completeness, spec.policies.retention, seconds=AUDIT_BUDGET, lookback=lookback)
        if is_whole and not done.more_due:
            self._audit_all_at = time.monotonic() + AUDIT_ALL_SECONDS
        for recorded in done.recorded:
            self._report_finding(recorded)

    def _report_finding(self, recorded: RecordedFinding) -> None:
        found = recorded.finding
        counter = self._metrics.audit_unresolved if recorded.unresolved else self._metrics.audit_findings
        counter.labels(found.target.source, found.channel, found.reason).inc()
        log.warning(
            "%s: audit of instrument %d at %s: %s%s",
            found.target.source,
            found.target.instrument_id,
            found.since.isoformat(),
            found.detail,
            "; the difference remains after the gap was filled" if recorded.unresolved else "",
        )
