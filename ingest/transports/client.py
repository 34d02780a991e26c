"""The HTTP client for websockets and requests: its proxy, its timeouts, and the translation of its exceptions.

https://docs.aiohttp.org/en/stable/client_reference.html. A SOCKS proxy belongs to a connector, which belongs to a client, so
each proxy needs a client of its own. Logs and errors have a URL without its query, because the query may contain a key. Redirects
are never followed: another host would receive that query.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import aiohttp
import aiohttp_socks
from yarl import URL

from ingest.errors import Retry
from ingest.protocol.exchange import ExchangeLimits
from ingest.records import SECOND

Socket = aiohttp.ClientWebSocketResponse[Literal[False]]  # text frames arrive as bytes, undecoded

PROXY_ERRORS = (aiohttp_socks.ProxyConnectionError, aiohttp_socks.ProxyError, aiohttp_socks.ProxyTimeoutError)
CONNECTION_ERRORS = (aiohttp.ClientError, *PROXY_ERRORS, TimeoutError, OSError)
REGION_REFUSED = ("403", "451")  # status of a handshake of an exchange that does not serve this region
OPEN_SECONDS = 20.0
CLOSE_SECONDS = 2.0
HOUR = 3600.0
LONGEST_WAIT_SECONDS = {418: 24 * HOUR}  # by status, default one hour; 418 is Binance's ban of two minutes to three days
REGION_SECONDS = 600.0  # between attempts; short enough to notice changed settings or rules


class Redirected(aiohttp.ClientError):
    """A response that redirects; the text has the target without its query."""


def open_client(proxy: str | None = None) -> aiohttp.ClientSession:
    """A client whose connections all go through `proxy` (http, https, socks4, socks5), or directly. The caller closes it."""
    timeout = aiohttp.ClientTimeout(total=30, sock_connect=10)
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)  # `ws_connect` has no argument for that
    if proxy is not None and proxy.startswith("socks"):
        connector: aiohttp.BaseConnector = aiohttp_socks.ProxyConnector.from_url(proxy, limit=0)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, trace_configs=[tracing])
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, proxy=proxy, timeout=timeout, trace_configs=[tracing])


async def _refuse_redirect(_client: aiohttp.ClientSession, _context: object, params: aiohttp.TraceRequestRedirectParams) -> None:
    params.response.close()
    target = location(params.response)
    raise Redirected(f"HTTP {params.response.status} to {redacted_url(str(target)) if target else 'no address'}")


def location(response: aiohttp.ClientResponse) -> URL | None:
    """The absolute target of a redirect; None if there is none that can be read."""
    try:
        return response.url.join(URL(response.headers["Location"]))
    except (KeyError, ValueError):
        return None


async def open_socket(client: aiohttp.ClientSession, url: str, limits: ExchangeLimits) -> Socket:
    """Open a websocket. Raises Retry; the error of a refusal by region (403, 451) has the alternative."""
    what = f"connect {redacted_url(url)}"
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            return await client.ws_connect(
                url,
                autoping=False,
                decode_text=False,
                max_msg_size=limits.message_bytes,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
    except aiohttp.WSServerHandshakeError as error:
        code = str(error.status)
        if code in REGION_REFUSED:
            raise region_refused(what, error.status, limits.alternative) from error
        raise Retry(f"{what}: HTTP {code}", after=retry_after(error.headers or {}, error.status), code=code) from error
    except Redirected as error:
        raise Retry(f"{what}: the redirect is not followed: {error}") from error
    except CONNECTION_ERRORS as error:
        raise connection_error(what, error) from error


async def send_close(socket: Socket) -> bool:
    """Send a close frame. False if the connection is lost."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.send_frame(aiohttp.WSCloseCode.OK.to_bytes(2, "big"), aiohttp.WSMsgType.CLOSE)
    except CONNECTION_ERRORS:
        return False
    return True


async def hang_up(socket: Socket, *, announced: bool) -> None:
    """Close the websocket, after a close frame unless that was `announced` before; no answer is awaited.

    aiohttp's own close reads until the peer's close frame, which never comes from a peer that goes on sending.
    """
    if not (socket.closed or announced):
        await send_close(socket)
    socket._response.close()


def redacted_url(url: str) -> str:
    """The URL without user, password, query and fragment, for logs and errors."""
    return str(URL(url).with_user(None).with_query(None).with_fragment(None))


def connection_error(what: str, error: BaseException) -> Retry:
    """The error of a failed connection, without the library's text where that may contain the whole URL."""
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return Retry(f"{what}: {type(error).__name__}")
    return Retry(f"{what}: {type(error).__name__}: {error}".removesuffix(": "))


def region_refused(what: str, status: int, alternative: str) -> Retry:
    """The error of a refusal by region. It is a Retry with a long wait, because the refusal may end."""
    return Retry(f"{what}: HTTP {status}, this address is refused; use {alternative}", after=REGION_SECONDS, code=str(status))


def retry_after(headers: Mapping[str, str], status: int) -> float | None:
    """Seconds to wait by the header Retry-After: seconds or an HTTP date (RFC 9110, 10.2.3). None if it is missing or invalid.

    The wait is at most `LONGEST_WAIT_SECONDS`, so that one response cannot stop a source for longer.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        seconds = float(value)
    elif (date := _date(value)) is not None:
        seconds = max(0.0, date.timestamp() - time.time())
    else:
        return None
    return min(seconds, LONGEST_WAIT_SECONDS.get(status, HOUR))


def made_at(headers: Mapping[str, str]) -> int | None:
    """The header Date (RFC 9110, 6.6.1, whole seconds) in microseconds: when the server made the response. None if missing."""
    date = _date(headers.get("Date", ""))
    return None if date is None else int(date.timestamp()) * SECOND


def _date(text: str) -> datetime | None:
    """An HTTP date; None if it is invalid. The zone -0000 means UTC too."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: a year of twenty digits
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
