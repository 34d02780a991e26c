"""Faults on demand. A test sets them; the server consults them before each frame, handshake and response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct


class Refusal(Struct):
    """The response to the next `times` requests of a REST path, instead of the regular one."""

    status: int
    headers: dict[str, str]
    times: int
    body: bytes = b'{"code":-1003,"msg":"Too many requests."}'


class Faults:
    """The faults of one simulator, none at first. A stream is named as on the wire: `btcusdt@trade`."""

    def __init__(self) -> None:
        self.handshake: int | None = None  # the status with which every websocket handshake is refused
        self._silent: set[str] = set()
        self._all_silent = False
        self._lost: Counter[str] = Counter()
        self._repeated: Counter[str] = Counter()
        self._reordered: Counter[str] = Counter()
        self._held: dict[str, bytes] = {}  # the event to send after the next one
        self._torn: set[str] = set()
        self._fragmented: Counter[str] = Counter()
        self._refusals: dict[str, Refusal] = {}
        self._refused_symbols: Counter[str] = Counter()  # symbol -> refused commands so far
        self._odd_levels: Counter[str] = Counter()
        self._far: Counter[str] = Counter()

    def silence(self, *streams: str) -> None:
        """Send nothing on `streams` while the connection stays open; without arguments nothing at all, not even pings."""
        self._silent.update(streams)
        self._all_silent = self._all_silent or not streams

    def end_silence(self) -> None:
        """End every silence."""
        self._silent.clear()
        self._all_silent = False

    def lose(self, stream: str, frames: int = 1) -> None:
        """Do not send the next `frames` of `stream`, although their events happen, which makes a gap in the sequence."""
        self._lost[stream] += frames

    def repeat(self, stream: str, frames: int = 1) -> None:
        """Send the next `frames` of `stream` twice."""
        self._repeated[stream] += frames

    def reorder(self, stream: str, pairs: int = 1) -> None:
        """Send the second frame before the first, for the next `pairs` of frames of `stream`."""
        self._reordered[stream] += pairs

    def tear(self, stream: str) -> None:
        """Send only half of the next frame of `stream`, then close the connection."""
        self._torn.add(stream)

    def fragment(self, stream: str, frames: int = 1) -> None:
        """Send the next `frames` of `stream` in fragments, as any server may (RFC 6455, 5.4)."""
        self._fragmented[stream] += frames

    def refuse_symbol(self, symbol: str) -> None:
        """Refuse every command that subscribes to a stream of `symbol`, the other streams in it as well."""
        self._refused_symbols[symbol.lower()] = 0

    def accept_symbol(self, symbol: str) -> int:
        """End the refusals of `symbol`. Returns the number of refused commands."""
        return self._refused_symbols.pop(symbol.lower(), 0)

    def refused_symbol(self, streams: Iterable[object]) -> str | None:
        """The refused symbol among the streams of a command, None if there is none. Call it once per command."""
        symbols = {str(stream).partition("@")[0] for stream in streams}
        found = next((symbol for symbol in self._refused_symbols if symbol in symbols), None)
        if found is not None:
            self._refused_symbols[found] += 1
        return found

    def add_odd_level(self, stream: str, frames: int = 1) -> None:
        """Add an impossible level to the next `frames` of a stream of depth updates, or of the REST path `/api/v3/depth`."""
        self._odd_levels[stream] += frames

    def send_far(self, stream: str, frames: int = 1) -> None:
        """Send a copy with times of the year 9999 before each of the next `frames` of `stream`; of a depth update only the copy."""
        self._far[stream] += frames

    def has_odd_level(self, stream: str) -> bool:
        """Whether the next frame has an impossible level. Call it once per frame."""
        return _take(self._odd_levels, stream)

    def is_far(self, stream: str) -> bool:
        """Whether the year 9999 is due. Call it once per event."""
        return _take(self._far, stream)

    def refuse(self, path: str, status: int, headers: dict[str, str] | None = None, times: int = 1) -> None:
        """Answer the next `times` requests for the REST `path` with `status`."""
        self._refusals[path] = Refusal(status, headers or {}, times)

    @property
    def all_silent(self) -> bool:
        return self._all_silent

    def copies(self, stream: str) -> int:
        """The number of times to send the next frame of `stream`. Call it once per frame."""
        if self._all_silent or stream in self._silent:
            return 0
        if self._lost[stream] > 0:
            self._lost[stream] -= 1
            return 0
        if self._repeated[stream] > 0:
            self._repeated[stream] -= 1
            return 2
        return 1

    def deliveries(self, stream: str, event: bytes) -> Sequence[bytes]:
        """The events to send, in this order, when `event` of `stream` is due. Call it once per event."""
        events = [event] * self.copies(stream)
        if not events:
            return ()
        if stream in self._held:
            return [*events, self._held.pop(stream)]
        if self._reordered[stream] > 0:
            self._reordered[stream] -= 1
            self._held[stream] = event
            return ()
        return events

    def is_torn(self, stream: str) -> bool:
        """Whether to send half of the next frame of `stream` and then close. Call it once per event."""
        if stream not in self._torn:
            return False
        self._torn.remove(stream)
        return True

    def is_fragmented(self, stream: str) -> bool:
        """Whether to send the next frame of `stream` in fragments. Call it once per event."""
        return _take(self._fragmented, stream)

    def pending(self, stream: str) -> int:
        """The number of faults still due on `stream`."""
        counts = (self._lost, self._repeated, self._reordered, self._fragmented, self._odd_levels, self._far)
        return sum(count[stream] for count in counts) + (stream in self._torn)

    def refusals_left(self, path: str) -> int:
        """The number of requests for `path` still to be refused."""
        return self._refusals[path].times if path in self._refusals else 0

    def refusal(self, path: str) -> Refusal | None:
        """The refusal of a request for `path`, None if none is due. Call it once per request."""
        refusal = self._refusals.get(path)
        if refusal is None or refusal.times == 0:
            return None
        refusal.times -= 1
        return refusal


def _take(counts: Counter[str], stream: str) -> bool:
    """Whether one is left; it is then used."""
    if counts[stream] <= 0:
        return False
    counts[stream] -= 1
    return True
