"""What the daemon tells of itself over HTTP: /metrics, /livez, /readyz, /status (JSON) and a page for people.

/livez never asks the database: restarting a process does not mend a server. /readyz says why not.
https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ingest.errors import Stop
from ingest.metrics import Metrics

Status = Mapping[str, Any]

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>ingest</title>
<style>body{{font:15px/1.5 system-ui;margin:2em;max-width:70em}}table{{border-collapse:collapse;margin:.5em 0 1.5em}}
td,th{{text-align:left;padding:.15em 1.2em .15em 0;border-bottom:1px solid #ddd;vertical-align:top}}</style>
<h1>ingest</h1>{body}<p><a href="/metrics">metrics</a> <a href="/status">status as JSON</a></p></html>"""


class Server:
    """Serves until stopped. `alive` and `unready` give the reasons against, none when all is well."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        metrics: Metrics,
        status: Callable[[], Status],
        alive: Callable[[], list[str]],
        unready: Callable[[], list[str]],
    ) -> None:
        self._host = host
        self._port = port
        self._metrics = metrics
        self._status = status
        self._alive = alive
        self._unready = unready
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises Stop where the address is taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/livez", self._serve_livez)
        app.router.add_get("/readyz", self._serve_readyz)
        app.router.add_get("/status", self._serve_status)
        app.router.add_get("/", self._serve_page)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            raise Stop(
                f"server.port: {self._host}:{self._port}: {error.strerror}; another one, or 0 for any, is set there"
            ) from error
        self._port = self._runner.addresses[0][1]

    @property
    def url(self) -> str:
        """Where it listens, after `start`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _serve_livez(self, _request: web.Request) -> web.Response:
        return _verdict(self._alive())

    async def _serve_readyz(self, _request: web.Request) -> web.Response:
        return _verdict(self._unready())

    async def _serve_status(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._status()), content_type="application/json")

    async def _serve_page(self, _request: web.Request) -> web.Response:
        body = "".join(f"<h2>{escape(name)}</h2>{_table(part)}" for name, part in self._status().items())
        return web.Response(text=_PAGE.format(body=body), content_type="text/html")


def _verdict(reasons: list[str]) -> web.Response:
    return web.Response(text="ok\n" if not reasons else "\n".join(reasons) + "\n", status=503 if reasons else 200)


def _table(value: object) -> str:
    """Nested mappings as nested tables."""
    if isinstance(value, Mapping):
        return (
            "<table>"
            + "".join(f"<tr><th>{escape(str(key))}</th><td>{_table(one)}</td></tr>" for key, one in value.items())
            + "</table>"
        )
    if isinstance(value, list):
        return "<br>".join(_table(one) for one in value)
    return escape("" if value is None else str(value))
