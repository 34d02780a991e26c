"""The parts that the poller and the stream of a provider share: the lease `poll NAME`, the state, and the queues."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import aiohttp

from ingest.errors import Reject, Retry
from ingest.metrics import Metrics
from ingest.pipeline.table_queue import TableQueue
from ingest.polling.provider import PollOptions
from ingest.protocol.decode import Malformed
from ingest.records import Record
from ingest.sources.held_lease import HeldLease
from ingest.sources.provider_access import ProviderAccess
from ingest.sources.run_state import RunState, State
from ingest.store import sqlstate
from ingest.store.pool import Pool

log = logging.getLogger(__name__)


class ProviderTask:
    """One provider in this daemon. `queues` are by table; `holder` is this daemon's name as the holder of leases."""

    def __init__(
        self,
        access: ProviderAccess,
        holder: str,
        *,
        pool: Pool,
        queues: Mapping[str, TableQueue],
        on_malformed: Callable[[str, Malformed], None],
        metrics: Metrics,
    ) -> None:
        self.name = access.name
        self.access = access
        self.pool = pool
        self.metrics = metrics
        self.queues = [queues[table] for table in access.module.TABLES]
        self.lease = HeldLease(pool, f"poll {self.name}", holder)
        self.state = RunState(State.DISABLED, access.disabled) if access.disabled else RunState(State.WAITING)
        self._puts: dict[type, Callable[[Record], Awaitable[None] | None]] = {one.table.record: one.put for one in self.queues}
        self._on_malformed = on_malformed

    async def run(self, work: Callable[[aiohttp.ClientSession, PollOptions], Awaitable[None]]) -> None:
        """Run `work` until cancelled, then release the lease. A disabled provider only waits."""
        if self.access.disabled:
            log.warning("%s: disabled: %s", self.name, self.access.disabled)
            await asyncio.Event().wait()
        try:
            options = await self.access.options(self.pool)
            async with self.access.open_client() as client:
                await work(client, options)
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"poller {self.name}") from error
        finally:
            await self.lease.release()

    def report(self, state: RunState) -> None:
        """Show a state whose detail may repeat the key."""
        self.state = RunState(state.state, self.access.redacted(state.detail))

    def has_queue(self, record: object) -> bool:
        """Whether rows of this type are stored."""
        return type(record) in self._puts

    def put(self, record: Record) -> Awaitable[None] | None:
        """Put a row into the queue of its table. Where the queue is full, returns an awaitable that ends when there is room."""
        return self._puts[type(record)](record)

    def reject(self, malformed: Malformed) -> None:
        """Keep a part that could not be read in `rejects`, without the key."""
        self._on_malformed(self.name, self.access.redacted_element(malformed))

    def fail(self, error: Retry | Reject | str, state: State = State.FAILING) -> None:
        """Count and log a failure, and show it in the status, without the key."""
        kind = Retry if isinstance(error, str) else type(error)
        self.report(RunState(state, str(error)))
        self.metrics.counters.errors[self.name, "poll", kind.__name__] += 1
        log.warning("%s: %s", self.name, self.state)
