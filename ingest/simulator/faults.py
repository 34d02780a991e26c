"""What goes wrong on demand. Tests script it; the server asks before each frame, handshake and answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct


class Refusal(Struct):
    """How a REST path answers instead, for the next `times` requests."""

    status: int
    headers: dict[str, str]
    times: int
    body: bytes = b'{"code":-1003,"msg":"Too many requests."}'


class Faults:
    """Nothing is wrong at first. A stream is named as on the wire: `btcusdt@trade`."""

    def __init__(self) -> None:
        self.handshake: int | None = None  # the status that every websocket handshake is refused with
        self._silent: set[str] = set()
        self._all_silent = False
        self._lost: Counter[str] = Counter()
        self._twice: Counter[str] = Counter()
        self._late: Counter[str] = Counter()
        self._held: dict[str, bytes] = {}  # what a later event overtakes
        self._torn: set[str] = set()
        self._parted: Counter[str] = Counter()
        self._refusals: dict[str, Refusal] = {}

    def silence(self, *streams: str) -> None:
        """Say nothing more on `streams` (without any: on all, pings included) while TCP stays up."""
        self._silent.update(streams)
        self._all_silent = self._all_silent or not streams

    def speak(self) -> None:
        """End every silence."""
        self._silent.clear()
        self._all_silent = False

    def lose(self, stream: str, frames: int = 1) -> None:
        """The next `frames` of `stream` happen but are not sent: a gap in the sequence."""
        self._lost[stream] += frames

    def repeat(self, stream: str, frames: int = 1) -> None:
        """The next `frames` of `stream` are sent twice."""
        self._twice[stream] += frames

    def reorder(self, stream: str, pairs: int = 1) -> None:
        """In the next `pairs` of frames of `stream` the second is sent before the first."""
        self._late[stream] += pairs

    def tear(self, stream: str) -> None:
        """The next frame of `stream` is sent in part, and the connection is gone."""
        self._torn.add(stream)

    def part(self, stream: str, frames: int = 1) -> None:
        """The next `frames` of `stream` come in fragments (RFC 6455, 5.4), as any server may send them."""
        self._parted[stream] += frames

    def refuse(self, path: str, status: int, headers: dict[str, str] | None = None, times: int = 1) -> None:
        """The next requests for the REST `path` are answered with `status`."""
        self._refusals[path] = Refusal(status, headers or {}, times)

    @property
    def all_silent(self) -> bool:
        return self._all_silent

    def copies(self, stream: str) -> int:
        """How many times the next frame of `stream` is sent; asked once per frame."""
        if self._all_silent or stream in self._silent:
            return 0
        if self._lost[stream] > 0:
            self._lost[stream] -= 1
            return 0
        if self._twice[stream] > 0:
            self._twice[stream] -= 1
            return 2
        return 1

    def told(self, stream: str, event: bytes) -> Sequence[bytes]:
        """What is sent where `event` of `stream` is due, in this order; asked once per event."""
        events = [event] * self.copies(stream)
        if not events:
            return ()
        if stream in self._held:
            return [*events, self._held.pop(stream)]
        if self._late[stream] > 0:
            self._late[stream] -= 1
            self._held[stream] = event
            return ()
        return events

    def torn(self, stream: str) -> bool:
        """Whether the next frame of `stream` is the last of its connection, and not whole; asked once per event."""
        if stream not in self._torn:
            return False
        self._torn.remove(stream)
        return True

    def parted(self, stream: str) -> bool:
        """Whether the next frame of `stream` comes in fragments; asked once per event."""
        if self._parted[stream] <= 0:
            return False
        self._parted[stream] -= 1
        return True

    def pending(self, stream: str) -> int:
        """How many frames are still to go wrong on `stream`."""
        counts = (self._lost, self._twice, self._late, self._parted)
        return sum(count[stream] for count in counts) + (stream in self._torn)

    def refusals_left(self, path: str) -> int:
        """How many requests for `path` are still to be answered otherwise."""
        return self._refusals[path].times if path in self._refusals else 0

    def refusal(self, path: str) -> Refusal | None:
        """How a request for `path` is answered instead; asked once per request."""
        refusal = self._refusals.get(path)
        if refusal is None or refusal.times == 0:
            return None
        refusal.times -= 1
        return refusal
