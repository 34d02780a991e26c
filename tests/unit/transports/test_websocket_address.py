"""A websocket whose address is requested from the exchange before each opening, against a real server on loopback."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ingest.errors import Reject, Retry
from ingest.protocol.http import Flow, Request
from ingest.transports.websocket import Ended
from tests.support.websocket_bench import Bench, count_to


def use_locate(bench: Bench, tokens: list[str]) -> None:
    """Let the bench request its address from its own server; `tokens` collects the bodies of the responses."""

    def locate() -> Flow[str]:
        response = yield Request(f"{bench.url.replace('ws:', 'http:')}/where", method="POST")
        tokens.append(response.body.decode())
        return f"{bench.url}/stream?token={tokens[-1]}"

    bench.locate = locate


async def test_the_address_is_requested_with_post_before_each_opening(bench: Bench) -> None:
    tokens: list[str] = []
    use_locate(bench, tokens)
    bench.talk = count_to(3)
    for openings in (1, 2):
        assert await bench.connection().run() == Ended("closed", planned=False)
        assert tokens == ["42"] * openings
    assert bench.ids() == [0, 1, 2] * 2


async def test_a_refusal_is_a_retry(bench: Bench) -> None:
    """It is reported and tried again later, like a refused handshake."""
    tokens: list[str] = []
    use_locate(bench, tokens)
    bench.statuses = [403]
    with pytest.raises(Retry, match=r"POST http://127\.0\.0\.1:\d+/where: HTTP 403") as caught:
        await bench.connection().run()
    assert caught.value.code == "403"
    assert isinstance(caught.value.__cause__, Reject)
    assert tokens == []


async def test_a_server_error_is_retried(bench: Bench) -> None:
    tokens: list[str] = []
    use_locate(bench, tokens)
    bench.statuses = [503]
    bench.talk = count_to(1)
    assert await bench.connection().run() == Ended("closed", planned=False)
    assert (tokens, bench.ids()) == (["42"], [0])


async def test_a_redirect_of_the_handshake_is_refused_and_its_target_learns_nothing(bench: Bench) -> None:
    """The address may contain a token, which another host must not receive."""
    asked: list[str] = []

    async def catch(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path:.*}", catch)
    async with TestServer(app) as other:
        target = f"http://127.0.0.1:{other.port}/elsewhere"
        bench.redirect = f"{target}?token=secret"
        with pytest.raises(Retry) as caught:
            await bench.connection().run()
    assert asked == []
    assert str(caught.value) == f"connect {bench.url}/stream: the redirect is not followed: HTTP 302 to {target}"
