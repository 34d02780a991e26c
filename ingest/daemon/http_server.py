"""Serves the state of the daemon over HTTP: /metrics, /livez, /readyz, /status (JSON) and / (HTML).

/livez does not depend on the database, because a restart of the daemon does not repair a database server. The body of a 503
response has the reasons. A request whose Host is the name of another server is refused, because a page in a browser could otherwise
read the status through a name that resolves to this address (DNS rebinding).
https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from html import escape
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ingest.daemon.http_connections import BoundedConnections, BoundedHandler
from ingest.errors import Stop
from ingest.metrics import Metrics

Status = Mapping[str, Any]

RENDER_SECONDS = 1.0  # a later request renders the metrics anew
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d+)?")  # and a port

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>ingest</title>
<style>body{{font:15px/1.5 system-ui;margin:2em;max-width:70em}}table{{border-collapse:collapse;margin:.5em 0 1.5em}}
td,th{{text-align:left;padding:.15em 1.2em .15em 0;border-bottom:1px solid #ddd;vertical-align:top}}</style>
<h1>ingest</h1>{body}<p><a href="/metrics">metrics</a> <a href="/status">status as JSON</a></p></html>"""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises Stop if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        message = f"server.port: {host}:{port}: {error.strerror}; right would be a free port of this host, or 0 for any"
        raise Stop(message) from error


class Server:
    """Serves on `listener`. `stuck` and `unready` return the reasons for which /livez and /readyz answer 503; empty for 200.

    A request may name this server as `localhost`, by any address, or by one of `hosts`.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        metrics: Metrics,
        status: Callable[[], Status],
        stuck: Callable[[], list[str]],
        unready: Callable[[], list[str]],
        hosts: Collection[str] = (),
    ) -> None:
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._listener = listener
        self._metrics = metrics
        self._status = status
        self._stuck = stuck
        self._unready = unready
        self._hosts = {"localhost", *(name.lower() for name in hosts)}
        self._rendered: tuple[float, bytes] | None = None  # monotonic time, /metrics
        self._connections = BoundedConnections()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while the block runs, then close the socket."""
        app = web.Application(middlewares=[self._admit])
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/livez", self._serve_livez)
        app.router.add_get("/readyz", self._serve_readyz)
        app.router.add_get("/status", self._serve_status)
        app.router.add_get("/", self._serve_page)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        assert runner.server is not None
        handler = partial(BoundedHandler, runner.server, self._connections)
        server = await asyncio.get_running_loop().create_server(handler, sock=self._listener)
        closing = asyncio.create_task(self._connections.close_idle())
        try:
            yield
        finally:
            closing.cancel()
            server.close()
            await runner.cleanup()

    @web.middleware
    async def _admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._connections.touch(request.protocol)
        if _is_host(request.headers.get("Host", "localhost"), self._hosts):
            response = await handler(request)
        else:
            text = "the name of this server is not one of server.hosts\n"
            response = web.Response(text=text, status=HTTPStatus.MISDIRECTED_REQUEST)
        response.force_close()  # a client that sends many requests at once gets one response
        return response

    async def _serve_metrics(self, _request: web.Request) -> web.Response:
        now = time.monotonic()
        if self._rendered is None or now - self._rendered[0] >= RENDER_SECONDS:
            self._rendered = now, self._metrics.render()
        return web.Response(body=self._rendered[1], headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _serve_livez(self, _request: web.Request) -> web.Response:
        return _verdict(self._stuck())

    async def _serve_readyz(self, _request: web.Request) -> web.Response:
        return _verdict(self._unready())

    async def _serve_status(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._status()), content_type="application/json")

    async def _serve_page(self, _request: web.Request) -> web.Response:
        body = "".join(f"<h2>{escape(name)}</h2>{_table(part)}" for name, part in self._status().items())
        return web.Response(text=_PAGE.format(body=body), content_type="text/html")


def _is_host(host: str, names: Collection[str]) -> bool:
    """Whether the header Host is an address, or one of `names`, in any case and with any port."""
    match = _HOST.fullmatch(host)
    name = match[1].lower().removesuffix(".") if match else ""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return name in names
    return True


def _verdict(reasons: list[str]) -> web.Response:
    return web.Response(text="ok\n" if not reasons else "\n".join(reasons) + "\n", status=503 if reasons else 200)


def _table(value: object) -> str:
    """HTML of a value: a mapping is a table, a list has a line for each item."""
    if isinstance(value, Mapping):
        return (
            "<table>"
            + "".join(f"<tr><th>{escape(str(key))}</th><td>{_table(item)}</td></tr>" for key, item in value.items())
            + "</table>"
        )
    if isinstance(value, list):
        return "<br>".join(map(_table, value))
    return escape("" if value is None else str(value))
