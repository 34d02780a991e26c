"""Bounds the connections of the HTTP server: their number, and the time that each may take for a request.

aiohttp limits the size of a request's header but not its time, and not the number of connections: half-sent requests would hold
all descriptors of the process.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

MAX_CONNECTIONS = 64
REQUEST_SECONDS = 10.0  # from the opening to the complete header, and from there to the end of the response
CHECK_SECONDS = 1.0


class BoundedConnections:
    """The open connections. When one too many opens, the one that has waited longest is closed, so that a new probe is answered."""

    def __init__(self) -> None:
        self._active_at: dict[web.RequestHandler, float] = {}  # time of the loop, the longest ago first

    def __len__(self) -> int:
        return len(self._active_at)

    def touch(self, connection: web.RequestHandler) -> None:
        """The connection opened, or its next request is complete."""
        self._active_at.pop(connection, None)
        while len(self._active_at) >= MAX_CONNECTIONS:
            self._abort(next(iter(self._active_at)))
        self._active_at[connection] = asyncio.get_running_loop().time()

    def remove(self, connection: web.RequestHandler) -> None:
        """The connection is closed."""
        self._active_at.pop(connection, None)

    async def close_idle(self) -> None:
        """Run until cancelled; closes connections that are too slow."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            late = loop.time() - REQUEST_SECONDS
            for connection in [connection for connection, active_at in self._active_at.items() if active_at < late]:
                self._abort(connection)

    def _abort(self, connection: web.RequestHandler) -> None:
        del self._active_at[connection]
        if connection.transport is not None:
            connection.transport.abort()


class BoundedHandler(web.RequestHandler):
    """aiohttp's protocol of one connection, which reports its opening and its end to `connections`."""

    def __init__(self, server: web.Server, connections: BoundedConnections) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type] # None: no access log
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.touch(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)
