"""Requests and websockets through a SOCKS5 proxy (RFC 1928), which is a setting of their client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingest.protocol.exchange import Rate
from ingest.protocol.http import Request
from ingest.transports.client import open_client
from ingest.transports.http import Http
from ingest.transports.websocket import Ended
from tests.support.websocket_bench import Bench, count_to


class Proxy:
    """A minimal SOCKS5 proxy: no authentication, CONNECT to an IPv4 address or a name. `carried` lists the targets."""

    def __init__(self) -> None:
        self.carried: list[tuple[str, int]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        if kind == 1:
            host = ".".join(str(part) for part in await reader.readexactly(4))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.carried.append((host, port))
        from_target, to_target = await asyncio.open_connection(host, port)
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await asyncio.gather(pump(reader, to_target), pump(from_target, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[Proxy, str]]:
    relay = Proxy()
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    async with server:
        yield relay, f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_everything_goes_through_the_proxy(bench: Bench, proxy: tuple[Proxy, str]) -> None:
    relay, url = proxy
    port = int(bench.url.rpartition(":")[2])
    async with open_client(url) as client:
        bench.client = client
        bench.talk = count_to(10)
        assert await bench.connection().run() == Ended("closed", planned=False)
        response = await Http(client, rate=Rate(10, 1.0)).get(Request(f"http://127.0.0.1:{port}/answer"))
    assert bench.ids() == list(range(10))
    assert response.body == b"42"
    assert relay.carried == [("127.0.0.1", port)] * 2
