"""Whether a connection is alive, and whether its replacement is due: silence, age, stale subscriptions. Pure.

Silence and age are measured by the monotonic clock (seconds): after a change of the wall clock every connection would look dead.
The times of a subscription's messages are of the wall clock (microseconds), as in the records.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from ingest.protocol.exchange import ExchangeLimits
from ingest.transports.staleness import Verdict, Watch

CHECK_SECONDS = 1.0


class ConnectionHealth:
    """The health of a connection that opened at `now`. `chance` in [0, 1) spreads the ages at which connections are replaced."""

    def __init__(self, limits: ExchangeLimits, watch: Watch, now: float, chance: float) -> None:
        self._silence = limits.silence_seconds
        # up to a tenth before `life_seconds`, so that connections opened together are not replaced together
        self._retire_at = math.inf if limits.life_seconds is None else now + limits.life_seconds * (1 - chance / 10)
        self._watch = watch
        self._messages = 0
        self._alive_at = now
        self._check_at = now

    def unread(self, now: float) -> None:
        """The socket was not read, because a queue was full: silence counts from now on."""
        self._alive_at = now
        self._check_at = now + CHECK_SECONDS

    def silent(self, messages: int, now: float) -> bool:
        """Whether nothing was received for `silence_seconds`; `messages` is the number of frames, pings and others so far."""
        if messages != self._messages:
            self._messages, self._alive_at = messages, now
        return now - self._alive_at > self._silence

    def old(self, now: float) -> bool:
        """Whether a successor is due by age."""
        return now >= self._retire_at

    def check(self, last_message_at: Sequence[int], now: float, wall: int, refused: Collection[int] = ()) -> Verdict | None:
        """The verdict on the subscriptions except the refused ones, about once a second; None in between."""
        if now < self._check_at:
            return None
        self._check_at = now + CHECK_SECONDS
        return self._watch.check(last_message_at, wall, refused)
