"""The running bar of an exchange that sends it while it changes and does not say when it is closed.

The next bar closes it, or the clock some time after its end. If it changes after that, it is yielded again and the row is revised.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.records import MINUTE, Candle


class FormingCandle:
    """One instrument's latest bar of one minute. `grace` is how long after its end its last state may still be on its way."""

    def __init__(self, grace: int) -> None:
        self._grace = grace
        self._bar: Candle | None = None
        self._closed = False

    def seen(self, bar: Candle) -> Sequence[Candle]:
        """The state of a bar, with what is closed by it."""
        latest = self._bar
        if latest is not None and bar.time < latest.time:
            return (bar,)
        if latest is not None and bar.time == latest.time:
            self._bar = bar
            return (bar,) if self._closed else ()
        out = self._close()
        self._bar, self._closed = bar, False
        return out

    def idle(self, now: int) -> Sequence[Candle]:
        """On a clock tick: the bar whose minute is over."""
        if self._bar is None or now < self._bar.time + MINUTE + self._grace:
            return ()
        return self._close()

    def lost(self, now: int) -> Sequence[Candle]:
        """A state could not be read: the bar that is known may not be its last state, and is not closed."""
        self._bar = None
        return ()

    def _close(self) -> Sequence[Candle]:
        if self._bar is None or self._closed:
            return ()
        self._closed = True
        return (self._bar,)
