"""A gate that lets through at most `Rate.amount` in any `Rate.seconds`: requests by weight, connection attempts, messages sent.

The window slides, so that a burst at the seam of two of the exchange's own fixed windows stays under the limit in both.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from ingest.protocol.exchange import Rate


class RateLimiter:
    """One budget, shared by all who must stay within it together; they are let through in the order in which they came."""

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
        self._passed: deque[tuple[float, int]] = deque()  # (when, weight) within the window
        self._used = 0
        self._paused_until = 0.0
        self._turn = asyncio.Lock()

    async def enter(self, weight: int = 1) -> None:
        """Wait until `weight` fits into the window and no pause is on. A weight above the budget waits for an empty window."""
        weight = min(weight, self._rate.amount)
        async with self._turn:
            while (wait := max(self.paused(), self._until_room(weight))) > 0:
                await self._sleep(wait)
            self._passed.append((self._clock(), weight))
            self._used += weight

    def pause(self, seconds: float) -> None:
        """Let nobody through for `seconds`; a longer pause that is on already stays."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def paused(self) -> float:
        """Seconds that are left of a pause, else 0."""
        return max(0.0, self._paused_until - self._clock())

    def _until_room(self, weight: int) -> float:
        """Seconds until `weight` fits."""
        now = self._clock()
        while self._passed and self._passed[0][0] + self._rate.seconds <= now:
            self._used -= self._passed.popleft()[1]
        excess = self._used + weight - self._rate.amount
        wait = 0.0
        for when, passed in self._passed:
            if excess <= 0:
                break
            excess -= passed
            wait = when + self._rate.seconds - now
        return wait
