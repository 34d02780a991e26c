"""The coverage claims of a feed: for each subscription, the time up to which every row has an outcome. Does no I/O.

The watermark of a channel is the time up to which everything received has an outcome. A claim ends at the watermark or at the last
activity of the connection, whichever is earlier, less a margin, because an event is received after it happened.

A subscription is `covered` up to its last message if its messages show that none before them was missed (`CompletenessRules`).
The time after that message, or all of it if the messages show nothing, is `unverifiable`: a connection may live while one of its
subscriptions is dead. Both claims begin at a fixed time, and the covered one counts where they overlap, so the next message only
extends the covered claim over the silence. An unverifiable claim is not made for a silence of at most `QUIET`, so of a busy
subscription only the covered claim is extended, of a silent one only the other.

While a reader waits for room in its queue the socket's buffer fills, and the frames that are read next are old. So nothing is
claimed until the reader has caught up, and the margin grows with the lateness of the rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from msgspec import Struct, field

from ingest.protocol.exchange import CompletenessRules
from ingest.protocol.session import ChannelName, Connection, Session
from ingest.records import MINUTE, SECOND
from ingest.store.coverage import Claim, ClaimState
from ingest.transports.websocket import WebSocketConnection

MARGIN = 2 * SECOND  # the smallest margin between an event and the receipt of its frame
LATE = 1.5  # the margin as a multiple of the greatest lateness within the last ROUNDS
ROUNDS = 5  # calls of `take`, one a second
BLOCKED = 15 * SECOND  # the time for which a reader that waited for room (at most 10 s) may still deliver old frames
QUIET = 5 * SECOND  # a longer silence is claimed as unverifiable
HISTORIC: tuple[ChannelName, ...] = ("trades", "candles")  # these are claimed without a message: history shows what they missed

# by channel, in microseconds; 0 where the watermark is not known
Watermarks = Mapping[ChannelName, int]

log = logging.getLogger(__name__)


class Watched(Struct):
    """The claims of one subscription of a connection: when they begin and end, in microseconds; 0: not yet."""

    since: int = 0
    first: int = 0  # the covered claim begins with the first message
    until: dict[ClaimState, int] = {}  # what `take` has returned
    refused_at: int = 0

    def begin(self, channel: ChannelName, since: int, last_message_at: int, now: int, ahead: int) -> None:
        """Begin with the first message. If there is none within QUIET, trades and candles begin at `since`."""
        if last_message_at > self.refused_at:
            self.first = begin_of(channel, last_message_at + ahead)
            self.since = self.since or self.first
        elif not self.since and channel in HISTORIC and now - since > QUIET:
            self.since = begin_of(channel, since + ahead)

    def changed(
        self, channel: ChannelName, received: int, evidence: int, *, margin: int, ended: bool
    ) -> Iterator[tuple[ClaimState, int, int]]:
        """(state, since, until) of the claims whose end has changed, at the end of the connection with its last silence.

        Everything before `received` has an outcome, and the messages show that nothing before `evidence` was missed.
        """
        if self._change("covered", self.first, end_of(channel, evidence - margin)):
            yield "covered", self.first, self.until["covered"]
        late = self.until.get("unverifiable", self.since) < self.first  # the time before a late first message
        silent = received - evidence > QUIET or ended or late
        if silent and self._change("unverifiable", self.since, end_of(channel, received - margin)):
            yield "unverifiable", self.since, self.until["unverifiable"]

    def _change(self, state: ClaimState, since: int, until: int) -> bool:
        """Note the end of a claim that has begun; returns whether it is another one. It is earlier after the clock was set back."""
        changed = 0 < since < until != self.until.get(state)
        if changed:
            self.until[state] = until
        return changed


class Watch(Struct):
    """A connection that delivers since `since`, in microseconds, and the claims of its subscriptions."""

    connection: Connection
    session: Session
    websocket: WebSocketConnection
    task: asyncio.Future[Any]
    since: int
    watched: list[Watched] = field(default_factory=list)


class CoverageClaims:
    """The claims of one feed."""

    def __init__(self, source: str, writer: str, rules: CompletenessRules) -> None:
        self._source = source
        self._writer = writer
        self._rules = rules
        self._watches: list[Watch] = []
        self._late: deque[int] = deque([0], maxlen=ROUNDS)
        self._ahead = 0
        self._blocked = 0
        self.unverified: Counter[ChannelName] = Counter()  # subscriptions whose present end is unverifiable

    def watch(self, watch: Watch) -> None:
        """Add a connection that delivers from now on. `take` claims it until it has ended and all that it sent has an outcome."""
        watch.watched = [Watched() for _ in watch.connection.subscriptions]
        self._watches.append(watch)

    def late(self, micros: int) -> None:
        """Note that a row was received `micros` after its event; negative where the exchange's clock is ahead of the daemon's."""
        self._late[-1] = max(self._late[-1], micros)
        self._ahead = max(self._ahead, -micros)

    def blocked(self, now: int) -> None:
        """Note that a reader waits for room in its queue."""
        self._blocked = now

    def take(self, now: int, watermarks: Watermarks, trade_kind: str) -> Sequence[Claim]:
        """The claims at `now`, in microseconds, whose end has changed. Called once a second."""
        margin = max(MARGIN, int(LATE * max(self._late)))
        self._late.append(0)
        if now - self._blocked < BLOCKED:
            return ()
        self.unverified.clear()
        known = {channel for channel in get_args(ChannelName) if self._rules.has_evidence(channel, trade_kind)}
        claims: list[Claim] = []
        for watch in list(self._watches):
            for index in range(len(watch.watched)):
                subscription, watched = watch.connection.subscriptions[index], self._begun(watch, index, now)
                if watched is None:
                    continue
                channel, ended = subscription.channel, watch.task.done()
                received = min(watch.websocket.last_alive_at, watermarks[channel])
                last_message_at = watch.session.last_message_at[index]
                if channel not in known or last_message_at > watch.websocket.last_alive_at + BLOCKED:  # the clock was set back
                    last_message_at = 0
                evidence = min(received, last_message_at)
                if received - evidence > QUIET and not ended:
                    self.unverified[channel] += 1
                for state, since, until in watched.changed(channel, received, evidence, margin=margin, ended=ended):
                    key = self._source, self._writer, subscription.instrument.id, channel, trade_kind
                    claims.append(Claim(*key, since, until, state=state))
            if watch.task.done() and all(
                watermarks[subscription.channel] > watch.websocket.last_alive_at for subscription in watch.connection.subscriptions
            ):
                self._watches.remove(watch)
        return claims

    def retire_silent(self, instrument_id: int, channel: ChannelName, event_at: int) -> bool:
        """Replace the connection of a subscription that did not send an event of the exchange's history. False if there is none."""
        margin = MARGIN + self._ahead
        for watch in self._watches:
            if watch.task.done() or watch.websocket.retiring.is_set():
                continue
            for subscription, last in zip(watch.connection.subscriptions, watch.session.last_message_at, strict=True):
                is_it = (subscription.instrument.id, subscription.channel) == (instrument_id, channel)
                if is_it and event_at > max(last, watch.since) + margin:
                    symbol = subscription.instrument.symbol
                    log.warning(
                        "%s: %s of %s sends nothing, but the exchange has newer rows: reconnecting", self._source, channel, symbol
                    )
                    watch.websocket.retiring.set()
                    return True
        return False

    def _begun(self, watch: Watch, index: int, now: int) -> Watched | None:
        """The claims of one subscription, None if the exchange refuses it at present."""
        channel, watched = watch.connection.subscriptions[index].channel, watch.watched[index]
        if index in watch.session.refused:
            watch.watched[index] = Watched(refused_at=now)
            return None
        if watch.websocket.last_alive_at < watched.since - MINUTE - BLOCKED:  # the clock was set back
            watched = watch.watched[index] = Watched()
        if not watched.first:
            since = max(watch.since, watched.refused_at)
            watched.begin(channel, since, watch.session.last_message_at[index], now, self._ahead)
        return watched


def begin_of(channel: ChannelName, time: int) -> int:
    """The start of a claim that begins with an event at `time`."""
    return time + -time % MINUTE if channel == "candles" else time


def end_of(channel: ChannelName, time: int) -> int:
    """The end of a claim if everything that happened before `time` is received. A candle is sent only after it has closed."""
    return (time - MINUTE) // MINUTE * MINUTE if channel == "candles" else time
