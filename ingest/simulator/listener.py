"""One client of the simulated exchange's streams: what it subscribed to, its commands, and the way to its socket.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#live-subscribingunsubscribing-to-streams
A stream that does not exist is acknowledged like any other, and nothing ever comes: so does the real one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from ingest.simulator.wire import combined, encode, text_frame

MESSAGES_PER_SECOND = 5
STREAMS = 1024
BUFFER_BYTES = 64 << 20  # who lags further behind is disconnected, as exchanges do


class Command(msgspec.Struct):
    """What a client may say."""

    method: str
    params: list[Any] = []
    id: int | str | None = None


class Listener:
    """One websocket. `enveloped`: events come as on /stream, not bare as on /ws."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, streams: list[str], *, enveloped: bool) -> None:
        self.socket = socket
        self.enveloped = enveloped
        self.streams = set(streams)
        self._transport = transport
        self._heard: deque[float] = deque(maxlen=MESSAGES_PER_SECOND)

    @property
    def backlog(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._transport.get_write_buffer_size()

    def event(self, stream: str, event: bytes, frame: Callable[[bytes], bytes] = text_frame) -> bytes:
        """The frame by which this client hears `event`."""
        return frame(combined(stream, event) if self.enveloped else event)

    def write(self, frames: bytes) -> None:
        """Any number of whole frames."""
        if self.backlog > BUFFER_BYTES:
            self.abort()
        elif not self._transport.is_closing():
            self._transport.write(frames)

    def tear(self, frame: bytes) -> None:
        """Half of a frame, and the connection is gone: what was written is still sent."""
        self.write(frame[: len(frame) // 2])
        self._transport.close()

    def abort(self) -> None:
        """The connection is gone without a word."""
        self._transport.abort()

    def too_fast(self, now: float) -> bool:
        """Whether the message that came at `now` (seconds) is one too many."""
        over = len(self._heard) == MESSAGES_PER_SECOND and now - self._heard[0] < 1.0
        self._heard.append(now)
        return over

    def obey(self, text: str) -> bytes:
        """Carry out one command; the reply."""
        try:
            command = msgspec.json.decode(text, type=Command)
        except msgspec.ValidationError as error:
            return encode({"code": 2, "msg": f"Invalid request: {error}"})
        except msgspec.DecodeError as error:
            return encode({"code": 3, "msg": f"Invalid JSON: {error}"})
        result: Any = None
        if command.method == "SUBSCRIBE":
            self.streams.update(command.params)
        elif command.method == "UNSUBSCRIBE":
            self.streams.difference_update(command.params)
        elif command.method == "LIST_SUBSCRIPTIONS":
            result = sorted(self.streams)
        else:
            return encode({"code": 2, "msg": f"Invalid request: unknown variant {command.method}", "id": command.id})
        if len(self.streams) > STREAMS:
            return encode({"code": 2, "msg": f"Invalid request: more than {STREAMS} streams", "id": command.id})
        return encode({"result": result, "id": command.id})
