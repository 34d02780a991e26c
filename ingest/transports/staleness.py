"""Which subscriptions fell silent, each judged by its own pace; pure, the time is passed in.

An exchange may acknowledge a subscription and never send on it while its neighbours on the same connection speak, so each is
watched by itself. The rule that is easily broken: silence of a quiet market is no fault. A subscription asks for one reconnect;
if that does not make it speak, its patience doubles, and that outlives the connection.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from ingest.protocol.session import ChannelName, Subscription
from ingest.records import MINUTE


class Verdict(Struct, frozen=True):
    """What one look found: how many subscriptions are stale, and those (by index) for which a reconnect is asked now."""

    stale: int
    reconnect: tuple[int, ...]


class Staleness:
    """The paces of one source's subscriptions, learned from the pauses between messages. All lengths in microseconds.

    A pause above `factor` times the longest one of the last `memory` to 2 x `memory`, and above `floor`, is staleness. Before
    its first message a subscription is given `first`.
    """

    def __init__(self, *, floor: int = MINUTE, factor: int = 4, first: int = 10 * MINUTE, memory: int = 12 * 60 * MINUTE) -> None:
        self.floor = floor
        self.factor = factor
        self.first = first
        self.memory = memory
        self._paces: dict[tuple[str, ChannelName], Pace] = {}

    def watch(self, subscriptions: Sequence[Subscription], now: int) -> Watch:
        """The watch of one connection that opened at `now`; what it learns is kept for the next one."""
        return Watch([self._pace(subscription) for subscription in subscriptions], now)

    def _pace(self, subscription: Subscription) -> Pace:
        key = (subscription.instrument.symbol, subscription.channel)
        return self._paces.setdefault(key, Pace(self))


class Pace:
    """How long one subscription may be silent."""

    def __init__(self, rules: Staleness) -> None:
        self._rules = rules
        self._longest = 0  # of the current stretch of memory
        self._before = 0  # of the one before
        self._turned = 0  # when the current stretch began
        self._spoke = False
        self.reconnects = 0  # in vain so far

    def last_message_at(self, pause: int, now: int) -> None:
        """It spoke at last, after `pause`."""
        if now - self._turned > self._rules.memory:
            self._before, self._longest, self._turned = self._longest, 0, now
        self._longest = max(self._longest, pause)
        self._spoke = True
        self.reconnects = 0

    def patience(self) -> int:
        rules = self._rules
        learned = max(rules.floor, rules.factor * max(self._longest, self._before)) if self._spoke else rules.first
        return learned << self.reconnects


class Watch:
    """The subscriptions of one connection."""

    def __init__(self, paces: list[Pace], now: int) -> None:
        self._paces = paces
        self._heard = [now] * len(paces)

    def look(self, last_message_at: Sequence[int], now: int, refused: Collection[int] = ()) -> Verdict:
        """Judge `Session.heard` (0 for never on this connection) at `now`. To be called about once a second.

        A refused subscription is silent for a reason that no other connection mends: its patience begins when it is accepted.
        """
        stale = 0
        reconnect = []
        for index, pace in enumerate(self._paces):
            if index in refused:
                self._heard[index] = now
                continue
            last = self._heard[index]
            if last_message_at[index] > last:
                pace.last_message_at(last_message_at[index] - last, now)
                last = self._heard[index] = last_message_at[index]
            if now - last > pace.patience():
                pace.reconnects += 1
                reconnect.append(index)
            stale += pace.reconnects > 0
        return Verdict(stale, tuple(reconnect))
