"""One connection's worth of subscriptions, kept alive while lives come and go.

Where it is possible a connection is replaced before it ends (make-before-break): the successor delivers before the old one is
closed, and the unique keys remove what both said. Where it is not, the hole is a gap in each of the subscriptions: from the last
time that it spoke until the next life delivers.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import Retry
from ingest.protocol.session import ChannelName, Connection, Gap, Session, Subscription
from ingest.sources.coverage_claims import Watch
from ingest.sources.run_state import RunState, State
from ingest.transports.backoff import Backoff
from ingest.transports.websocket import Ended, WebSocketConnection, wall_clock

OVERLAP_SECONDS = 3.0  # how long both speak when one replaces the other
QUIET_SECONDS = 60.0  # a connection that stood for so long is taken as good though nothing was said on it

log = logging.getLogger(__name__)


Stream = tuple[int, ChannelName]  # instrument id and channel


class OpenConnection(Struct):
    """A life with its session and the task that runs it."""

    life: WebSocketConnection
    session: Session
    connection: Connection
    since: int
    task: asyncio.Task[Ended | Retry]


class ReconnectingConnection:
    """`begin` makes a life for a connection; it is asked again for each new one.

    `lost` says since when each stream is missing that no life delivers, in microseconds. It is the feed's, so that a hole is known
    even where a defect ended the slot.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        begin: Callable[[Connection], tuple[WebSocketConnection, Session]],
        lost: dict[Stream, int],
        on_gap: Callable[[Gap], None],
        on_error: Callable[[str], None],
        watch: Callable[[Watch], None],
    ) -> None:
        self.connection = connection
        self._begin = begin
        self._lost = lost
        self._on_gap = on_gap
        self._on_error = on_error
        self._watch = watch
        self._changed = asyncio.Event()
        self._closing = False
        self._error = ""  # of the last attempt to connect
        self._opened: OpenConnection | None = None

    @property
    def state(self) -> RunState:
        """Whether the websocket is open now, or what its last attempt failed with."""
        opened = self._opened
        if opened is not None and opened.life.connected.is_set() and not opened.task.done():
            return RunState(State.OK)
        return RunState(State.FAILING, self._error) if self._error else RunState(State.CONNECTING)

    def replace(self, connection: Connection) -> None:
        """Go over to a new connection (other subscriptions or options), without a hole in the subscriptions that stay."""
        self.connection = connection
        self._changed.set()

    @property
    def refused(self) -> dict[Subscription, str]:
        """The subscriptions that the exchange refuses at present -> the reason."""
        if self._opened is None:
            return {}
        subscriptions = self._opened.connection.subscriptions
        return {subscriptions[index]: reason for index, reason in self._opened.session.refused.items()}

    def close(self) -> None:
        """End the slot; what the exchange sent until then is still delivered."""
        self._closing = True
        self._changed.set()

    async def run(self) -> None:
        """Until closed or cancelled."""
        backoff = Backoff(random.random)
        async with asyncio.TaskGroup() as group:
            while not self._closing:
                opened = self._opened = self._open(group)
                try:
                    if await self._is_good(opened):
                        backoff.reset()
                    opened = await self._succeed(group, opened)
                finally:
                    if not self._closing:
                        self._lose(self._opened)
                if not self._closing:
                    await self._pause(opened.task.result(), backoff)

    def _open(self, group: asyncio.TaskGroup) -> OpenConnection:
        self._changed.clear()
        connection = self.connection
        refused = self.refused
        known = {index: refused[one] for index, one in enumerate(connection.subscriptions) if one in refused}
        life, session = self._begin(replace(connection, refused=known))
        return OpenConnection(life, session, connection, wall_clock(), group.create_task(_live(life)))

    async def _is_good(self, opened: OpenConnection) -> bool:
        """Wait for its first record, or until it stood for `QUIET_SECONDS`. False when it ended, or all was changed, before."""
        stood = done = False
        while not (stood or done or opened.life.delivering.is_set()):
            connected = opened.life.connected.is_set()  # it may have to wait for its turn to connect
            done = await _any(opened.task, opened.life.delivering, self._changed, seconds=QUIET_SECONDS)
            stood = connected and not done
        if stood or opened.life.delivering.is_set():
            self._find(opened)
            self._watch(Watch(opened.connection, opened.session, opened.life, opened.task))
            return True
        return False

    async def _succeed(self, group: asyncio.TaskGroup, opened: OpenConnection) -> OpenConnection:
        """Replace lives by successors as they fall due, until one has ended before its successor was there: that one."""
        backoff = Backoff(random.random)
        while True:
            if opened.connection is self.connection:  # else a change waits that its successor did not live to see
                await _any(opened.task, opened.life.retiring, self._changed)
            if opened.task.done():
                return opened
            if self._closing:
                await _close(opened)
                return opened
            successor = self._open(group)
            good = await self._is_good(successor)
            if successor.task.done():  # the old one may well live on
                await self._pause(successor.task.result(), backoff)
            elif not good:  # the configuration changed once more
                await _close(successor)
            else:
                backoff.reset()
                await self._hand_over(opened, successor)
                opened = self._opened = successor

    async def _hand_over(self, opened: OpenConnection, successor: OpenConnection) -> None:
        # the first record is of one stream; the others' books may still wait for their snapshots
        await asyncio.wait({opened.task, successor.task}, timeout=OVERLAP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if opened.task.done():  # it did not live to see its successor deliver
            self._lose(opened)
            self._find(successor)
        await _close(opened)

    async def _pause(self, ended: Ended | Retry, backoff: Backoff) -> None:
        wait = backoff.next()
        self._error = str(ended) if isinstance(ended, Retry) else ""
        if isinstance(ended, Retry):
            self._on_error(str(ended))
            wait = max(wait, ended.after or 0.0)
        with suppress(TimeoutError):  # a changed configuration is tried at once: it may be what mends it
            async with asyncio.timeout(wait):
                await self._changed.wait()

    def _lose(self, opened: OpenConnection) -> None:
        if not opened.life.connected.is_set():
            return
        for subscription, last_message_at in zip(opened.connection.subscriptions, opened.session.last_message_at, strict=True):
            self._lost.setdefault((subscription.instrument.id, subscription.channel), last_message_at or opened.since)

    def _find(self, opened: OpenConnection) -> None:
        until = wall_clock()
        for subscription in opened.connection.subscriptions:
            since = self._lost.pop((subscription.instrument.id, subscription.channel), None)
            if since is not None:
                self._on_gap(Gap(subscription.instrument.id, subscription.channel, "disconnect", since, until))


async def _any(task: asyncio.Task[Ended | Retry], *events: asyncio.Event, seconds: float | None = None) -> bool:
    """Wait until the task has ended or one of the events is set; False when `seconds` have passed before."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait({task, *waits}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return bool(done)


async def _close(opened: OpenConnection) -> None:
    opened.life.close()
    await opened.task


async def _live(life: WebSocketConnection) -> Ended | Retry:
    try:
        return await life.run()
    except Retry as error:
        return error
