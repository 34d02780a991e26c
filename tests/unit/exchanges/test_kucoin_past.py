"""History of KuCoin: rows are loaded value by value through the documented requests.

There is no recording of KuCoin: the rows are recorded from Binance, in the shape that KuCoin documents.
https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-klines
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ingest.errors import Reject, Retry
from ingest.exchanges.kucoin import exchange as kucoin
from ingest.exchanges.kucoin import history as _kucoin_past
from ingest.protocol.http import Request
from ingest.records import MINUTE, SECOND, Candle, Trade
from tests.support.exchanges import binance_rest
from tests.support.exchanges.kucoin import BTC, OPTIONS
from tests.support.exchanges.past import LATER, HistoryResult, history_request, load_history, path_and_query


class Exchange:
    """The last 100 trades; bars newest first. Whether `endAt` is inclusive is a parameter."""

    def __init__(self, trades: Sequence[Any] = (), bars: Sequence[Any] = (), *, inclusive: bool = True) -> None:
        self._trades = trades
        self._bars = bars
        self._inclusive = inclusive

    def __call__(self, request: Request) -> bytes:
        path, query = path_and_query(request)
        assert query["symbol"] == "BTC-USDT"
        if path == "/api/v1/market/histories":
            return answer(list(self._trades)[-100:])
        assert (path, query["type"]) == ("/api/v1/market/candles", "1min")
        since, until = int(query["startAt"]), int(query["endAt"]) + self._inclusive
        assert until - since <= 1500 * 60
        return answer([bar for bar in self._bars[::-1] if since <= int(bar[0]) < until])


def answer(data: list[Any]) -> bytes:
    return json.dumps({"code": "200000", "data": data}).encode()


def recorded_trades(count: int) -> list[dict[str, Any]]:
    side = {True: "sell", False: "buy"}
    return [
        {
            "sequence": str(row["id"]),
            "price": row["price"],
            "size": row["qty"],
            "side": side[row["isBuyerMaker"]],
            "time": row["time"] * 1_000_000 + 123,
        }
        for row in binance_rest.recorded_trades()[:count]
    ]


def as_trade(row: dict[str, Any]) -> Trade:
    return Trade(BTC.id, row["time"] // 1000, int(row["sequence"]), row["price"], row["size"], row["side"], LATER)


def recorded_bars() -> list[list[str]]:
    """Sixty consecutive 1m bars."""
    return [
        [str(time // 1000), opened, close, high, low, volume, quote]
        for time, opened, high, low, close, volume, _, quote, *_ in binance_rest.recorded_minutes()
    ]


def as_candle(bar: list[str]) -> Candle:
    time, opened, close, high, low, volume, quote = bar
    return Candle(
        BTC.id, "1m", int(time) * SECOND, opened, high, low, close, volume, quote, None, None, None, None, None, 1, "rest", LATER
    )


def trades(rows: Sequence[Any], since: int, until: int, ids: tuple[int, int] | None = None) -> HistoryResult:
    return load_history(kucoin.history(history_request(BTC, "trades", since, until, ids), OPTIONS, "rest"), Exchange(rows))


def candles(exchange: Exchange, since: int, until: int, at: int = LATER) -> HistoryResult:
    return load_history(kucoin.history(history_request(BTC, "candles", since, until), OPTIONS, "rest"), exchange, at)


def test_the_last_hundred_trades_are_loaded() -> None:
    rows = recorded_trades(250)
    expected = [as_trade(row) for row in rows[-100:]]
    since, until = expected[0].time + 1, expected[-1].time
    result = trades(rows, since, until)
    assert result.records == [trade for trade in expected if since <= trade.time < until]
    assert len(result.records) > 50
    assert result.untils == [until]
    assert result.requests == [Request("https://test/api/v1/market/histories?symbol=BTC-USDT", weight=2)]


def test_trades_older_than_the_oldest_are_refused_with_the_oldest() -> None:
    rows = recorded_trades(250)
    oldest = as_trade(rows[150]).time
    with pytest.raises(Reject, match="REST has only the last 100 trades") as caught:
        trades(rows, oldest, LATER)  # more trades of the oldest time may be missing
    assert (caught.value.reason, caught.value.code) == ("history", str(oldest + 1))


def test_a_market_with_fewer_trades_has_no_older_ones() -> None:
    rows = recorded_trades(99)
    result = trades(rows, 0, LATER - MINUTE)
    assert (result.records, result.untils) == ([as_trade(row) for row in rows], [LATER - MINUTE])
    assert trades([], 0, LATER - MINUTE)[:2] == ([], [LATER - MINUTE])


@pytest.mark.parametrize("bars", [1, 7, 59, 1000])
@pytest.mark.parametrize("inclusive", [True, False])
def test_all_candles_are_loaded_once_with_any_page_size(bars: int, inclusive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kucoin_past, "BARS", bars)
    rows = recorded_bars()
    first, last = (int(bar[0]) * SECOND for bar in (rows[0], rows[-1]))
    result = candles(Exchange(bars=rows, inclusive=inclusive), first, last + MINUTE)
    assert result.records == [as_candle(bar) for bar in rows]
    assert result.untils[-1] == last + MINUTE
    inner = candles(Exchange(bars=rows, inclusive=inclusive), first + 1, last)
    assert inner.records == [as_candle(bar) for bar in rows[1:-1]]


def test_the_requests_for_candles() -> None:
    rows = recorded_bars()
    first = int(rows[0][0])
    result = candles(Exchange(bars=rows), first * SECOND, (first + 3600) * SECOND)
    url = "https://test/api/v1/market/candles?symbol=BTC-USDT&type=1min"
    assert result.requests == [Request(f"{url}&startAt={first}&endAt={first + 3600}", weight=3)]


@pytest.mark.parametrize(("after", "closed"), [(0, 59), (9, 59), (10, 60)])
def test_an_unfinished_candle_is_not_loaded(after: int, closed: int) -> None:
    rows = recorded_bars()
    first, end = int(rows[0][0]) * SECOND, int(rows[-1][0]) * SECOND + MINUTE
    result = candles(Exchange(bars=rows), first, end + MINUTE, at=end + after * SECOND)
    assert [candle.time for candle in result.records] == [int(bar[0]) * SECOND for bar in rows[:closed]]


@pytest.mark.parametrize("channel", ["trades", "candles"])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", Reject),
        (b'{"code":"400100","msg":"symbol not exists"}', Reject),
        (b'{"code":"429000","msg":"Too Many Requests"}', Retry),
        (b'{"code":"200000","data":[["1"]]}', Reject),
    ],
)
def test_a_malformed_response_is_rejected(channel: str, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_history(kucoin.history(history_request(BTC, channel, 0, LATER), OPTIONS, "rest"), lambda _: body)


def test_an_unknown_channel_or_method_is_refused() -> None:
    with pytest.raises(Reject, match="'book' has no history; right would be: trades, candles"):
        kucoin.history(history_request(BTC, "book", 0, 1), OPTIONS, "rest")
    with pytest.raises(Reject, match="via is 'archive'; right would be one of: rest"):
        kucoin.history(history_request(BTC, "trades", 0, 1), OPTIONS, "archive")
