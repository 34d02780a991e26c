"""The HTTP transport against a server on loopback that sends the errors of exchanges."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from aiohttp import web

from ingest.errors import Reject, Retry
from ingest.protocol.exchange import Rate
from ingest.protocol.http import Flow, Request, Response
from ingest.transports.client import open_client, redacted_url
from ingest.transports.http import Http
from tests.support.retry_after import BOUNDED_WAITS, UNREADABLE_WAITS

Respond = Callable[[web.Request], web.Response]


class Server:
    """Responds from a list, whose last item repeats. Records the time and path of each request."""

    def __init__(self) -> None:
        self.responses: list[Respond] = [lambda request: web.Response(body=b"[]")]
        self.requests: list[tuple[float, str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((time.monotonic(), request.path_qs))
        respond = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        return respond(request)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client() as session:
        yield session


def status(code: int, body: bytes = b"", **headers: str) -> Respond:
    return lambda request: web.Response(status=code, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def http(client: aiohttp.ClientSession, rate: Rate | None = None, body_bytes: int = 1 << 20) -> Http:
    return Http(
        client, rate=rate or Rate(1000, 1.0), alternative="https://data-api.binance.vision", body_bytes=body_bytes, rand=lambda: 0.0
    )


async def test_a_body_comes_back_with_status_and_headers(server: Server, client: aiohttp.ClientSession) -> None:
    server.responses = [status(200, b'{"serverTime":1499827319559}', X_MBX_USED_WEIGHT_1M="7")]
    response = await http(client).get(Request(f"{server.url}/api/v3/time"))
    assert (response.status, response.body) == (200, b'{"serverTime":1499827319559}')
    assert response.headers["X-MBX-USED-WEIGHT-1M"] == "7"


async def test_a_key_in_the_query_is_sent_and_not_shown(server: Server, client: aiohttp.ClientSession) -> None:
    server.responses = [status(500), status(200)]
    request = Request(f"{server.url}/api?module=stats&s=%5Espx", secret={"apikey": "geheim-4711"})
    with pytest.raises(Retry) as failed:
        await http(client).get(request)
    assert "geheim" not in f"{failed.value} {request.url}"
    await http(client).get(request)
    assert {path for _, path in server.requests} == {"/api?module=stats&s=%5Espx&apikey=geheim-4711"}


@pytest.mark.parametrize(
    ("date", "made_at"),
    [
        ("Wed, 30 Sep 2026 23:59:30 GMT", 1790812770000000),
        ("Wed, 30 Sep 2026 23:59:30 -0000", 1790812770000000),
        ("yesterday", None),
        ("Wed, 30 Sep 99999999999999999999 23:59:30 GMT", None),
        ("", None),
    ],
)
async def test_a_response_has_the_time_of_its_date_header(
    server: Server, client: aiohttp.ClientSession, date: str, made_at: int | None
) -> None:
    server.responses = [status(200, Date=date)]
    assert (await http(client).get(Request(f"{server.url}/"))).made_at == made_at


async def test_requests_wait_for_the_budget_of_weights(server: Server, client: aiohttp.ClientSession) -> None:
    """Two requests of weight 50 use up the budget of half a second; the third waits for the next."""
    path = http(client, Rate(100, 0.5))
    async with asyncio.TaskGroup() as tasks:
        for name in ("a", "b", "c"):
            tasks.create_task(path.get(Request(f"{server.url}/{name}", weight=50)))
    times = {name: when for when, name in server.requests}
    assert times["/b"] - times["/a"] < 0.4
    assert times["/c"] - times["/a"] > 0.45


@pytest.mark.parametrize("code", [418, 429, 503])
async def test_retry_after_pauses_all_requests_to_the_host(server: Server, client: aiohttp.ClientSession, code: int) -> None:
    server.responses = [status(code, Retry_After="1"), status(200)]
    path = http(client)
    with pytest.raises(Retry) as caught:
        await path.get(Request(f"{server.url}/first"))
    assert (caught.value.after, caught.value.code) == (1.0, str(code))
    await path.get(Request(f"{server.url}/another"))
    (first, _), (second, _) = server.requests
    assert second - first > 0.95


async def test_retry_after_may_be_a_date(server: Server, client: aiohttp.ClientSession) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    server.responses = [status(429, Retry_After=date)]
    with pytest.raises(Retry) as caught:
        await http(client).get(Request(f"{server.url}/"))
    assert caught.value.after is not None
    assert 80 < caught.value.after <= 90


@pytest.mark.parametrize(("code", "value", "after"), BOUNDED_WAITS)
async def test_retry_after_is_bounded(server: Server, client: aiohttp.ClientSession, code: int, value: str, after: float) -> None:
    server.responses = [status(code, Retry_After=value)]
    path = http(client)
    with pytest.raises(Retry) as caught:
        await path.get(Request(f"{server.url}/"))
    assert (caught.value.code, caught.value.after) == (str(code), after)
    with pytest.raises(Retry, match="refuses requests") as held:
        await path.get(Request(f"{server.url}/"))
    assert held.value.after is not None
    assert after - 5 < held.value.after <= after


@pytest.mark.parametrize(("code", "penalty"), [(429, 5.0), (418, 120.0), (503, None)])
@pytest.mark.parametrize("value", UNREADABLE_WAITS)
async def test_a_malformed_retry_after_is_ignored(
    server: Server, client: aiohttp.ClientSession, value: str, code: int, penalty: float | None
) -> None:
    """The pause is that of a response without the header."""
    server.responses = [status(code, Retry_After=value)]
    with pytest.raises(Retry) as caught:
        await http(client).get(Request(f"{server.url}/"))
    assert (caught.value.code, caught.value.after) == (str(code), penalty)


async def test_a_limit_without_a_header_doubles_its_penalty(server: Server, client: aiohttp.ClientSession) -> None:
    """The test removes the limiter with its pause each time, so that it need not wait."""
    server.responses = [status(429)]
    waits = []
    path = http(client)
    for _ in range(1100):  # so many because 2 ** 1024 exceeds a float
        path._limiters.clear()
        with pytest.raises(Retry) as caught:
            await path.get(Request(f"{server.url}/"))
        waits.append(caught.value.after)
    assert waits[:4] == [5.0, 10.0, 20.0, 40.0]
    assert max(waits) == waits[-1] == 3600.0


async def test_a_long_ban_is_reported_at_once_and_no_request_is_sent(server: Server, client: aiohttp.ClientSession) -> None:
    server.responses = [status(418, Retry_After="7200"), status(200)]
    path = http(client)
    with pytest.raises(Retry):
        await path.get(Request(f"{server.url}/"))
    with pytest.raises(Retry, match=r"127\.0\.0\.1 refuses requests; they are paused for another 7200 s"):
        await path.get(Request(f"{server.url}/"))
    assert len(server.requests) == 1


async def test_the_message_for_a_refused_region_names_the_alternative(server: Server, client: aiohttp.ClientSession) -> None:
    server.responses = [status(451, b"Unavailable For Legal Reasons")]
    with pytest.raises(Retry, match=r"HTTP 451.*use https://data-api\.binance\.vision") as caught:
        await http(client).get(Request(f"{server.url}/api/v3/time"))
    assert (caught.value.code, caught.value.after) == ("451", 600.0)


async def test_a_bad_request_is_rejected_with_the_reason_of_the_response(server: Server, client: aiohttp.ClientSession) -> None:
    body = b'{"code":-1121,"msg":"Invalid symbol."}'
    server.responses = [status(400, body + b" " * 1000)]
    with pytest.raises(Reject) as caught:
        await http(client).get(Request(f"{server.url}/api/v3/depth?symbol=X&api_key=secret"))
    assert str(caught.value) == f"GET {server.url}/api/v3/depth: HTTP 400: {body.decode()}" + " " * (300 - len(body))


@pytest.mark.parametrize(
    ("code", "target", "message"),
    [
        (302, "/login", "HTTP 302 to {url}/login, which is not followed"),
        (303, "/login", "HTTP 303 to {url}/login, which is not followed"),
        (307, "/login", "HTTP 307 to {url}/login, which is not followed"),
        (301, "https://elsewhere.example/", "HTTP 301 to https://elsewhere.example/, which is not followed"),
        (308, "ftp://elsewhere.example/", "HTTP 308 to ftp://elsewhere.example/, which is not followed"),
        (301, "http://[", "HTTP 301 without a target that can be read"),
    ],
)
async def test_a_redirect_is_not_followed_and_its_target_is_named(
    server: Server, client: aiohttp.ClientSession, code: int, target: str, message: str
) -> None:
    server.responses = [status(code, Location=target)]
    with pytest.raises(Reject) as caught:
        await http(client).get(Request(f"{server.url}/feed", follow=True))
    assert str(caught.value) == f"GET {server.url}/feed: {message.format(url=server.url)}"
    assert (caught.value.reason, caught.value.code) == ("http", str(code))
    assert [path for _, path in server.requests] == ["/feed"]


async def test_no_redirect_is_followed_where_the_request_does_not_allow_it(server: Server, client: aiohttp.ClientSession) -> None:
    server.responses = [status(301, Location="/feed?token=x")]
    with pytest.raises(Reject, match=f"HTTP 301 to {server.url}/feed, which is not followed"):
        await http(client).get(Request(f"{server.url}/"))
    assert [path for _, path in server.requests] == ["/"]


@pytest.mark.parametrize("code", [301, 308])
async def test_a_permanent_redirect_is_followed_once_where_the_request_allows_it(
    server: Server, client: aiohttp.ClientSession, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.responses = [status(code, Location="/new?id=1"), status(200, b"<rss/>")] * 2
    request = Request(f"{server.url}/old", follow=True, secret={"key": "k"}, headers={"X-Key": "k"})
    transport = http(client)
    for _ in range(2):
        assert (await transport.get(request)).body == b"<rss/>"
    assert [path for _, path in server.requests] == ["/old?key=k", "/new?id=1&key=k"] * 2
    assert caplog.messages == [f"{server.url}/old has moved: change the address to {server.url}/new"]
    server.responses = [status(code, Location="/2"), status(code, Location="/3")]
    with pytest.raises(Reject, match=f"/2: HTTP {code} to .*/3, which is not followed"):
        await http(client).get(Request(f"{server.url}/1", follow=True))


async def test_another_host_receives_no_key(server: Server, client: aiohttp.ClientSession) -> None:
    headers = {}

    def respond(request: web.Request) -> web.Response:
        headers.update(request.headers)
        return web.Response()

    elsewhere = server.url.replace("127.0.0.1", "localhost")
    server.responses = [status(301, Location=f"{elsewhere}/"), status(301, Location=f"{elsewhere}/"), respond]
    with pytest.raises(Reject, match="HTTP 301 to http://localhost"):
        await http(client).get(Request(f"{server.url}/", follow=True, secret={"key": "k"}))
    await http(client).get(Request(f"{server.url}/", follow=True, headers={"X-Key": "k", "If-None-Match": '"1"'}))
    assert headers["Host"].startswith("localhost")
    assert headers["If-None-Match"] == '"1"'
    assert "X-Key" not in headers


async def test_a_body_that_is_too_large_is_rejected(server: Server, client: aiohttp.ClientSession) -> None:
    server.responses = [status(200, b"x" * 5000)]
    with pytest.raises(Reject, match="more than 4096 bytes"):
        await http(client, body_bytes=4096).get(Request(f"{server.url}/"))


async def test_a_compressed_body_is_bounded_as_it_unpacks(server: Server, client: aiohttp.ClientSession) -> None:
    """60 kB that unpack to 60 MB; the memory stays below 100 MB, because no copy is made."""
    packed = gzip.compress(bytes(60 << 20))
    server.responses = [lambda request: web.Response(body=packed, headers={"Content-Encoding": "gzip"})]
    path = Http(client, rate=Rate(1000, 1.0))
    tracemalloc.start()
    try:
        with pytest.raises(Reject, match=f"more than {32 << 20} bytes"):
            await path.get(Request(f"{server.url}/"))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
        server.responses = [lambda request: web.Response(body=gzip.compress(bytes(32 << 20)), headers={"Content-Encoding": "gzip"})]
        tracemalloc.reset_peak()
        assert len((await path.get(Request(f"{server.url}/"))).body) == 32 << 20
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


async def test_a_connection_error_is_a_retry(client: aiohttp.ClientSession) -> None:
    with pytest.raises(Retry, match=r"GET http://127\.0\.0\.1:1/: ClientConnectorError") as caught:
        await http(client).get(Request("http://127.0.0.1:1/?api_key=secret"))
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, aiohttp.ClientError)


async def test_an_unreachable_proxy_is_a_retry(server: Server) -> None:
    for proxy in ("socks5://127.0.0.1:1", "http://127.0.0.1:1"):
        async with open_client(proxy) as client:
            with pytest.raises(Retry, match=r"127\.0\.0\.1[:, ]+1"):
                await http(client).get(Request(f"{server.url}/"))
    assert server.requests == []


def two_pages(url: str) -> Flow[list[bytes]]:
    first = yield Request(f"{url}/1")
    second = yield Request(f"{url}/2")
    return [first.body, second.body]


async def test_a_flow_continues_after_a_transient_error(server: Server, client: aiohttp.ClientSession) -> None:
    server.responses = [status(200, b"one"), status(502), status(200, b"two")]
    assert await http(client).run(two_pages(server.url)) == [b"one", b"two"]
    assert [path for _, path in server.requests] == ["/1", "/2", "/2"]


async def test_a_final_error_is_thrown_into_the_flow(server: Server, client: aiohttp.ClientSession) -> None:
    def careful() -> Flow[str]:
        try:
            yield Request(f"{server.url}/missing")
        except Reject as error:
            response: Response = yield Request(f"{server.url}/instead")
            return f"{error.code}, then {response.body.decode()}"
        return "never"

    server.responses = [status(404), status(200, b"this")]
    assert await http(client).run(careful()) == "404, then this"
    server.responses = [status(404)]
    with pytest.raises(Reject, match="HTTP 404"):
        await http(client).run(two_pages(server.url))


async def test_a_flow_does_not_wait_for_the_end_of_a_long_refusal(server: Server, client: aiohttp.ClientSession) -> None:
    server.responses = [status(451)]
    with pytest.raises(Retry, match="HTTP 451"):
        await http(client).run(two_pages(server.url))
    assert len(server.requests) == 1


def test_a_redacted_url_has_no_key() -> None:
    assert redacted_url("https://me:pw@api.example/v1/x?api_key=secret#there") == "https://api.example/v1/x"
