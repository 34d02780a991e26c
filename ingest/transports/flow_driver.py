"""Drives the generators in which pure code makes requests: listings, histories, turns of a poller.

Such a generator yields requests and is sent their responses. The driver iterates over the other values that it yields, such as
pages or batches of records.
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

    `request` makes one request. A Retry or Reject that it raises is thrown into the flow; the iteration raises what the
    flow does not catch. The driver is used in a `with` block, which closes the flow.
    """

    result: T

    def __init__(self, flow: Generator[Request | S, Any, T], request: Callable[[Request], Awaitable[Response]]) -> None:
        self._flow = flow
        self._request = request
        self._reply: object = None

    def reply(self, value: object) -> None:
        """Send `value` into the flow in reply to the current step, instead of None."""
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
