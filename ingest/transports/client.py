"""The HTTP client that websockets and requests share: its proxy, its timeouts, and the translation of what it raises.

https://docs.aiohttp.org/en/stable/client_reference.html. A SOCKS proxy belongs to a connector and so to the whole client:
what needs another proxy needs another client. A URL is shown without its query, because keys travel there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Literal

import aiohttp
import aiohttp_socks
from yarl import URL

from ingest.errors import Retry
from ingest.protocol.exchange import ExchangeLimits
from ingest.records import SECOND

Socket = aiohttp.ClientWebSocketResponse[Literal[False]]  # text frames arrive as bytes, undecoded

PROXY_LOST = (aiohttp_socks.ProxyConnectionError, aiohttp_socks.ProxyError, aiohttp_socks.ProxyTimeoutError)
LOST = (aiohttp.ClientError, *PROXY_LOST, TimeoutError, OSError)
REFUSED_HERE = ("403", "451")  # a websocket handshake says either where the exchange does not serve the region
OPEN_SECONDS = 20.0
CLOSE_SECONDS = 2.0
BLOCKED_SECONDS = 600.0  # a refusal by region is not lifted within minutes, but a person may mend the configuration any time


def open_client(proxy: str | None = None) -> aiohttp.ClientSession:
    """A client whose every connection goes through `proxy` (http, https, socks4, socks5), or directly. The caller closes it."""
    timeout = aiohttp.ClientTimeout(total=30, sock_connect=10)
    if proxy is not None and proxy.startswith("socks"):
        return aiohttp.ClientSession(connector=aiohttp_socks.ProxyConnector.from_url(proxy, limit=0), timeout=timeout)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), proxy=proxy, timeout=timeout)


async def open_socket(client: aiohttp.ClientSession, url: str, manners: ExchangeLimits) -> Socket:
    """One websocket handshake. Raises Retry; a refusal by region (451, 403) names the host to use instead."""
    what = f"connect {shown(url)}"
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            return await client.ws_connect(
                url,
                autoping=False,
                decode_text=False,
                max_msg_size=manners.message_bytes,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
    except aiohttp.WSServerHandshakeError as error:
        code = str(error.status)
        if code in REFUSED_HERE:
            raise blocked(what, error.status, manners.alternative) from error
        raise Retry(f"{what}: HTTP {code}", after=retry_after(error.headers or {}), code=code) from error
    except LOST as error:
        raise lost(what, error) from error


def shown(url: str) -> str:
    """The URL without user, query and fragment, fit for logs and errors."""
    return str(URL(url).with_user(None).with_query(None).with_fragment(None))


def lost(what: str, error: BaseException) -> Retry:
    """A failed connection, in our words. The library's own text is used only where it cannot hold the whole URL."""
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return Retry(f"{what}: {type(error).__name__}")
    return Retry(f"{what}: {type(error).__name__}: {error}".removesuffix(": "))


def blocked(what: str, status: int, alternative: str) -> Retry:
    """This address is not served. It may be lifted or the setting changed, so the daemon goes on trying, seldom."""
    return Retry(f"{what}: HTTP {status}, this address is refused; use {alternative}", after=BLOCKED_SECONDS, code=str(status))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def made_at(headers: Mapping[str, str]) -> int | None:
    """When the server says that its answer was made (RFC 9110, 6.6.1: whole seconds), in microseconds; None without a `Date`."""
    try:
        return int(parsedate_to_datetime(headers["Date"]).timestamp()) * SECOND
    except (KeyError, ValueError):
        return None
