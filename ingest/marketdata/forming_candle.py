"""The running bar of an exchange that sends it while it changes. If it changes after it is closed, it revises the stored row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingest.protocol.session import Output
from ingest.records import MINUTE, Candle


class FormingCandle:
    """The latest one-minute bar of one instrument, where no flag says that it is closed: the next bar closes it, or the clock.

    `grace`: microseconds after its end in which its last state may still arrive.
    """

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


class LatestBar:
    """The latest open bar of one instrument, where a flag says that a bar is closed, but the message with it may be missing."""

    def __init__(self, closed: Callable[[Candle], Sequence[Output]]) -> None:
        self._closed = closed  # takes a closed bar and returns the outputs
        self._bar: Candle | None = None
        self._after = 0  # the time of the latest closed bar

    def seen(self, bar: Candle, is_open: bool) -> Sequence[Output]:
        """Take a state of a bar. Returns the outputs for the bars that it closes."""
        before = self._bar
        out: Sequence[Output] = () if before is None or before.time >= bar.time else self._close(before)
        if not is_open:
            out = (*out, *self._close(bar))
        elif bar.time > self._after and (self._bar is None or bar.time >= self._bar.time):
            self._bar = bar
        return out

    def lost(self, now: int) -> Sequence[Output]:
        """A state could not be read: the known state may not be the last, so the bar is dropped."""
        self._bar = None
        return ()

    def _close(self, bar: Candle) -> Sequence[Output]:
        if self._bar is not None and self._bar.time <= bar.time:
            self._bar = None
        self._after = max(self._after, bar.time)
        return self._closed(bar)
