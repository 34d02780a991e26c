"""A websocket whose address the exchange says only on request, anew for each opening; against a real server on loopback."""

from __future__ import annotations

import pytest

from ingest.errors import Reject, Retry
from ingest.protocol.http import Flow, Request
from ingest.transports.websocket import Ended
from tests.support.websocket_bench import Bench, count_to


def located(bench: Bench, asked: list[str]) -> None:
    """The address is the bench's own; `asked` has what the exchange answered."""

    def locate() -> Flow[str]:
        response = yield Request(f"{bench.url.replace('ws:', 'http:')}/where", method="POST")
        asked.append(response.body.decode())
        return f"{bench.url}/stream?token={asked[-1]}"

    bench.locate = locate


async def test_it_is_asked_for_by_a_post_before_each_opening(bench: Bench) -> None:
    asked: list[str] = []
    located(bench, asked)
    bench.talk = count_to(3)
    for openings in (1, 2):
        assert await bench.connection().run() == Ended("closed", planned=False)
        assert asked == ["42"] * openings
    assert bench.ids() == [0, 1, 2] * 2


async def test_a_refusal_is_no_end_of_the_feed(bench: Bench) -> None:
    """It is said, and tried again later, as a refused handshake is."""
    asked: list[str] = []
    located(bench, asked)
    bench.statuses = [403]
    with pytest.raises(Retry, match=r"POST http://127\.0\.0\.1:\d+/where: HTTP 403") as caught:
        await bench.connection().run()
    assert caught.value.code == "403"
    assert isinstance(caught.value.__cause__, Reject)
    assert asked == []


async def test_a_server_in_trouble_is_asked_again(bench: Bench) -> None:
    asked: list[str] = []
    located(bench, asked)
    bench.statuses = [503]
    bench.talk = count_to(1)
    assert await bench.connection().run() == Ended("closed", planned=False)
    assert (asked, bench.ids()) == (["42"], [0])
