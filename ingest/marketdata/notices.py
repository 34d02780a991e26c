"""Messages of the exchange about itself, and frames that it does not document: heeded where they announce an end, else counted.

An exchange adds messages without notice. One that speaks of an end of the connection causes a planned reconnection. Of the others
one of each kind is kept for each connection, because a frame that comes every second would be an error every second.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.protocol.decode import Malformed
from ingest.protocol.session import Output, Reconnect
from ingest.records import SECOND

WORDS = ("upgrade", "maintenance", "shutdown", "restart", "disconnect", "reconnect")
PAUSE = 600 * SECOND  # between two reconnections because of such words: each new connection may get the same message
SEARCHED = 1000  # bytes of a frame in which the words are searched
MAX_KINDS = 20  # of which one frame is kept
COUNTED_EVERY = 3600 * SECOND  # the numbers of the frames that were not kept are reported


class Notices:
    """Those of one connection. `heeded_at` is the time of the last reconnection that one caused, on this connection or before."""

    def __init__(self, exchange: str, heeded_at: int) -> None:
        self.heeded_at = heeded_at
        self.counts: dict[str, int] = {}  # of the frames of each kind that were not kept
        self._exchange = exchange
        self._report_at: int | None = None

    def announced(self, text: str, frame: bytes, now: int) -> Sequence[Output]:
        """Take a frame. Returns the reconnection that it announces; empty if it announces none, or another was soon before."""
        searched = f"{text} {frame[:SEARCHED].decode(errors='replace')}".lower()
        if now - self.heeded_at < PAUSE or not any(word in searched for word in WORDS):
            return ()
        self.heeded_at = now
        return (Reconnect(f"{self._exchange}: {frame[:200].decode(errors='replace')}", planned=True),)

    def unknown(self, message: str, frame: bytes) -> Sequence[Output]:
        """Take a frame of the kind `message`. Returns its evidence if it is the first of its kind."""
        if message in self.counts or len(self.counts) >= MAX_KINDS:
            kind = message if message in self.counts else "other kinds"
            self.counts[kind] = self.counts.get(kind, 0) + 1
            return ()
        self.counts[message] = 0
        return (Malformed(frame, "unknown", f"{self._exchange}: {message}"),)

    def tick(self, now: int) -> Sequence[Output]:
        """On a clock tick: the numbers of the frames that were not kept, if due."""
        if self._report_at is None or now < self._report_at:
            self._report_at = self._report_at or now + COUNTED_EVERY
            return ()
        self._report_at = now + COUNTED_EVERY
        counts, self.counts = self.counts, dict.fromkeys(self.counts, 0)
        counted = ((kind, number) for kind, number in counts.items() if number)
        return [Malformed(b"", "unknown", f"{self._exchange}: {kind}: {number} more frames in an hour") for kind, number in counted]
