"""HTTP requests: a budget for each host, Retry-After for all of its requests, bounded bodies, an error for each bad status.

https://www.rfc-editor.org/rfc/rfc9110#section-15. A 429 concerns the host, not the request, so every request to that host waits:
Binance bans a client that continues for minutes to days.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO, TypeVar

import aiohttp
from msgspec.structs import replace
from yarl import URL

from ingest.errors import Reject, Retry
from ingest.protocol.exchange import Rate
from ingest.protocol.history import History, Page
from ingest.protocol.http import Flow, Request, Response
from ingest.transports.backoff import Backoff
from ingest.transports.client import (
    CONNECTION_ERRORS,
    HOUR,
    connection_error,
    location,
    made_at,
    redacted_url,
    region_refused,
    retry_after,
)
from ingest.transports.flow_driver import FlowDriver
from ingest.transports.rate_limiter import RateLimiter

log = logging.getLogger(__name__)

T = TypeVar("T")

BODY_BYTES = 32 << 20  # uncompressed
FILE_BYTES = 8 << 30  # a month of trades in an archive has several gigabytes
SMALL_SECONDS = 30.0
FILE = aiohttp.ClientTimeout(sock_connect=10, sock_read=60)  # no total limit while data arrives
ATTEMPTS = 5
PATIENCE_SECONDS = 120.0  # a longer wait is raised to the caller, which can report it and be cancelled
PERMANENT = (301, 308)
REDIRECTS = (*PERMANENT, 302, 303, 307)
SHARED_HEADERS = ("accept", "if-modified-since", "if-none-match", "user-agent")  # those that another host may receive
PENALTY_SECONDS = {429: 5.0, 418: 120.0}  # the first wait without a Retry-After; 418 is Binance's ban


class Http:
    """The requests of one exchange or provider. Each host has a budget of `rate`; a refusal's error recommends `alternative`.

    `seconds` is the timeout of a response that does not go to a file.
    """

    def __init__(
        self,
        client: aiohttp.ClientSession,
        *,
        rate: Rate,
        alternative: str = "",
        body_bytes: int = BODY_BYTES,
        seconds: float = SMALL_SECONDS,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._rate = rate
        self._alternative = alternative
        self._body_bytes = body_bytes
        self._small = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
        self._rand = rand
        self._limiters: dict[str, RateLimiter] = {}
        self._penalties: dict[str, int] = {}
        self._moved: set[str] = set()  # addresses whose redirect is logged

    async def get(self, request: Request) -> Response:
        """One response. Raises Retry (connection, 408, 418, 429, 451, 5xx, a long pause of the host) or Reject (other 3xx, 4xx)."""
        try:
            return await self._get(request)
        except _Moved as moved:
            old, new = redacted_url(request.url), redacted_url(moved.request.url)
            if old not in self._moved:
                self._moved.add(old)
                log.warning("%s has moved: change the address to %s", old, new)
            return await self._get(moved.request)

    async def _get(self, request: Request) -> Response:
        url = URL(request.url)
        host = url.host or ""
        limiter = self._limiters.get(host) or self._limiters.setdefault(host, RateLimiter(self._rate))
        if (pause := limiter.paused()) > PATIENCE_SECONDS:
            raise Retry(f"{host} refuses requests; they are paused for another {pause:.0f} s", after=pause, code="429")
        await limiter.enter(request.weight)
        what = f"{request.method} {redacted_url(request.url)}"
        timeout = FILE if request.to_file else self._small
        with ExitStack() as stack:
            file = stack.enter_context(TemporaryFile()) if request.to_file else None
            try:
                async with self._client.request(
                    request.method,
                    url.update_query(request.secret) if request.secret else url,
                    headers=request.headers,
                    allow_redirects=False,
                    timeout=timeout,
                ) as answer:
                    good = 200 <= answer.status < 300 or answer.status == 304
                    body = await self._body(what, answer, file if good else None)
            except CONNECTION_ERRORS as error:
                raise connection_error(what, error) from error
            if not good:
                if answer.status in REDIRECTS:
                    raise _redirect(what, request, answer)
                raise self._refusal(what, host, answer, body)
            stack.pop_all()  # the response has the file now; its reader closes it
        self._penalties.pop(host, None)
        return Response(answer.status, body, dict(answer.headers), file, time.time_ns() // 1000, made_at(answer.headers))

    async def run(self, flow: Flow[T], on_retry: Callable[[Retry], None] | None = None) -> T:
        """Drive `flow` to its result. The error of a failed request is thrown into it, and raised if it does not catch it.

        `on_retry` is called with the error of each request that is made again.
        """
        with FlowDriver[object, T](flow, partial(self.get_with_retry, on_retry=on_retry)) as steps:
            async for step in steps:
                raise TypeError(f"a flow yields requests only, not {step!r}")
            return steps.result

    async def pages(self, history: History) -> AsyncGenerator[Page, None]:
        """Drive `history`, page by page. The error of a failed request is thrown into it, and raised if it does not catch it."""
        with ExitStack() as files:

            async def make(request: Request) -> Response:
                response = await self.get_with_retry(request)
                if response.file is not None:
                    files.enter_context(response.file)
                return response

            with FlowDriver[Page, None](history, make) as pages:
                async for page in pages:
                    yield page

    async def get_with_retry(
        self,
        request: Request,
        before: Callable[[], Awaitable[object]] | None = None,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> Response:
        """As `get`, with up to ATTEMPTS attempts after a Retry; `before` is awaited before each attempt."""
        backoff = Backoff(self._rand)
        for left in reversed(range(ATTEMPTS)):
            if before is not None:
                await before()
            try:
                return await self.get(request)
            except Retry as error:
                if not left or (error.after or 0.0) > PATIENCE_SECONDS:
                    raise
                if on_retry is not None:
                    on_retry(error)
                wait = max(error.after or 0.0, backoff.next())
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _body(self, what: str, answer: aiohttp.ClientResponse, file: BinaryIO | None) -> bytes:
        """The body; empty if it is in `file`, which is then at its beginning."""
        body = BytesIO()  # hands its buffer over without a copy
        size, bound = 0, FILE_BYTES if file else self._body_bytes
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            if size > bound:
                raise Reject(f"{what}: the body has more than {bound} bytes", reason="size")
            (file or body).write(chunk)
        if file is not None:
            file.seek(0)
        return body.getvalue()

    def _refusal(self, what: str, host: str, answer: aiohttp.ClientResponse, body: bytes) -> Retry | Reject:
        status = answer.status
        if status == 451:
            return region_refused(what, status, self._alternative)
        after = retry_after(answer.headers, status)
        if status in PENALTY_SECONDS:
            after = self._penalty(host, status) if after is None else after
        text = f"{what}: HTTP {status}: {body[:300].decode(errors='replace')}"
        if status in (408, 418, 429) or status >= 500:
            if after is not None and status in (418, 429, 503):
                self._limiters[host].pause(after)
            return Retry(text, after=after, code=str(status))
        if status == 403:
            text = f"{text} (if this address is refused, use {self._alternative})"
        return Reject(text, reason="http", code=str(status))

    def _penalty(self, host: str, status: int) -> float:
        before = self._penalties.get(host, 0)
        self._penalties[host] = before + 1
        return min(PENALTY_SECONDS[status] * 2.0 ** min(before, 10), HOUR)


class _Moved(Exception):
    """A permanent redirect that may be followed, with the request to make instead."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


def _redirect(what: str, request: Request, answer: aiohttp.ClientResponse) -> _Moved | Reject:
    target = location(answer)
    if target is None:
        return Reject(f"{what}: HTTP {answer.status} without a target that can be read", reason="http", code=str(answer.status))
    is_other = target.host != answer.url.host
    if request.follow and answer.status in PERMANENT and target.scheme == answer.url.scheme and not (is_other and request.secret):
        kept = {name: value for name, value in request.headers.items() if not is_other or name.lower() in SHARED_HEADERS}
        return _Moved(replace(request, url=str(target), headers=kept, follow=False))
    text = f"{what}: HTTP {answer.status} to {redacted_url(str(target))}, which is not followed"
    return Reject(text, reason="http", code=str(answer.status))
