"""What must be done once for a database, by whichever daemon holds the lease: roll-ups, indicators, the mood of
each hour, policies, retention, bars, the audit.

They need `admin_dsn` (a direct connection with the owner's rights). Without it they show as disabled in the status, not skipped in
silence.
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
from ingest.store import bar_views, indicator_dirty_ranges, platforms, sqlstate
from ingest.store.audit import audit
from ingest.store.coverage import delete_expired
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
INDICATORS_SECONDS = 1.0  # where no notification came
INDICATORS_BUDGET = 5.0  # seconds of work in one round, about: the lease has to be prolonged
SENTIMENT_SECONDS = 10.0
SENTIMENT_ROUNDS = 20  # of a thousand hours each: what is left waits for the next
POLICY_SECONDS = 600.0
AUDIT_SECONDS = 30.0
AUDIT_BUDGET = 1.0  # seconds of work in one round, about: what is left waits for the next
AUDIT_BACK = timedelta(hours=2)  # what a round looks at
AUDIT_ALL_SECONDS = 600.0  # how often it looks all the way back: something may have been healed or filled there
WORK_SECONDS = 600.0  # a statement on a line that went dead would be waited for without end

log = logging.getLogger(__name__)


class Duty(Struct, frozen=True):
    """`work` is done every `seconds` while the lease of that name is ours, and at once when `channel` is notified."""

    name: str
    seconds: float
    work: Callable[[Connection], Awaitable[None]]
    channel: str | None = None


class Maintenance:
    """The duties of one daemon, `holder` of their leases."""

    def __init__(
        self,
        dsn: str | None,
        holder: str,
        wanted: MaintenanceSpec,
        metrics: Metrics,
    ) -> None:
        self._dsn = dsn
        self._holder = holder
        self._wanted = wanted
        self._metrics = metrics
        self._duties = (
            Duty("rollup", ROLLUP_SECONDS, self._roll_up),
            Duty("sentiment", SENTIMENT_SECONDS, self._sum_up),
            Duty("indicators", INDICATORS_SECONDS, self._compute, indicator_dirty_ranges.CHANNEL),
            Duty("policies", POLICY_SECONDS, self._keep_policies),
            Duty("audit", AUDIT_SECONDS, self._audit),
        )
        self._audit_all_at = 0.0
        self._changed = {duty.name: asyncio.Event() for duty in self._duties}
        self.state: dict[str, str] = {duty.name: "waiting" if dsn else "disabled: no database.admin_dsn" for duty in self._duties}

    def reload(self, wanted: MaintenanceSpec) -> None:
        """Something else is wanted; policies are reconciled at once."""
        self._wanted = wanted
        self._changed["policies"].set()

    async def run(self) -> None:
        """Until cancelled."""
        if self._dsn is None:
            log.warning("duties (%s) are disabled: database.admin_dsn is not set", ", ".join(self.state))
            return
        async with asyncio.TaskGroup() as group:
            for duty in self._duties:
                group.create_task(self._serve(self._dsn, duty))

    async def _serve(self, dsn: str, duty: Duty) -> None:
        backoff = Backoff(random.random)
        while True:
            try:
                connection = await connect(dsn, f"ingest {duty.name}")
                try:
                    if duty.channel is not None:
                        await connection.add_listener(duty.channel, lambda *_: self._changed[duty.name].set())
                    await self._attend(connection, duty, backoff)
                finally:
                    await self._leave(connection, duty)
            except (*sqlstate.FOREIGN, IngestError) as error:
                self._metrics.counters.errors["duty", type(error).__name__] += 1
                why = error if isinstance(error, IngestError) else sqlstate.translate(error, "database.admin_dsn")
                self.state[duty.name] = f"failing: {why}"
                log.warning("duty %s: %s", duty.name, why)
            await asyncio.sleep(backoff.next())

    async def _attend(self, connection: Connection, duty: Duty, backoff: Backoff) -> None:
        due, changed = 0.0, self._changed[duty.name]
        while True:
            wanted = time.monotonic() >= due or changed.is_set()
            changed.clear()
            async with asyncio.timeout(WORK_SECONDS):
                if not await acquire(connection, duty.name, self._holder, LEASE_SECONDS):
                    self.state[duty.name] = "done by another daemon"
                elif wanted:
                    await duty.work(connection)
                    due = time.monotonic() + duty.seconds
                    self.state[duty.name] = "ok"
                    backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(duty.seconds, LEASE_SECONDS / 3)):
                    await changed.wait()

    async def _leave(self, connection: Connection, duty: Duty) -> None:
        """Give the lease back, so that another daemon need not wait for its end."""
        try:
            async with asyncio.timeout(1):
                await release(connection, duty.name, self._holder)
                await connection.close()
        except sqlstate.FOREIGN:
            connection.terminate()

    async def _roll_up(self, connection: Connection) -> None:
        await roll_up(connection)

    async def _sum_up(self, connection: Connection) -> None:
        for _ in range(SENTIMENT_ROUNDS):
            if not (await roll_up_sentiment(connection)).taken:
                break

    async def _compute(self, connection: Connection) -> None:
        end, done = time.monotonic() + INDICATORS_BUDGET, ComputeResult(taken=1)
        while done.taken:
            done = await compute(connection, self._wanted.indicators)
            tally = self._metrics.counters.tallies[INDICATORS.name]
            tally.decoded += done.values
            tally.written += done.written
            tally.revised += done.revised
            tally.duplicate += done.values - done.written - done.revised
            if time.monotonic() > end:
                self._changed["indicators"].set()
                return

    async def _keep_policies(self, connection: Connection) -> None:
        for change in await reconcile(connection, self._wanted.policies):
            log.info("policy: %s", change)
        if (await detect(connection)).edition == "apache":
            for chunk in await apply_retention(connection, self._wanted.policies):
                log.info("retention: dropped %s", chunk)
        await delete_expired(connection, self._wanted.policies.retention)
        await delete_expired_native_ids(connection, self._wanted.policies.retention)
        await platforms.delete_expired(connection, self._wanted.policies.retention)
        await platforms.move_newest(connection, self._wanted.policies.retention.get(CANDLES.name))
        for change in await platforms.reconcile(connection, self._wanted.platforms):
            log.info("platform %s", change)
        await bar_views.switch(connection)

    async def _audit(self, connection: Connection) -> None:
        wanted, whole = self._wanted, time.monotonic() >= self._audit_all_at
        lookback = timedelta.max if whole else AUDIT_BACK
        done = await audit(connection, wanted.evidence, wanted.policies.retention, seconds=AUDIT_BUDGET, lookback=lookback)
        if whole and not done.more_due:
            self._audit_all_at = time.monotonic() + AUDIT_ALL_SECONDS
        for recorded in done.recorded:
            found = recorded.finding
            counter = self._metrics.audit_unresolved if recorded.unresolved else self._metrics.audit_findings
            counter.labels(found.target.source, found.channel, found.reason).inc()
            log.warning(
                "%s: audit of instrument %d at %s: %s%s",
                found.target.source,
                found.target.instrument_id,
                found.since.isoformat(),
                found.detail,
                ", after healing as well: it stays so" if recorded.unresolved else "",
            )
