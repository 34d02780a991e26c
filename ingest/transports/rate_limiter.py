"""A rate limiter: at most `Rate.amount` within any `Rate.seconds`, for requests (by weight), connection attempts and messages.

The window slides, so that a burst across two fixed windows of the exchange stays below the limit in both.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from ingest.protocol.exchange import Rate


class RateLimiter:
    """One budget, shared by all its callers, which are admitted in the order of their calls."""

    def __init__(
        self,
        rate: Rate,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._admitted: deque[tuple[float, int]] = deque()  # (when, weight) within the window
        self._used = 0
        self._paused_until = 0.0
        self._lock = asyncio.Lock()

    async def enter(self, weight: int = 1) -> None:
        """Wait until `weight` fits into the window and there is no pause. A weight above the budget waits for an empty window."""
        weight = min(weight, self._rate.amount)
        async with self._lock:
            while (wait := max(self.paused(), self._until_room(weight))) > 0:
                await self._sleep(wait)
            self._admitted.append((self._clock(), weight))
            self._used += weight

    def pause(self, seconds: float) -> None:
        """Admit nothing for `seconds`, or until the end of the present pause if that is later."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def paused(self) -> float:
        """The rest of the present pause in seconds, 0 without a pause."""
        return max(0.0, self._paused_until - self._clock())

    def _until_room(self, weight: int) -> float:
        """Seconds until `weight` fits."""
        now = self._clock()
        while self._admitted and self._admitted[0][0] + self._rate.seconds <= now:
            self._used -= self._admitted.popleft()[1]
        excess = self._used + weight - self._rate.amount
        wait = 0.0
        for when, admitted in self._admitted:
            if excess <= 0:
                break
            excess -= admitted
            wait = when + self._rate.seconds - now
        return wait
