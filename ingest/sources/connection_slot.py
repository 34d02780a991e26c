"""Keeps the subscriptions of one connection alive while websockets end and are replaced.

Where possible a websocket is replaced before it ends (make-before-break): its successor delivers before it is closed, and the
unique keys remove the rows that both deliver. Otherwise each subscription has a gap from its last message until the next websocket
delivers.
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

OVERLAP_SECONDS = 3.0  # how long both websockets are open when one replaces the other
QUIET_SECONDS = 60.0  # a websocket that is open for so long counts as established, even without a message

log = logging.getLogger(__name__)


Stream = tuple[int, ChannelName]  # instrument id and channel


class OpenConnection(Struct):
    """A websocket with its session and the task that runs it; `since` is when it was opened, in microseconds."""

    websocket: WebSocketConnection
    session: Session
    connection: Connection
    since: int
    task: asyncio.Task[Ended | Retry]


class ReconnectingConnection:
    """One connection that is opened again whenever its websocket ends. `begin` makes each websocket and its session.

    `lost` has, for each subscription that no websocket delivers, the time in microseconds from which it is missing. It belongs to
    the feed, so that the gap is known even where a defect ended this object.
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
        """Whether the websocket is open now, or the error of the last attempt to connect."""
        opened = self._opened
        if opened is not None and opened.websocket.connected.is_set() and not opened.task.done():
            return RunState(State.OK)
        return RunState(State.FAILING, self._error) if self._error else RunState(State.CONNECTING)

    def replace(self, connection: Connection) -> None:
        """Change to another connection (other subscriptions or options), without a gap in the subscriptions that stay."""
        self.connection = connection
        self._changed.set()

    @property
    def refused(self) -> dict[Subscription, str]:
        """The reasons of the subscriptions that the exchange refuses at present."""
        if self._opened is None:
            return {}
        subscriptions = self._opened.connection.subscriptions
        return {subscriptions[index]: reason for index, reason in self._opened.session.refused.items()}

    @property
    def live(self) -> list[Subscription]:
        """The subscriptions that have sent a message on the open websocket and are not refused."""
        if self._opened is None or self.state.state is not State.OK:
            return []
        session, subscriptions = self._opened.session, self._opened.connection.subscriptions
        pairs = enumerate(zip(subscriptions, session.last_message_at, strict=True))
        return [each for index, (each, last_message_at) in pairs if last_message_at and index not in session.refused]

    def close(self) -> None:
        """Close the connection; frames that the exchange sent until then are still delivered."""
        self._closing = True
        self._changed.set()

    async def run(self) -> None:
        """Run until closed or cancelled."""
        backoff = Backoff(random.random)
        async with asyncio.TaskGroup() as group:
            while not self._closing:
                opened = self._opened = self._open(group)
                try:
                    if await self._is_established(opened):
                        backoff.reset()
                    opened = await self._replace_when_due(group, opened)
                finally:
                    if not self._closing:
                        self._mark_missing(self._opened)
                if not self._closing:
                    await self._pause(opened.task.result(), backoff)

    def _open(self, group: asyncio.TaskGroup) -> OpenConnection:
        self._changed.clear()
        connection = self.connection
        refused = self.refused
        known = {index: refused[wanted] for index, wanted in enumerate(connection.subscriptions) if wanted in refused}
        heeded_at = 0 if self._opened is None else self._opened.session.heeded_at
        websocket, session = self._begin(replace(connection, refused=known, heeded_at=heeded_at))
        return OpenConnection(websocket, session, connection, wall_clock(), group.create_task(_run(websocket)))

    async def _is_established(self, opened: OpenConnection) -> bool:
        """Wait for the first record, or for QUIET_SECONDS of an open websocket. False where it ended or was replaced before."""
        was_open = done = False
        while not (was_open or done or opened.websocket.delivering.is_set()):
            connected = opened.websocket.connected.is_set()  # connection attempts are rate limited
            done = await _wait_any(opened.task, opened.websocket.delivering, self._changed, seconds=QUIET_SECONDS)
            was_open = connected and not done
        if was_open or opened.websocket.delivering.is_set():
            self._report_gaps(opened)
            self._watch(Watch(opened.connection, opened.session, opened.websocket, opened.task, wall_clock()))
            return True
        return False

    async def _replace_when_due(self, group: asyncio.TaskGroup, opened: OpenConnection) -> OpenConnection:
        """Replace the websocket whenever that is due. Returns the first websocket that ended before its successor delivered."""
        backoff = Backoff(random.random)
        while True:
            if opened.connection is self.connection:  # else the configuration changed meanwhile: replace it at once
                await _wait_any(opened.task, opened.websocket.retiring, self._changed)
            if opened.task.done():
                return opened
            if self._closing:
                await _close(opened)
                return opened
            successor = self._open(group)
            established = await self._is_established(successor)
            if successor.task.done():  # the old one may still be open
                await self._pause(successor.task.result(), backoff)
            elif not established:  # the configuration changed again
                await _close(successor)
            else:
                backoff.reset()
                await self._hand_over(opened, successor)
                opened = self._opened = successor

    async def _hand_over(self, opened: OpenConnection, successor: OpenConnection) -> None:
        # the first record belongs to one subscription; the books of others may still wait for their snapshots
        await asyncio.wait({opened.task, successor.task}, timeout=OVERLAP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if opened.task.done():  # it ended before its successor delivered
            self._mark_missing(opened)
            self._report_gaps(successor)
        await _close(opened)

    async def _pause(self, ended: Ended | Retry, backoff: Backoff) -> None:
        wait = backoff.next()
        self._error = str(ended) if isinstance(ended, Retry) else ""
        if isinstance(ended, Retry):
            self._on_error(str(ended))
            wait = max(wait, ended.after or 0.0)
        with suppress(TimeoutError):  # a changed configuration ends the wait
            async with asyncio.timeout(wait):
                await self._changed.wait()

    def _mark_missing(self, opened: OpenConnection) -> None:
        if not opened.websocket.connected.is_set():
            return
        for subscription, last_message_at in zip(opened.connection.subscriptions, opened.session.last_message_at, strict=True):
            self._lost.setdefault((subscription.instrument.id, subscription.channel), last_message_at or opened.since)

    def _report_gaps(self, opened: OpenConnection) -> None:
        until = wall_clock()
        for subscription in opened.connection.subscriptions:
            since = self._lost.pop((subscription.instrument.id, subscription.channel), None)
            if since is not None:
                self._on_gap(Gap(subscription.instrument.id, subscription.channel, "disconnect", since, until))


async def _wait_any(task: asyncio.Task[Ended | Retry], *events: asyncio.Event, seconds: float | None = None) -> bool:
    """Wait until the task has ended or one of the events is set; False where `seconds` passed before."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait({task, *waits}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return bool(done)


async def _close(opened: OpenConnection) -> None:
    opened.websocket.close()
    await opened.task


async def _run(websocket: WebSocketConnection) -> Ended | Retry:
    try:
        return await websocket.run()
    except Retry as error:
        return error
