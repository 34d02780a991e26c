"""Drives the generators in which pure code asks its questions: listings, histories, turns of a poller.

Such a generator yields requests and is sent their responses. What else it yields (a page, a batch of records) goes to whoever
iterates over the driver.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from ingest.errors import Reject, Retry
from ingest.protocol.http import Request, Response

S = TypeVar("S")
T = TypeVar("T")


class FlowDriver(Generic[S, T]):
    """An asynchronous iterator over the steps of `flow` that are not requests. `result` is its return value once it has ended.

    `request` makes one request. A Retry or Reject that it raises is thrown into the flow; what the flow does not catch is raised by
    the iteration. The driver is used in a `with` block, which closes the flow.
    """

    result: T

    def __init__(self, flow: Generator[Request | S, Any, T], request: Callable[[Request], Awaitable[Response]]) -> None:
        self._flow = flow
        self._request = request
        self._reply: object = None

    def reply(self, value: object) -> None:
        """Send `value` for the step that the loop is at; without it None is sent."""
        self._reply = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._flow.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> S:
        reply, self._reply = self._reply, None
        try:
            step = self._flow.send(reply)
            while isinstance(step, Request):
                try:
                    response = await self._request(step)
                except (Retry, Reject) as error:
                    step = self._flow.throw(error)
                else:
                    step = self._flow.send(response)
        except StopIteration as done:
            self.result = done.value
            raise StopAsyncIteration from None
        return step
