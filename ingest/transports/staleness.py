"""Which subscriptions are stale, by the usual pauses between their messages. Pure: the time is an argument.

An exchange may acknowledge a subscription and send nothing on it, while other subscriptions of the connection get messages, so each
is watched by itself. A quiet market is not stale. A stale subscription causes one reconnect. If it stays silent, the longest pause
that is not stale doubles, on the next connections too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from ingest.protocol.session import ChannelName, Subscription
from ingest.records import MINUTE


class Verdict(Struct, frozen=True):
    """The number of stale subscriptions, and the indices of those that require a reconnect now."""

    stale: int
    reconnect: tuple[int, ...]


class Staleness:
    """The pauses of one source's subscriptions between their messages. All lengths of time are in microseconds.

    A subscription is stale after a pause above `floor` and above `factor` times the longest pause of the last `memory` to
    2 x `memory`; before its first message, after a pause above `first`.
    """

    def __init__(self, *, floor: int = MINUTE, factor: int = 4, first: int = 10 * MINUTE, memory: int = 12 * 60 * MINUTE) -> None:
        self.floor = floor
        self.factor = factor
        self.first = first
        self.memory = memory
        self._paces: dict[tuple[str, ChannelName], Pace] = {}

    def watch(self, subscriptions: Sequence[Subscription], now: int) -> Watch:
        """The watch of a connection that opened at `now`; its measured pauses are kept for the next connection."""
        return Watch([self._pace(subscription) for subscription in subscriptions], now)

    def _pace(self, subscription: Subscription) -> Pace:
        key = (subscription.instrument.symbol, subscription.channel)
        return self._paces.setdefault(key, Pace(self))


class Pace:
    """The pauses between the messages of one subscription, and the longest pause that is not stale."""

    def __init__(self, rules: Staleness) -> None:
        self._rules = rules
        self._longest = 0  # of the current period of `memory`
        self._before = 0  # of the period before
        self._period_began = 0
        self._has_messages = False
        self.reconnects = 0  # since the last message

    def add_message(self, pause: int, now: int) -> None:
        """A message arrived after `pause`."""
        if now - self._period_began > self._rules.memory:
            self._before, self._longest, self._period_began = self._longest, 0, now
        self._longest = max(self._longest, pause)
        self._has_messages = True
        self.reconnects = 0

    def patience(self) -> int:
        """The longest pause that is not stale, in microseconds."""
        rules = self._rules
        learned = max(rules.floor, rules.factor * max(self._longest, self._before)) if self._has_messages else rules.first
        return learned << self.reconnects


class Watch:
    """The subscriptions of one connection."""

    def __init__(self, paces: list[Pace], now: int) -> None:
        self._paces = paces
        self._last = [now] * len(paces)

    def check(self, last_message_at: Sequence[int], now: int, refused: Collection[int] = ()) -> Verdict:
        """The verdict on `Session.last_message_at` (0 before the first message) at `now`. Called about once a second.

        A reconnect does not help a refused subscription, so its silence counts from its acceptance.
        """
        stale = 0
        reconnect = []
        for index, pace in enumerate(self._paces):
            if index in refused:
                self._last[index] = now
                continue
            last = self._last[index]
            if last_message_at[index] > last:
                pace.add_message(last_message_at[index] - last, now)
                last = self._last[index] = last_message_at[index]
            if now - last > pace.patience():
                pace.reconnects += 1
                reconnect.append(index)
            stale += pace.reconnects > 0
        return Verdict(stale, tuple(reconnect))
