"""A server on loopback with archive files and klines in the form of Binance; it counts the requests.

https://github.com/binance/binance-public-data
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from aiohttp import web

DAY_US = 86_400_000_000


def listed(base: str, quote: str) -> dict[str, Any]:
    steps = [{"filterType": "PRICE_FILTER", "tickSize": "0.01"}, {"filterType": "LOT_SIZE", "stepSize": "0.00001"}]
    return {"symbol": base + quote, "status": "TRADING", "baseAsset": base, "quoteAsset": quote, "filters": steps}


class ArchiveServer:
    """Serves `files`, by path, and `klines`. A request for a path in `held` waits until its event is set."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.klines: list[list[Any]] = []
        self.held: dict[str, asyncio.Event] = {}
        self.request_counts: Counter[str] = Counter()  # by path

    def add(self, path: str, lines: Iterable[str], *, header: str = "", checksum: str = "") -> None:
        """Add a file; `path` is without `.zip`. `checksum` replaces the right one."""
        body = io.BytesIO()
        with ZipFile(body, "w", ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.rpartition('/')[2]}.csv", header + "".join(lines))
        self.files[f"/{path}.zip"] = body.getvalue()
        digest = checksum or sha256(body.getvalue()).hexdigest()
        self.files[f"/{path}.zip.CHECKSUM"] = f"{digest}  {path.rpartition('/')[2]}.zip\n".encode()

    async def handle(self, request: web.Request) -> web.Response:
        self.request_counts[request.path] += 1
        if request.path in self.held:
            await self.held[request.path].wait()
        match request.path.rpartition("/")[2]:
            case "exchangeInfo":
                return web.json_response({"symbols": [listed("BTC", "USDT"), listed("ADA", "BTC")]})
            case "klines":
                start, limit = (int(request.query[name]) for name in ("startTime", "limit"))
                end = int(request.query.get("endTime", 1 << 60))
                return web.json_response([row for row in self.klines if start <= row[0] <= end][:limit])
            case "aggTrades":
                return web.json_response([])
        if request.path not in self.files:
            return web.Response(status=404)
        return web.Response(body=self.files[request.path])


@asynccontextmanager
async def serving() -> AsyncIterator[ArchiveServer]:
    served = ArchiveServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", served.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


def whole_minutes(rows: Sequence[Sequence[Any]], since: int, until: int) -> list[list[Any]]:
    """The klines of every minute of [since, until), microseconds: `rows`, and between them minutes without trades, as Binance has.

    The price of such a minute is the close before it.
    """
    by_time = {row[0]: list(row) for row in rows}
    price, filled = rows[0][1], []
    for time in range(since // 1000, until // 1000, 60_000):
        row = by_time.get(time) or [
            time,
            price,
            price,
            price,
            price,
            "0.00000000",
            time + 59_999,
            "0.00000000",
            0,
            "0.00000000",
            "0.00000000",
        ]
        price = row[4]
        filled.append(row)
    return filled


def kline_lines(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a file with these klines."""
    return [",".join(map(str, row[:11])) + ",0\n" for row in rows]


def trade_lines(day: int, count: int, *, unit: int = 1, first: int = 1, step: int = 1) -> list[str]:
    """Synthetic trades in the documented format, evenly over a day, with the ids first, first + step, ...

    `day` is the start of the day in microseconds; `unit` is how many microseconds the file's time counts in, 1000 before 2025.
    """
    return [_trade_line(first + i * step, day + i * (DAY_US // count) // 1000 * 1000, unit) for i in range(count)]


def _trade_line(trade_id: int, time: int, unit: int) -> str:
    price, size = f"{16_578 + trade_id % 97}.{trade_id % 100:02d}000000", f"{trade_id % 13}.{1 + trade_id:08d}"
    return f"{trade_id},{price},{size},{price},{time // unit},{trade_id % 3 > 0},True\n"
