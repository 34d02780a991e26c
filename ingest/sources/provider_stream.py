"""One provider that tells by itself: listened to over a websocket, by one daemon, under the lease `poll NAME`.

Its connections live and are replaced as an exchange's; what is not said again while nobody listens is missing, and nobody knows of
it. The rule one would get wrong: who lost the lease must stop listening, or two daemons use up one key's connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import cast

import aiohttp

from ingest.config.sections import PollerSection
from ingest.errors import Retry, first
from ingest.metrics import Metrics
from ingest.pipeline.table_queue import TableQueue
from ingest.polling.provider import PollOptions, Provider
from ingest.polling.streaming import Streaming
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Rate
from ingest.protocol.session import Connection, Gap, Output, Refused, Session
from ingest.records import Record
from ingest.sources.connection_slot import ReconnectingConnection
from ingest.sources.coverage_claims import Watch
from ingest.sources.poller import LEASE_SECONDS, LOOK_SECONDS, STRUCK, options_of, plan_of
from ingest.store import sqlstate
from ingest.store.leases import acquire, release
from ingest.store.pool import Pool
from ingest.transports.client import open_client
from ingest.transports.http import Http
from ingest.transports.rate_limiter import RateLimiter
from ingest.transports.staleness import Staleness
from ingest.transports.websocket import WebSocketConnection

log = logging.getLogger(__name__)


class ProviderStream:
    """Keeps one provider listened to. `lanes` are by table; `holder` is who has the lease."""

    def __init__(
        self,
        name: str,
        module: Provider,
        section: PollerSection,
        holder: str,
        *,
        pool: Pool,
        lanes: Mapping[str, TableQueue],
        on_malformed: Callable[[str, Malformed], None],
        metrics: Metrics,
    ) -> None:
        assert isinstance(module, Streaming)
        self.name = name
        self.last_error = ""
        self._module: Streaming = module
        self._provider = module
        self._section = section
        self._lease = f"poll {name}"
        self._holder = holder
        self._pool = pool
        self._puts: dict[type, Callable[..., Awaitable[None] | None]] = {
            lanes[table].table.record: lanes[table].put for table in module.TABLES
        }
        self._on_malformed = on_malformed
        self._metrics = metrics
        self._gate = RateLimiter(module.LIMITS.connects)
        self._state = "waiting"
        self.plan, self.disabled = plan_of(module, section)

    def status(self) -> dict[str, object]:
        """What `ingest status` and the page show."""
        return {"state": f"disabled: {self.disabled}" if self.disabled else self._state, "last_error": self.last_error}

    async def run(self) -> None:
        """Until cancelled."""
        if self.disabled:
            log.warning("%s: disabled: %s", self.name, self.disabled)
            await asyncio.Event().wait()
        proxy = self._section.proxy.get_secret_value() if self._section.proxy else None
        try:
            options = await options_of(self.name, self._provider, self.plan, self._section, self._pool)
            async with open_client(proxy) as client:
                while True:
                    if await self._holds():
                        await self._listen(client, options)
                    self._state = "done by another daemon"
                    await asyncio.sleep(LOOK_SECONDS)
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"the lease of {self.name}") from error
        finally:
            with suppress(TimeoutError, *sqlstate.FOREIGN):
                async with asyncio.timeout(1), self._pool.acquire() as connection:
                    await release(connection, self._lease, self._holder)

    async def _holds(self) -> bool:
        async with self._pool.acquire() as connection:
            return await acquire(connection, self._lease, self._holder, LEASE_SECONDS)

    async def _still_holds(self) -> bool:
        """While the database is away nobody else can take the lease either, and what is heard waits in the lanes."""
        try:
            return await self._holds()
        except sqlstate.FOREIGN as error:
            log.warning("%s: %s", self.name, sqlstate.translate(error, f"the lease of {self.name}"))
            return True

    async def _listen(self, client: aiohttp.ClientSession, options: PollOptions) -> None:
        """Until the lease is another's."""

        def begin(connection: Connection) -> tuple[WebSocketConnection, Session]:
            session = self._module.session(options)
            return self._life(client, connection, session), session

        slot = ReconnectingConnection(
            self._module.connection(options),
            begin=begin,
            lost={},
            on_gap=_no_gap,
            on_error=self._fail,
            watch=self._stands,
        )
        self._state = "connecting"
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(slot.run())
                while not listening.done() and await self._still_holds():
                    await asyncio.wait({listening}, timeout=LOOK_SECONDS)
                slot.close()
        except ExceptionGroup as errors:
            raise first(errors) from errors

    def _life(self, client: aiohttp.ClientSession, connection: Connection, session: Session) -> WebSocketConnection:
        return WebSocketConnection(
            connection,
            session,
            manners=self._module.LIMITS,
            client=client,
            http=Http(client, rate=Rate(self.plan.per_minute, 60.0)),
            gate=self._gate,
            sink=self._sink,
            metrics=self._metrics,
            source=self.name,
            freshness=Staleness(),
        )

    def _sink(self, output: Output) -> Awaitable[None] | None:
        put = self._puts.get(type(output))
        if put is not None:
            self._state, self.last_error = "ok", ""
            return put(cast(Record, output))
        match output:
            case Malformed():
                self._on_malformed(self.name, output)
            case Refused():
                self._fail(output.message)
            case _:
                raise TypeError(f"{self.name}: no lane for a {type(output).__name__}")
        return None

    def _stands(self, _watch: Watch) -> None:
        self._state = "ok"

    def _fail(self, message: str) -> None:
        key = self._section.api_key.get_secret_value() if self._section.api_key else ""
        self.last_error = message.replace(key, STRUCK) if key else message
        self._state = f"failing: {self.last_error}"
        self._metrics.counters.errors["poll", Retry.__name__] += 1
        log.warning("%s: %s", self.name, self._state)


def _no_gap(gap: Gap) -> None:
    raise TypeError(f"a stream without subscriptions has no {gap}")
