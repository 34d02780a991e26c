"""HTTP as pure code sees it: a request that is yielded, and the response that is sent in."""

from __future__ import annotations

from collections.abc import Generator
from typing import BinaryIO, Literal, TypeVar

from msgspec import Struct


class Request(Struct, frozen=True):
    """A GET, or a POST without a body. `weight` counts against `ExchangeLimits.weight`; a session finds the addressee of a response
    by `tag`.
    """

    url: str
    weight: int = 1
    tag: str = ""
    to_file: bool = False  # for a body that is too large for memory: `Response.file` has it
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = {}
    follow: bool = False  # one permanent redirect to the same scheme is followed; any other redirect is an error with its target
    secret: dict[str, str] = {}  # query parameters with an API key: the transport adds them, so that no URL in a log has them


class Response(Struct, frozen=True):
    """A response with status 2xx, or 304 to a conditional request. The transport raises Retry or Reject for any other status."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    file: BinaryIO | None = None  # the body of a `Request` with `to_file`; `body` is then empty
    received_at: int = 0  # microseconds; its records carry this time
    made_at: int | None = None  # microseconds, by the server's clock (the header Date); None without that header

    @property
    def as_of(self) -> int:
        """The response has no event after this time: our clock may be ahead of the server's, and a cached response may be old."""
        return self.received_at if self.made_at is None else min(self.received_at, self.made_at)


T = TypeVar("T")

Flow = Generator[Request, Response, T]


def answer_to(request: Request) -> Generator[Request, object, Response]:
    """The response to one request within a history or a turn. Raises the Retry or Reject that the driver throws in."""
    response = yield request
    if not isinstance(response, Response):
        raise TypeError(f"{request.url}: the driver sent {type(response).__name__}; right would be its Response")
    return response
