"""A server on loopback that stands for any provider, and the settings of a daemon that polls it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from ingest.pollers.fred import SERIES as FRED

Answer = tuple[int, bytes, dict[str, str]]
JSON = {"Content-Type": "application/json"}
VIX = "/api/global/us_indices/daily_prices/VIX_History.csv"


class Providers:
    """Responses by path: first those of `once`, in order, then the one of `always`.

    A key of `always` may have one parameter (`/v2/api?action=dailytx`). None in `once` delays the response until `released` is set;
    it is then HTTP 503.
    """

    def __init__(self) -> None:
        self.url = ""
        self.once: dict[str, list[Answer | None]] = {}
        self.always: dict[str, Answer] = {}
        self.request_counts: Counter[str] = Counter()  # by path
        self.requests: list[web.Request] = []
        self.released = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.request_counts[request.path] += 1
        self.requests.append(request)
        queue = self.once.get(request.path)
        named = [f"{request.path}?{name}={value}" for name, value in request.query.items()]
        known = next((path for path in named if path in self.always), request.path)
        answer = queue.pop(0) if queue else self.always[known]
        if answer is None:
            await self.released.wait()
            return web.Response(status=503)
        status, body, headers = answer
        for validator, condition in (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")):
            if validator in headers and request.headers.get(condition) == headers[validator]:
                return web.Response(status=304)
        return web.Response(status=status, body=body, headers=headers)


@asynccontextmanager
async def serving(**always: Answer) -> AsyncIterator[Providers]:
    """Providers with a response for each path, which is given without its leading `/`."""
    made = Providers()
    made.always = {f"/{path}": answer for path, answer in always.items()}
    app = web.Application()
    app.router.add_get("/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        made.released.set()
        await runner.cleanup()


SIMPLE = b'{"bitcoin":{"aud":105280.51,"aud_market_cap":2072476876774.5,"aud_24h_vol":30231277399.25}}'


def recorded(real: Path) -> dict[str, Answer]:
    """Responses by path, recorded; those of mempool.space, Coin Metrics and FRED are documented examples."""
    chart = json.loads((real / "yahoo/chart-AAPL-2020-08-31-to-2020-11-07.json").read_text())["response"]["bodyJson"]
    markets = (real / "jkorf_coingecko/Endpoints.GetMarkets.txt").read_text().split("false\n", 1)[1]
    mining = b'{"hashrates":[{"timestamp":1652486400,"avgHashrate":236416872483600000000}],"difficulty":[]}'
    metrics = b'{"data":[{"asset":"btc","time":"2025-11-05T00:00:00.000000000Z","TxCnt":"399776"}]}'
    return {
        "coins/markets": (200, markets.encode(), JSON),
        "simple/price": (200, SIMPLE, JSON),
        "arc/outboundfeeds/rss/": (200, (real / "news_rss/coindesk_2026-09-25.xml").read_bytes(), {"Content-Type": "text/xml"}),
        VIX[1:]: (200, (real / "stock_indices/vix-daily.csv").read_bytes(), {}),
        "fng/": (200, (real / "alternative_me/fng_limit2_2026-09-08.json").read_bytes(), JSON),
        **{f"v8/finance/chart/^{name}": (200, json.dumps(chart).encode(), JSON) for name in ("GSPC", "IXIC", "VIX")},
        "api/v1/mining/hashrate/1y": (200, mining, JSON),
        "api/v1/mining/hashrate/1m": (200, mining, JSON),
        **{f"graph/fredgraph.csv?id={name}": (200, f"observation_date,{name}\n2026-07-02,1.5\n".encode(), {}) for name in FRED},
        "api/mempool": (200, b'{"count":8134,"vsize":3444604}', JSON),
        "v4/timeseries/asset-metrics": (200, metrics, JSON),
    }


FAST = {"interval": "100ms", "budget": {"per_minute": 100_000, "per_month": 1_000_000_000}}


def polling(dsn: str, providers: Providers, **pollers: dict[str, Any]) -> dict[str, Any]:
    """The settings of a daemon with these pollers, which all poll `providers` every 100 ms."""
    return {
        "name": "one",
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "pollers": {name: {"base_url": providers.url, **FAST, **section} for name, section in pollers.items()},
        "server": {"port": 0},
        "log": {"format": "json"},
        "shutdown_timeout": "5s",
    }
