"""One websocket client of the simulated exchange: its subscriptions, its commands and its connection.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#live-subscribingunsubscribing-to-streams
As the real exchange does, it acknowledges a subscription to a stream that does not exist and never sends anything on it.
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
BUFFER_BYTES = 64 << 20  # a client with a larger backlog is disconnected, as exchanges do


class Command(msgspec.Struct):
    """A command of a client."""

    method: str
    params: list[Any] = []
    id: int | str | None = None


class Listener:
    """One websocket. `enveloped`: events are sent in the envelope of /stream, not bare as on /ws."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, streams: list[str], *, enveloped: bool) -> None:
        self.socket = socket
        self.enveloped = enveloped
        self.streams = set(streams)
        self._transport = transport
        self._received: deque[float] = deque(maxlen=MESSAGES_PER_SECOND)

    @property
    def backlog(self) -> int:
        """Bytes that the client has not read yet."""
        return self._transport.get_write_buffer_size()

    def event(self, stream: str, event: bytes, frame: Callable[[bytes], bytes] = text_frame) -> bytes:
        """The frame that carries `event` to this client."""
        return frame(combined(stream, event) if self.enveloped else event)

    def write(self, frames: bytes) -> None:
        """Send any number of complete frames."""
        if self.backlog > BUFFER_BYTES:
            self.abort()
        elif not self._transport.is_closing():
            self._transport.write(frames)

    def tear(self, frame: bytes) -> None:
        """Send half of `frame` after what was written before, and close the connection."""
        self.write(frame[: len(frame) // 2])
        self._transport.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._transport.abort()

    def too_fast(self, now: float) -> bool:
        """Whether the message received at `now`, in seconds, exceeds the rate limit."""
        over = len(self._received) == MESSAGES_PER_SECOND and now - self._received[0] < 1.0
        self._received.append(now)
        return over

    def execute(self, text: str, refused: Callable[[list[Any]], str | None] = lambda streams: None) -> bytes:
        """Execute one command, JSON text, and return the reply. `refused` finds a symbol for which a subscription is refused."""
        try:
            command = msgspec.json.decode(text, type=Command)
        except msgspec.ValidationError as error:
            return encode({"code": 2, "msg": f"Invalid request: {error}"})
        except msgspec.DecodeError as error:
            return encode({"code": 3, "msg": f"Invalid JSON: {error}"})
        result: Any = None
        if command.method == "SUBSCRIBE" and refused(command.params) is not None:
            return encode({"error": {"code": 2, "msg": "Invalid request: unknown symbol"}, "id": command.id})
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
