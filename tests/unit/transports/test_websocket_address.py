"""A websocket whose address is requested from the exchange before each opening, against a real server on loopback."""

from __future__ import annotations

import pytest

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
