"""The driver of the generators by which pure code makes requests: listings, histories, turns."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from ingest.errors import Reject, Retry, Stop
from ingest.protocol.http import Request, Response
from ingest.transports.flow_driver import FlowDriver

FIRST, SECOND = Request("http://host/first"), Request("http://host/second")
Flow = Generator[Any, Any, str]


async def echo(request: Request) -> Response:
    """Respond with the URL of the request."""
    return Response(200, request.url.encode())


async def drive(flow: Flow, request: Any = echo) -> tuple[list[Any], str]:
    with FlowDriver[Any, str](flow, request) as steps:
        return [step async for step in steps], steps.result


async def test_a_request_is_answered_and_other_steps_go_to_the_caller() -> None:
    def flow() -> Flow:
        first = yield FIRST
        assert (yield [first.body]) is None
        second = yield SECOND
        yield [second.body]
        return "cursor"

    assert await drive(flow()) == ([[b"http://host/first"], [b"http://host/second"]], "cursor")


async def test_the_caller_may_reply_to_a_step() -> None:
    def flow() -> Flow:
        price = yield "price"
        nothing = yield price
        assert nothing is None, "a reply is sent once"
        return ""

    seen = []
    with FlowDriver[Any, str](flow(), echo) as steps:
        async for step in steps:
            seen.append(step)
            if step == "price":
                steps.reply(7)
    assert seen == ["price", 7]


@pytest.mark.parametrize("error", [Retry("lost"), Reject("not found", reason="http", code="404")])
async def test_a_request_that_fails_is_thrown_into_the_flow(error: Exception) -> None:
    def flow() -> Flow:
        try:
            yield FIRST
        except type(error) as caught:
            yield caught
        return "went on"

    async def fail(request: Request) -> Response:
        raise error

    assert await drive(flow(), fail) == ([error], "went on")
    with pytest.raises(type(error), match=str(error)):
        await drive(one_request(), fail)


def one_request() -> Flow:
    response = yield FIRST
    return response.body.decode()


async def test_another_error_closes_the_flow() -> None:
    ended = []

    def flow() -> Flow:
        try:
            yield FIRST
        except Exception as error:  # a Stop is not thrown into the flow
            pytest.fail(f"thrown in: {error}")
        finally:
            ended.append(True)
        return ""

    async def fail(request: Request) -> Response:
        raise Stop("configuration")

    with pytest.raises(Stop, match="configuration"):
        await drive(flow(), fail)
    assert ended == [True]


async def test_a_flow_that_is_left_is_closed() -> None:
    ended = []

    def flow() -> Flow:
        try:
            yield "page"
            yield "another"
        finally:
            ended.append(True)
        return ""

    with FlowDriver[Any, str](flow(), echo) as steps:
        async for _ in steps:
            break
        assert ended == []
    assert ended == [True]
