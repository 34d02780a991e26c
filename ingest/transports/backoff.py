"""The wait before the next attempt: doubling, capped, with jitter.

The jitter spreads the attempts of many clients. `reset` is called after a good record, not after a successful connect: a server
that accepts connections and closes them at once would otherwise get attempts without a pause.
"""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """The waits between repeated attempts; `random` returns floats in [0, 1)."""

    def __init__(self, random: Callable[[], float], *, first: float = 0.5, cap: float = 60.0) -> None:
        self._random = random
        self._first = first
        self._cap = cap
        self._ceiling = first

    def next(self) -> float:
        """Seconds to wait: between half the ceiling and the ceiling, which then doubles, up to the cap."""
        ceiling = self._ceiling
        self._ceiling = min(ceiling * 2, self._cap)
        return ceiling * (0.5 + self._random() / 2)

    def reset(self) -> None:
        """A good record arrived: the next wait is the first again."""
        self._ceiling = self._first
