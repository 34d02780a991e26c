"""A TCP proxy in front of the database, with faults: connections are cut at a chosen moment, delayed, redirected or refused.

https://www.postgresql.org/docs/current/protocol-message-formats.html. The proxy finds statements in the bytes of the client. A
statement in a message of its own ends with a zero byte.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

CHUNK = 1 << 16
COMMIT = b"COMMIT\0"


class CutLine:
    """A proxy on loopback for the server of `dsn`. The attribute `dsn` is the address through the proxy."""

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._needle = b""
        self._keep: int | None = None  # bytes that pass after the needle; None: cut after the server's response
        self._server: asyncio.Server
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cuts = 0
        self.commit_seconds = 0.0  # delay of each COMMIT

    async def __aenter__(self) -> CutLine:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Cut every connection and accept no new one."""
        self._server.close()
        self.cut()

    @property
    def dsn(self) -> str:
        return urlunsplit(self._target._replace(netloc=f"{self._target.username}@127.0.0.1:{self.port}"))

    def redirect(self, dsn: str) -> None:
        """Cut every connection, and connect new ones to the server of `dsn`."""
        self._target = urlsplit(dsn)
        self.cut()

    def cut(self) -> None:
        """Cut every connection; new ones are accepted."""
        for end in self._connections:
            end.transport.abort()

    def cut_after(self, statement: bytes) -> None:
        """Cut the next connection that sends `statement` after the server's response, which the client does not receive."""
        self._needle, self._keep = statement, None

    def cut_within(self, statement: bytes, after: int) -> None:
        """Cut the next connection that sends `statement` when it has sent `after` more bytes."""
        self._needle, self._keep = statement, after

    def cancel_cut(self) -> None:
        """Undo `cut_after` and `cut_within`."""
        self._needle = b""

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._forward(client, to_client)
        finally:
            self._tasks.discard(task)

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            to_client.transport.abort()
            return
        ends = {to_client, to_server}
        self._connections |= ends
        cut = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                back = group.create_task(self._forward_responses(server, to_client, cut))
                await self._forward_requests(client, to_server, cut)
                back.cancel()
        except* ConnectionError:
            pass
        finally:
            for end in ends:
                end.transport.abort()
            self._connections -= ends

    async def _forward_requests(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        left: int | None = None
        while data := await client.read(CHUNK):
            if left is not None:
                if len(data) > left:
                    to_server.write(data[:left])
                    self.cuts += 1
                    return
                left -= len(data)
            elif self._needle and self._needle in data:
                self._needle, left = b"", self._keep
                if left is None:
                    cut.set()
            if self.commit_seconds and COMMIT in data:
                await asyncio.sleep(self.commit_seconds)
            if to_server.transport.is_closing():
                return
            to_server.write(data)

    async def _forward_responses(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await server.read(CHUNK):
            if cut.is_set():
                self.cuts += 1
                break
            if to_client.transport.is_closing():
                return
            to_client.write(data)
        to_client.transport.abort()  # also if the server closed its connection, because nothing else informs the client
