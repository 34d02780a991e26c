"""The coverage claims of a feed: for each subscription, the time up to which every row has an outcome. Does no I/O.

The watermark of a channel is the time up to which everything received has an outcome. A claim ends at the watermark or at the last
activity of the connection, whichever is earlier, less a margin, because an event is received after it happened. A subscription that
sends nothing on a live connection still counts as covered.

While a reader waits for room in its queue the socket's buffer fills, and the frames that are read next are old. So nothing is
claimed until the reader has caught up, and the margin grows with the lateness of the rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from ingest.protocol.session import ChannelName, Connection, Session
from ingest.records import MINUTE, SECOND
from ingest.store.coverage import Claim
from ingest.transports.websocket import WebSocketConnection

MARGIN = 2 * SECOND  # the smallest margin between an event and the receipt of its frame
LATE = 1.5  # the margin as a multiple of the greatest lateness within the last ROUNDS
ROUNDS = 5  # calls of `take`, one a second
BLOCKED = 15 * SECOND  # the time for which a reader that waited for room (at most 10 s) may still deliver old frames

# by channel, in microseconds; 0 where the watermark is not known
Watermarks = Mapping[ChannelName, int]


class Watch(Struct):
    """A connection that delivers, and the time from which each of its subscriptions is covered (0: not yet), in microseconds."""

    connection: Connection
    session: Session
    websocket: WebSocketConnection
    task: asyncio.Future[Any]
    since: list[int] = field(default_factory=list)


class CoverageClaims:
    """The claims of one feed."""

    def __init__(self, source: str, writer: str) -> None:
        self._source = source
        self._writer = writer
        self._watches: list[Watch] = []
        self._late: deque[int] = deque([0], maxlen=ROUNDS)
        self._ahead = 0
        self._blocked = 0

    def watch(self, watch: Watch) -> None:
        """Add a connection that delivers from now on. `take` covers it until it has ended and all that it sent has an outcome."""
        watch.since = [0] * len(watch.connection.subscriptions)
        self._watches.append(watch)

    def late(self, micros: int) -> None:
        """Note that a row was received `micros` after its event; negative where the exchange's clock is ahead of the daemon's."""
        self._late[-1] = max(self._late[-1], micros)
        self._ahead = max(self._ahead, -micros)

    def blocked(self, now: int) -> None:
        """Note that a reader waits for room in its queue."""
        self._blocked = now

    def take(self, now: int, watermarks: Watermarks, trade_kind: str) -> Sequence[Claim]:
        """The claims at `now`, in microseconds. Called once a second."""
        margin = max(MARGIN, int(LATE * max(self._late)))
        self._late.append(0)
        if now - self._blocked < BLOCKED:
            return ()
        claims: list[Claim] = []
        for watch in list(self._watches):
            claims += self._claims(watch, margin, watermarks, trade_kind)
            if watch.task.done() and all(
                watermarks[subscription.channel] > watch.websocket.last_alive_at for subscription in watch.connection.subscriptions
            ):
                self._watches.remove(watch)
        return claims

    def _claims(self, watch: Watch, margin: int, watermarks: Watermarks, trade_kind: str) -> list[Claim]:
        claims = []
        for index, (subscription, last_message_at) in enumerate(
            zip(watch.connection.subscriptions, watch.session.last_message_at, strict=True)
        ):
            channel = subscription.channel
            until = min(watch.websocket.last_alive_at, watermarks[channel]) - margin
            if channel == "candles":  # a candle is sent, or requested, only after it closed
                until = min(until, last_message_at - margin) - MINUTE
                until -= until % MINUTE
            since = watch.since[index]
            if not since or watch.websocket.last_alive_at < since - MINUTE - BLOCKED:  # the clock was set back
                since = watch.since[index] = _begin(channel, last_message_at, self._ahead)
            if since and since < until:
                claims.append(Claim(self._source, self._writer, subscription.instrument.id, channel, trade_kind, since, until))
        return claims


def _begin(channel: ChannelName, last_message_at: int, ahead: int) -> int:
    """The start of a claim whose first message came at `last_message_at`; `ahead` is how far the exchange's clock is ahead."""
    if not last_message_at:
        return 0
    since = last_message_at + ahead
    return since + -since % MINUTE if channel == "candles" else since
