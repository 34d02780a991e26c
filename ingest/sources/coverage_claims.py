"""What a feed vouches for: for each stream of each connection, up to when everything that was said has an outcome.

Rows carry no marks for this. A lane knows when its oldest row was received, and everything that came earlier has an outcome; so a
claim ends at that moment, or at the last sign of life of its connection where the lane is empty, less a margin: what happened is
received later than it happened. A silent stream on a live connection advances all the same.
The rule one would get wrong: while a reader waits for room the socket fills up, and what is received next happened long ago. Until
that is surely over, and as far back as rows are seen to be late, nothing is claimed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, field

from ingest.protocol.session import Channel, Connection, Session
from ingest.records import MINUTE, SECOND
from ingest.store.coverage import Claim
from ingest.transports.websocket import WebSocketConnection

MARGIN = 2 * SECOND  # between an event and its frame, at least
LATE = 1.5  # times the latest row that was seen of late
ROUNDS = 5  # how many rounds, of a second, "of late" is
BLOCKED = 15 * SECOND  # after a reader waited for room (at most 10 s), so long until it has surely caught up

Settled = Callable[
    [Channel], int
]  # up to when what was received of a channel has an outcome, in microseconds; 0 while that is unknown


class Watch(Struct):
    """A life that delivers, and since when each of its streams does (0: not yet), in microseconds."""

    connection: Connection
    session: Session
    life: WebSocketConnection
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
        """From now on this life delivers. Until it has ended, and what it said has an outcome, it is heard of in `take`."""
        watch.since = [0] * len(watch.connection.subscriptions)
        self._watches.append(watch)

    def late(self, micros: int) -> None:
        """A row was received so long after it happened; before it happened, where a clock is wrong."""
        self._late[-1] = max(self._late[-1], micros)
        self._ahead = max(self._ahead, -micros)

    def blocked(self, now: int) -> None:
        """A reader has to wait for room."""
        self._blocked = now

    def take(self, now: int, settled: Settled, trade_kind: str) -> Sequence[Claim]:
        """What can be claimed by `now`. Called once a second."""
        margin = max(MARGIN, int(LATE * max(self._late)))
        self._late.append(0)
        if now - self._blocked < BLOCKED:
            return ()
        claims: list[Claim] = []
        for watch in list(self._watches):
            claims += self._claims(watch, margin, settled, trade_kind)
            if watch.task.done() and all(settled(one.channel) > watch.life.sign for one in watch.connection.subscriptions):
                self._watches.remove(watch)
        return claims

    def _claims(self, watch: Watch, margin: int, settled: Settled, trade_kind: str) -> list[Claim]:
        claims = []
        for index, (subscription, last_message_at) in enumerate(
            zip(watch.connection.subscriptions, watch.session.last_message_at, strict=True)
        ):
            channel = subscription.channel
            until = min(watch.life.sign, settled(channel)) - margin
            if channel == "candles":  # a bar is said after it closed, and where nobody streams bars it is asked for
                until = min(until, last_message_at - margin) - MINUTE
                until -= until % MINUTE
            since = watch.since[index]
            if not since or watch.life.sign < since - MINUTE - BLOCKED:  # the clock was set back
                since = watch.since[index] = _begin(channel, last_message_at, self._ahead)
            if since and since < until:
                claims.append(Claim(self._source, self._writer, subscription.instrument.id, channel, trade_kind, since, until))
        return claims


def _begin(channel: Channel, last_message_at: int, ahead: int) -> int:
    """Since when a stream is vouched for that was heard first at `heard`, of an exchange whose clock is ahead of ours."""
    if not last_message_at:
        return 0
    since = last_message_at + ahead
    return since + -since % MINUTE if channel == "candles" else since
