"""Binance's REST API for the tests: the documented paging over recorded rows.

Rows are oldest first; `fromId`, `startTime` and `endTime` are inclusive.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from ingest.errors import Reject
from ingest.protocol.http import Request
from ingest.records import Candle, Trade
from tests.support.exchanges.past import LATER, path_and_query
from tests.support.recordings.files import load

Row = Any


def rest_rows(path: str, query: str) -> list[Row]:
    """A recorded REST response from the test data of gocryptotrader."""
    found = load("gocryptotrader/binance.http.json")["routes"][path]["GET"]
    return next(entry["data"] for entry in found if entry["queryString"] == query)


def recorded_trades() -> list[Row]:
    """A thousand trades with consecutive ids, in 496 milliseconds; 74 of them are in one millisecond."""
    return rest_rows("/api/v3/trades", "limit=1000&symbol=ETHBTC")


def recorded_minutes() -> list[Row]:
    return rest_rows("/api/v3/klines", "endTime=1588743688000&interval=1m&startTime=1588740088000&symbol=BTCUSDT")


def recorded_hours() -> list[Row]:
    """1,468 consecutive hours. Served as minutes, they are a market with one busy minute in each hour."""
    queries = (
        "endTime=1591880400000&interval=1h&limit=1000&startTime=1588280400000",
        "endTime=1593572400000&interval=1h&limit=1000&startTime=1591880400000",
    )
    return [row for query in queries for row in rest_rows("/api/v3/klines", f"{query}&symbol=BTCUSDT")]


def aggregated(trades: Sequence[Row]) -> list[Row]:
    """Aggregate trades: as documented, fills of the same time, side and price are one."""
    groups = (list(group) for _, group in groupby(trades, lambda row: (row["time"], row["price"], row["isBuyerMaker"])))
    return [{"a": number, "f": group[0]["id"], "l": group[-1]["id"], "T": group[0]["time"]} for number, group in enumerate(groups)]


class Rest:
    """A function from a request to the body of its response, with the documented paging over these rows."""

    def __init__(self, trades: Sequence[Row] = (), klines: Sequence[Row] = (), aggregates: Sequence[Row] | None = None) -> None:
        self._trades = trades
        self._klines = klines
        self._aggregates = aggregated(trades) if aggregates is None else aggregates

    def __call__(self, request: Request) -> bytes:
        path, query = path_and_query(request)
        if path == "/api/v3/historicalTrades":
            rows = from_on(self._trades, int(query["fromId"]), lambda row: row["id"])
        elif path == "/api/v3/aggTrades" and "fromId" in query:
            rows = from_on(self._aggregates, int(query["fromId"]), lambda row: row["a"])
        elif path == "/api/v3/aggTrades":
            rows = from_on(self._aggregates, int(query["startTime"]), lambda row: row["T"])
        elif path == "/api/v3/klines":
            assert query["interval"] == "1m"
            rows = [row for row in self._klines if int(query["startTime"]) <= row[0] <= int(query.get("endTime", 1 << 60))]
        else:
            raise Reject(f"GET {request.url}: HTTP 404", reason="http", code="404")
        return json.dumps(rows[: int(query["limit"])]).encode()


def from_on(rows: Sequence[Row], first: int, value: Callable[[Row], int]) -> list[Row]:
    return [row for row in rows if value(row) >= first]


def as_trade(row: Row) -> Trade:
    side = "sell" if row["isBuyerMaker"] else "buy"
    return Trade(1, row["time"] * 1000, row["id"], row["price"], row["qty"], side, LATER)


def as_candle(row: Row, origin: str = "rest") -> Candle:
    time, open_, high, low, close, volume, _, quote, count, taker, taker_quote, _ = row
    digits = (open_, high, low, close, volume, quote)
    return Candle(1, "1m", int(time) * 1000, *digits, int(count), taker, taker_quote, None, None, 1, origin, LATER)
