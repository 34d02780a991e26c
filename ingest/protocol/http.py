"""HTTP as pure code sees it: a request that is yielded, and the response that is sent in."""

from __future__ import annotations

from collections.abc import Generator
from typing import BinaryIO, Literal, TypeVar

from msgspec import Struct


class Request(Struct, frozen=True):
    """A GET, or a POST without a body. A session recognizes its request by `tag` when `answer` is called; `weight` counts against
    `ExchangeLimits.weight`.
    """

    url: str
    weight: int = 1
    tag: str = ""
    to_file: bool = False  # for a body that is too large for memory: the response has an open temporary file
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = {}
    secret: dict[str, str] = {}  # query parameters with a key: the transport adds them, so that no URL in a log has them


class Response(Struct, frozen=True):
    """An answer with a status of 2xx, or 304 to a conditional request; the transport turns other statuses into errors."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    file: BinaryIO | None = None  # the body of a `Request` with `to_file`; `body` is then empty
    received_at: int = 0  # microseconds; the answer is complete only before that, and its records carry it
    made_at: int | None = None  # microseconds, by the server's clock; None where the answer does not say

    @property
    def as_of(self) -> int:
        """The time after which nothing is in it: our clock may be ahead of the server's, and the answer of a cache may be old."""
        return self.received_at if self.made_at is None else min(self.received_at, self.made_at)


T = TypeVar("T")

Flow = Generator[Request, Response, T]


def answer_to(request: Request) -> Generator[Request, object, Response]:
    """One request within a history or a turn. A Retry or Reject that the driver throws in is raised here."""
    response = yield request
    if not isinstance(response, Response):
        raise TypeError(f"{request.url}: a request is answered by sending its response")
    return response
