"""A line to the database that can go wrong: cut at the worst moment, slow, led to another server, or down.

https://www.postgresql.org/docs/current/protocol-message-formats.html - the client's words are looked for as they are on the wire: a
statement that is sent alone ends with a zero byte.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

CHUNK = 1 << 16
COMMIT = b"COMMIT\0"


class CutLine:
    """A TCP proxy on loopback before the server of `dsn`; its own `dsn` goes through it."""

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._needle = b""
        self._keep: int | None = None  # bytes after the needle that still pass; None lets the server answer first
        self._server: asyncio.Server
        self._lines: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cuts = 0
        self.commit_seconds = 0.0  # how late the server hears of a COMMIT

    async def __aenter__(self) -> CutLine:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Cut every line and take no new one."""
        self._server.close()
        self.cut()

    @property
    def dsn(self) -> str:
        return urlunsplit(self._target._replace(netloc=f"{self._target.username}@127.0.0.1:{self.port}"))

    def lead_to(self, dsn: str) -> None:
        """New lines go to that server; those that stand are cut."""
        self._target = urlsplit(dsn)
        self.cut()

    def cut(self) -> None:
        """Every line is gone at once; new ones are taken."""
        for line in self._lines:
            line.transport.abort()

    def cut_after(self, statement: bytes) -> None:
        """The next client that sends `statement` never hears the answer: its line is cut once the server gave one."""
        self._needle, self._keep = statement, None

    def cut_within(self, statement: bytes, after: int) -> None:
        """The next client that sends `statement` is cut when `after` bytes more have passed: in the middle of what it says."""
        self._needle, self._keep = statement, after

    def spare(self) -> None:
        """Cut nobody after all."""
        self._needle = b""

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._lead(client, to_client)
        finally:
            self._tasks.discard(task)

    async def _lead(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            to_client.transport.abort()
            return
        ends = {to_client, to_server}
        self._lines |= ends
        cut = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                back = group.create_task(self._answer(server, to_client, cut))
                await self._ask(client, to_server, cut)
                back.cancel()
        except* ConnectionError:
            pass
        finally:
            for end in ends:
                end.transport.abort()
            self._lines -= ends

    async def _ask(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, cut: asyncio.Event) -> None:
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

    async def _answer(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await server.read(CHUNK):
            if cut.is_set():
                self.cuts += 1
                break
            if to_client.transport.is_closing():
                return
            to_client.write(data)
        to_client.transport.abort()  # also where the server has gone: nobody else tells the client
