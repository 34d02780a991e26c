"""HTTP as pure code sees it: a request that is yielded, and the response that is sent back."""

from __future__ import annotations

from collections.abc import Generator
from typing import BinaryIO, Literal, TypeVar

from msgspec import Struct


class Request(Struct, frozen=True):
    """A GET, or a POST of nothing. A session finds its question again by `tag` when `answer` is called; `weight` counts against
    `ExchangeLimits.weight`.
    """

    url: str
    weight: int = 1
    tag: str = ""
    to_file: bool = False  # the body is too large for memory: it comes as an open temporary file
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = {}
    secret: dict[str, str] = {}  # parameters of the query that carry a key: the transport adds them, no URL that is shown has them


class Response(Struct, frozen=True):
    """What came back with a 2xx status, or 304 to who asked for it; other statuses are the transport's business."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    file: BinaryIO | None = None  # the body of a `Request` with `to_file`; `body` is then empty
    received_at: int = 0  # microseconds; a history vouches for nothing later, and its records carry it
    made_at: int | None = None  # microseconds, by the server's own clock; None where it does not say

    @property
    def as_of(self) -> int:
        """What happened later is not in it: our own clock may be ahead, and a cache's answer may be old."""
        return self.received_at if self.made_at is None else min(self.received_at, self.made_at)


T = TypeVar("T")

Flow = Generator[Request, Response, T]


def answer_to(request: Request) -> Generator[Request, object, Response]:
    """One question within a history or a turn. What the transport throws in (Retry, Reject) is raised here."""
    response = yield request
    if not isinstance(response, Response):
        raise TypeError(f"{request.url}: a request is answered by sending its response")
    return response
