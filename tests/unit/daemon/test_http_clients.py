"""The HTTP server under hostile clients: foreign names, half-sent requests, many connections, pipelined requests."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from ingest.daemon import http_connections
from ingest.daemon.http_connections import MAX_CONNECTIONS
from ingest.daemon.http_server import Server, listen
from ingest.metrics import Metrics


class Slow(Metrics):
    """Metrics whose rendering is counted."""

    rendered = 0

    def render(self) -> bytes:
        self.rendered += 1
        return super().render()


class Bench:
    def __init__(self) -> None:
        self.metrics = Slow()
        listener = listen("127.0.0.1", 0)
        self.address = listener.getsockname()
        self.server = Server(
            listener, metrics=self.metrics, status=dict, stuck=list, unready=list, hosts=("127.0.0.1", "Ingest.example")
        )
        self._sockets: list[socket.socket] = []

    async def open(self, sent: bytes = b"") -> socket.socket:
        client = socket.socket()
        self._sockets.append(client)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, self.address)
        await asyncio.get_running_loop().sock_sendall(client, sent)
        return client

    async def status(self, client: socket.socket) -> int:
        """The status of the next response; 0 where the connection was closed."""
        try:
            head = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 4096), 5)
        except ConnectionError:
            return 0
        return int(head.split()[1]) if head else 0

    async def get(self, host: str, path: str = "/livez") -> int:
        return await self.status(await self.open(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()))

    def close(self) -> None:
        for client in self._sockets:
            client.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    async with bench.server.serving():
        yield bench
        bench.close()


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9464", "localhost.", "127.0.0.1:9464", "10.42.0.7:9464", "[::1]:9464", "[::1]", "ingest.example"],
)
async def test_the_server_answers_to_its_names_and_to_addresses(bench: Bench, host: str) -> None:
    assert await bench.get(host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "::1"]
)
async def test_a_foreign_name_is_refused(bench: Bench, host: str) -> None:
    for path in ("/status", "/metrics", "/", "/livez", "/missing"):
        assert await bench.get(host, path) == 421


async def test_a_request_without_a_host_is_answered(bench: Bench) -> None:
    """HTTP/1.0 has no Host; a browser always sends one."""
    assert await bench.status(await bench.open(b"GET /livez HTTP/1.0\r\n\r\n")) == 200


async def test_half_sent_requests_are_closed_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(http_connections, "CHECK_SECONDS", 0.1)
    half = [await bench.open(b"GET /metrics HTTP/1.1\r\nHost: loc") for _ in range(20)]
    idle = await bench.open(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await bench.status(idle) == 200
    assert await asyncio.gather(*(bench.status(client) for client in [*half, idle])) == [0] * 21
    assert len(bench.server._connections) == 0


async def test_the_connections_are_bounded_and_a_new_one_is_answered(bench: Bench) -> None:
    attack = [await bench.open(b"GET /metrics HTTP/1.1\r\n") for _ in range(300)]
    assert await bench.get("localhost") == 200
    assert len(bench.server._connections) == MAX_CONNECTIONS - 1, "the answered one is closed"
    assert await asyncio.gather(*(bench.status(client) for client in attack[:200])) == [0] * 200


async def test_a_burst_of_connections_is_bounded(bench: Bench) -> None:
    await asyncio.gather(*(bench.open(b"GET") for _ in range(300)))
    assert await bench.get("localhost") == 200
    assert len(bench.server._connections) == MAX_CONNECTIONS - 1, "the answered one is closed"


async def test_a_client_that_sends_many_requests_at_once_gets_one_response(bench: Bench) -> None:
    client = await bench.open(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
    answers = b""
    while part := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
        answers += part
    assert answers.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answers


async def test_metrics_are_rendered_once_a_second(bench: Bench) -> None:
    started = time.monotonic()
    for _ in range(50):
        assert await bench.get("localhost", "/metrics") == 200
    assert 1 <= bench.metrics.rendered <= 1 + (time.monotonic() - started)
    await asyncio.sleep(1.0)
    assert await bench.get("localhost", "/metrics") == 200
    assert bench.metrics.rendered >= 2
