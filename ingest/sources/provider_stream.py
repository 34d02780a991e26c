"""Reads one provider over a websocket while this daemon holds the lease `poll NAME`.

Connections are opened and replaced as those of an exchange. Data that the provider sends while no daemon is connected is lost: it
is not sent again, and no gap is recorded. A daemon that loses the lease closes its connection, because a key allows only a few.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import cast

import aiohttp

from ingest.errors import first
from ingest.polling.provider import PollOptions, Streaming
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Rate
from ingest.protocol.session import Connection, Gap, Output, Refused, Session
from ingest.records import Record
from ingest.sources.connection_slot import ReconnectingConnection
from ingest.sources.coverage_claims import Watch
from ingest.sources.held_lease import RENEW_SECONDS
from ingest.sources.provider_task import ProviderTask
from ingest.sources.run_state import RunState, State
from ingest.store import sqlstate
from ingest.transports.http import Http
from ingest.transports.rate_limiter import RateLimiter
from ingest.transports.staleness import Staleness
from ingest.transports.websocket import WebSocketConnection

OK = RunState(State.OK)

log = logging.getLogger(__name__)


class ProviderStream:
    """Reads one provider over a websocket. The module of `task` must be a `Streaming`."""

    def __init__(self, task: ProviderTask) -> None:
        assert isinstance(task.access.module, Streaming)
        self.name = task.name
        self._task = task
        self._module: Streaming = task.access.module
        self._limiter = RateLimiter(self._module.LIMITS.connects)

    def status(self) -> dict[str, object]:
        """The status of this stream, for `ingest status` and the status page."""
        return self._task.state.status()

    def report(self, state: RunState) -> None:
        """Show why `run` ended."""
        self._task.report(state)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._task.run(self._stream)

    async def _stream(self, client: aiohttp.ClientSession, options: PollOptions) -> None:
        while True:
            if await self._task.lease.acquire():
                await self._read(client, options)
            self._task.state = RunState(State.STANDBY)
            await asyncio.sleep(RENEW_SECONDS)

    async def _read(self, client: aiohttp.ClientSession, options: PollOptions) -> None:
        """Read until another daemon takes the lease."""

        def begin(connection: Connection) -> tuple[WebSocketConnection, Session]:
            session = self._module.session(options)
            return self._websocket(client, connection, session), session

        connection = ReconnectingConnection(
            self._module.connection(options),
            begin=begin,
            lost={},
            on_gap=_no_gap,
            on_error=self._task.fail,
            watch=self._established,
        )
        self._task.state = RunState(State.CONNECTING)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(connection.run())
                while not reading.done() and await self._renew_lease():
                    await asyncio.wait({reading}, timeout=RENEW_SECONDS)
                connection.close()
        except ExceptionGroup as errors:
            raise first(errors) from errors

    async def _renew_lease(self) -> bool:
        """Whether to continue. While the database is away no other daemon can take the lease, and rows wait in their queues."""
        try:
            return await self._task.lease.acquire()
        except sqlstate.FOREIGN as error:
            log.warning("%s: %s", self.name, sqlstate.translate(error, f"the lease of {self.name}"))
            return True

    def _websocket(self, client: aiohttp.ClientSession, connection: Connection, session: Session) -> WebSocketConnection:
        return WebSocketConnection(
            connection,
            session,
            limits=self._module.LIMITS,
            client=client,
            http=Http(client, rate=Rate(self._task.access.plan.per_minute, 60.0)),
            limiter=self._limiter,
            sink=self._sink,
            metrics=self._task.metrics,
            source=self.name,
            staleness=Staleness(),
        )

    def _sink(self, output: Output) -> Awaitable[None] | None:
        if self._task.has_queue(output):
            self._task.state = OK
            return self._task.put(cast(Record, output))
        match output:
            case Malformed():
                self._task.reject(output)
            case Refused():
                self._task.fail(output.message)
            case _:
                raise TypeError(f"{self.name}: no queue for a {type(output).__name__}")
        return None

    def _established(self, _watch: Watch) -> None:
        self._task.state = OK


def _no_gap(gap: Gap) -> None:
    raise TypeError(f"a stream without subscriptions cannot have a gap: {gap}")
