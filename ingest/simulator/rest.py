"""The REST API of the simulated exchange: the public market data endpoints of spot.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints. Errors are HTTP 400 with Binance's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web

from ingest.simulator import wire
from ingest.simulator.faults import Faults
from ingest.simulator.market import Deal, Market

Query = Mapping[str, str]


class Rest:
    """Responds from the markets, unless a fault is due. Each request adds 1 to the documented weight header."""

    def __init__(self, markets: Mapping[str, Market], faults: Faults, now: Callable[[], int]) -> None:
        self._markets = markets
        self._faults = faults
        self._now = now
        self._requests = 0
        self._answers: dict[str, Callable[[Query], Any]] = {
            "ping": lambda query: {},
            "time": lambda query: {"serverTime": now()},
            "exchangeInfo": self._exchange_info,
            "depth": self._depth,
            "klines": self._klines,
            "trades": self._trades,
            "historicalTrades": self._historical_trades,
            "aggTrades": self._agg_trades,
        }

    async def handle(self, request: web.Request) -> web.Response:
        self._requests += 1
        headers = {"x-mbx-used-weight-1m": str(self._requests)}
        refusal = self._faults.refusal(request.path)
        if refusal is not None:
            return web.Response(status=refusal.status, headers=headers | refusal.headers, body=refusal.body)
        answer = self._answers.get(request.match_info["name"])
        if answer is None:
            return web.Response(status=404, headers=headers)
        try:
            body = answer(request.query)
        except _Refused as error:
            return _json({"code": error.code, "msg": error.message}, headers, status=400)
        if self._faults.has_odd_level(request.path):
            body = msgspec.json.decode(wire.with_odd_level(wire.encode(body)))
        return _json(body, headers)

    def _market(self, query: Query) -> Market:
        market = self._markets.get(query.get("symbol", ""))
        if market is None:
            raise _Refused(-1121, "Invalid symbol.")
        return market

    def _exchange_info(self, query: Query) -> wire.Json:
        markets = [self._market(query)] if "symbol" in query else list(self._markets.values())
        return wire.exchange_info([market.spec for market in markets], self._now())

    def _depth(self, query: Query) -> wire.Json:
        market = self._market(query)
        return wire.depth(market.last_update, market.book(), _number(query, "limit", 100, most=5000))

    def _klines(self, query: Query) -> list[list[Any]]:
        market = self._market(query)
        if query.get("interval") != "1m":
            raise _Refused(-1120, "Invalid interval.")
        limit = _number(query, "limit", 500, most=1000)
        start, end = _number(query, "startTime", 0), _number(query, "endTime", self._now())
        bars = [bar for bar in [*market.bars, market.bar] if start <= bar.time <= end]
        return [wire.kline_row(bar) for bar in (bars[:limit] if "startTime" in query else bars[-limit:])]

    def _trades(self, query: Query) -> list[wire.Json]:
        market = self._market(query)
        limit = _number(query, "limit", 500, most=1000)
        return [wire.trade_row(deal) for deal in market.deals(market.next_id - limit)]

    def _historical_trades(self, query: Query) -> list[wire.Json]:
        market = self._market(query)
        limit = _number(query, "limit", 500, most=1000)
        first = _number(query, "fromId", market.next_id - limit)
        return [wire.trade_row(deal) for deal in market.deals(first, first + limit - 1)]

    def _agg_trades(self, query: Query) -> list[wire.Json]:
        market = self._market(query)
        limit = _number(query, "limit", 500, most=1000)
        deals: Iterator[Deal]
        if "startTime" in query or "endTime" in query:
            start, end = _number(query, "startTime", 0), _number(query, "endTime", self._now())
            deals = filter(lambda deal: start <= deal.time <= end, market.deals())
        else:
            deals = market.deals(_number(query, "fromId", market.next_id - limit))
        return [wire.agg_trade_row(deal) for deal in islice(deals, limit)]


class _Refused(Exception):
    """An error with Binance's code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _number(query: Query, name: str, default: int, most: int | None = None) -> int:
    text = query.get(name, str(default))
    if not text.isdigit():
        raise _Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text) if most is None else min(int(text), most)


def _json(body: Any, headers: dict[str, str], status: int = 200) -> web.Response:
    return web.Response(status=status, headers=headers, body=msgspec.json.encode(body), content_type="application/json")
