"""Whether a connection is alive, and whether its replacement is due: its silence, its age, the silence of subscriptions. Pure.

Silence and age are measured by the monotonic clock (seconds): after a change of the wall clock every connection would look dead.
Messages of a subscription have the time of the wall clock (microseconds), as the records have.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from ingest.protocol.exchange import ExchangeLimits
from ingest.transports.staleness import Verdict, Watch

LOOK_SECONDS = 1.0


class ConnectionHealth:
    """The health of a connection that opened at `now`. `chance` in [0, 1) spreads the ages at which connections are replaced."""

    def __init__(self, limits: ExchangeLimits, watch: Watch, now: float, chance: float) -> None:
        self._silence = limits.silence_seconds
        # up to a tenth earlier than the exchange's limit, so that connections opened together are not replaced together
        self._retire_at = math.inf if limits.life_seconds is None else now + limits.life_seconds * (1 - chance / 10)
        self._watch = watch
        self._messages = 0
        self._alive_at = now
        self._look_at = now

    def unread(self, now: float) -> None:
        """The socket was not read for a while, because a queue was full: silence counts from now on."""
        self._alive_at = now
        self._look_at = now + LOOK_SECONDS

    def silent(self, messages: int, now: float) -> bool:
        """Whether nothing was received for too long; `messages` is the count of frames, pings and others so far."""
        if messages != self._messages:
            self._messages, self._alive_at = messages, now
        return now - self._alive_at > self._silence

    def old(self, now: float) -> bool:
        """Whether a successor is due by age."""
        return now >= self._retire_at

    def look(self, last_message_at: Sequence[int], now: float, wall: int, refused: Collection[int] = ()) -> Verdict | None:
        """Judge the subscriptions except the refused ones, about once a second; None in between."""
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_SECONDS
        return self._watch.look(last_message_at, wall, refused)
