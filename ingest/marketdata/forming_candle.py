"""The running bar of an exchange that sends it while it changes, without a flag for the closed bar.

The next bar closes it, or the clock some time after its end. If it changes later, it is yielded again and revises the stored row.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.records import MINUTE, Candle


class FormingCandle:
    """The latest one-minute bar of one instrument. `grace`: microseconds after its end in which its last state may still arrive."""

    def __init__(self, grace: int) -> None:
        self._grace = grace
        self._bar: Candle | None = None
        self._closed = False

    def seen(self, bar: Candle) -> Sequence[Candle]:
        """Take a state of a bar. Returns the bar that it closes, or the changed state of a closed bar."""
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
        """On a clock tick. Returns the bar if its minute and `grace` are over."""
        if self._bar is None or now < self._bar.time + MINUTE + self._grace:
            return ()
        return self._close()

    def lost(self, now: int) -> Sequence[Candle]:
        """A state could not be read: the known state may not be the last, so the bar is dropped unclosed."""
        self._bar = None
        return ()

    def _close(self) -> Sequence[Candle]:
        if self._bar is None or self._closed:
            return ()
        self._closed = True
        return (self._bar,)
