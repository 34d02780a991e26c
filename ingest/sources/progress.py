"""The progress of a long command: a bar on a terminal, else a log line every ten seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

BAR_SECONDS = 0.5
LOG_SECONDS = 10.0
WIDTH = 30

log = logging.getLogger(__name__)


class Progress:
    """Counts the chunks that are done, out of `steps`, and their rows."""

    def __init__(self, steps: int, stream: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic) -> None:
        self._steps = steps
        self._stream = stream
        self._bar = stream.isatty()
        self._clock = clock
        self._began = self._shown = clock()
        self.done = 0
        self.rows = 0

    def add_rows(self, rows: int) -> None:
        """Count rows that were read."""
        self.rows += rows
        self._show()

    def add_step(self) -> None:
        """Count a chunk that is done."""
        self.done += 1
        self._show(last=self.done == self._steps)

    def _show(self, *, last: bool = False) -> None:
        now = self._clock()
        if now - self._shown < (BAR_SECONDS if self._bar else LOG_SECONDS) and not last:
            return
        self._shown = now
        if self._bar:
            filled = WIDTH * self.done // max(1, self._steps)
            print(f"\r[{'#' * filled:<{WIDTH}}] {self.text(now)}", end="\n" if last else "", file=self._stream, flush=True)
        else:
            log.info("%s", self.text(now))

    def text(self, now: float) -> str:
        """The progress as text: `3/12 chunks, 120,000 rows, 40,000 rows/s, 9 s left`. `now` is a time of `clock`."""
        took = max(now - self._began, 1e-9)
        left = f", {took / self.done * (self._steps - self.done):.0f} s left" if self.done else ""
        return f"{self.done}/{self._steps} chunks, {self.rows:,} rows, {self.rows / took:,.0f} rows/s{left}"
