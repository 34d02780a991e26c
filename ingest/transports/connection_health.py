"""Whether one connection is alive and young: its silence, its age, and the silence of each subscription. Pure.

Silence and age are measured on the monotonic clock (seconds), because a wall clock that is set would kill every connection at once;
what a subscription said is stamped on the wall clock (microseconds), like the records.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from ingest.protocol.exchange import ExchangeLimits
from ingest.transports.staleness import Verdict, Watch

LOOK_SECONDS = 1.0


class ConnectionHealth:
    """The signs of life of one connection that opened at `now`. `chance` in [0, 1) spreads the ages at which such are replaced."""

    def __init__(self, manners: ExchangeLimits, watch: Watch, now: float, chance: float) -> None:
        self._silence = manners.silence_seconds
        # up to a tenth earlier than the exchange's limit, so that connections opened together are not replaced together
        self._retire_at = math.inf if manners.life_seconds is None else now + manners.life_seconds * (1 - chance / 10)
        self._watch = watch
        self._signs = 0
        self._alive_at = now
        self._look_at = now

    def unread(self, now: float) -> None:
        """Nothing was read for a while, by our own doing: what is on the way is heard before anyone is called silent."""
        self._alive_at = now
        self._look_at = now + LOOK_SECONDS

    def silent(self, signs: int, now: float) -> bool:
        """Whether nothing at all came for too long; `signs` counts frames, pings and whatever else came so far."""
        if signs != self._signs:
            self._signs, self._alive_at = signs, now
        return now - self._alive_at > self._silence

    def old(self, now: float) -> bool:
        """Whether a successor is due."""
        return now >= self._retire_at

    def look(self, last_message_at: Sequence[int], now: float, wall: int, refused: Collection[int] = ()) -> Verdict | None:
        """Judge the subscriptions but for the refused ones, about once a second."""
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_SECONDS
        return self._watch.look(last_message_at, wall, refused)
