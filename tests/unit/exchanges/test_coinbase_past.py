"""History of Coinbase Exchange: recorded rows are loaded value by value through the documented paging."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.exchanges.coinbase import exchange as coinbase
from ingest.exchanges.coinbase import history as coinbase_past
from ingest.protocol.http import Request
from ingest.records import MINUTE, SECOND, Candle, Trade
from tests.support.exchanges.coinbase import REST, an_instrument, options
from tests.support.exchanges.past import LATER, HistoryResult, history_request, load_history, path_and_query
from tests.support.recordings.files import read, received

OPTIONS = options()
SKL = an_instrument("SKL-USD")
DAY = 1440 * MINUTE


class Exchange:
    """Rows newest first. `after` selects smaller ids; `start` and `end` of candles are inclusive, and at most 300 are sent.

    https://docs.cdp.coinbase.com/exchange/rest-api/pagination
    """

    def __init__(self, trades: Sequence[dict[str, Any]] = (), bars: Sequence[list[str]] = ()) -> None:
        self._trades = trades
        self._bars = bars

    def __call__(self, request: Request) -> bytes:
        path, query = path_and_query(request)
        if path == "/products/SKL-USD/trades":
            older = [row for row in self._trades if row["trade_id"] < int(query.get("after", 1 << 62))]
            return json.dumps(older[::-1][: int(query["limit"])]).encode()
        assert path == "/products/SKL-USD/candles"
        length = int(query["granularity"])
        start, end = (seconds(query[name]) for name in ("start", "end"))
        assert (end - start) // length < 300
        times = sorted(
            {int(bar[0]) // length * length for bar in self._bars} if length > 60 else {int(bar[0]) for bar in self._bars}
        )
        first = {int(bar[0]) // length * length: bar[1:] for bar in reversed(self._bars)}
        rows = [[str(time), *first[time]] for time in reversed(times) if start <= time <= end]
        return ("[" + ",".join(f"[{','.join(row)}]" for row in rows) + "]").encode()


def seconds(time: str) -> int:
    return int(datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def recorded_trades() -> list[dict[str, Any]]:
    """53 fills with consecutive ids, recorded from the websocket, in the documented shape of REST, which has the same values."""
    messages = [json.loads(line.text) for line in received("COINBASE.ws.28.0")]
    fills = [m for m in messages if m["type"] in ("match", "last_match") and m["product_id"] == "SKL-USD"]
    return [{name: fill[name] for name in ("trade_id", "side", "size", "price", "time")} for fill in fills]


def as_trade(row: dict[str, Any]) -> Trade:
    time = int(datetime.fromisoformat(row["time"]).timestamp()) * SECOND + int(row["time"][-7:-1])
    side = {"buy": "sell", "sell": "buy"}[row["side"]]
    return Trade(1, time, row["trade_id"], row["price"], row["size"], side, LATER)


def recorded_bars() -> list[list[str]]:
    """Ten consecutive 1m bars, oldest first."""
    return json.loads(read("xchange/coinbasepro/example-historical-candles.json"), parse_float=str, parse_int=str)[::-1]


def as_candle(bar: list[str]) -> Candle:
    time, low, high, open_, close, volume = bar
    digits = (open_, high, low, close, volume)
    return Candle(1, "1m", int(time) * SECOND, *digits, None, None, None, None, None, None, 1, "rest", LATER)


def trades(rows: Sequence[dict[str, Any]], since: int, until: int, ids: tuple[int, int] | None = None) -> HistoryResult:
    return load_history(coinbase.history(history_request(SKL, "trades", since, until, ids), OPTIONS, "rest"), Exchange(rows))


def candles(bars: Sequence[list[str]], since: int, until: int, at: int = LATER) -> HistoryResult:
    return load_history(coinbase.history(history_request(SKL, "candles", since, until), OPTIONS, "rest"), Exchange(bars=bars), at)


@pytest.mark.parametrize("page", [1, 2, 7, 52, 53, 1000])
def test_all_trades_are_loaded_once_with_any_page_size(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coinbase_past, "TRADES", page)
    rows = recorded_trades()
    assert len(rows) == 53
    expected = [as_trade(row) for row in rows]
    result = trades(rows, 0, expected[-1].time + 1)
    assert result.records == expected
    assert result.untils[-1] == expected[-1].time + 1
    times = sorted({trade.time for trade in expected})
    for since, until in ((times[3], times[-4]), (times[1] + 1, times[-2] + 1), (times[4], times[4] + 1)):
        assert trades(rows, since, until).records == [trade for trade in expected if since <= trade.time < until]


@pytest.mark.parametrize("page", [1, 4, 1000])
def test_a_range_of_ids_is_loaded_by_id(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coinbase_past, "TRADES", page)
    rows = recorded_trades()
    result = trades(rows, 0, 1, (rows[10]["trade_id"], rows[20]["trade_id"]))
    assert result.records == [as_trade(row) for row in rows[10:21]]
    assert trades(rows, 0, 1, (rows[-1]["trade_id"] + 1, rows[-1]["trade_id"] + 9)).records == []


def test_ids_that_are_not_dense_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coinbase_past, "TRADES", 3)
    rows = recorded_trades()
    rows = rows[:5] + rows[15:20] + rows[40:]
    assert trades(rows, 0, LATER - MINUTE).records == [as_trade(row) for row in rows]


def test_the_requests_for_trades() -> None:
    rows = recorded_trades()
    url = f"{REST}/products/SKL-USD/trades"
    first, last = rows[10]["trade_id"], rows[20]["trade_id"]
    assert trades(rows, 0, 1, (first, last)).requests == [
        Request(f"{url}?limit=1"),
        Request(f"{url}?after={last + 1}&limit=1000"),
    ]
    by_time = trades(rows, as_trade(rows[10]).time, as_trade(rows[20]).time).requests
    assert by_time[0] == Request(f"{url}?limit=1")
    assert len(by_time) < 26  # a binary search in 1.6 million ids
    assert by_time[-1] == Request(f"{url}?after={rows[-1]['trade_id'] + 1}&limit=1000")


def test_a_range_without_rows_is_loaded_to_its_end() -> None:
    assert trades([], 0, MINUTE)[:2] == ([], [MINUTE])
    assert trades(recorded_trades(), LATER - MINUTE, LATER - SECOND * 30)[:2] == ([], [LATER - SECOND * 30])
    assert candles([], 0, MINUTE)[0] == []
    assert candles([], 0, MINUTE).untils[-1] == MINUTE


@pytest.mark.parametrize("window", [1, 3, 300])
def test_all_candles_are_loaded_once_with_any_window(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coinbase_past, "BARS", window)
    bars = recorded_bars()
    first, last = (int(bar[0]) * SECOND for bar in (bars[0], bars[-1]))
    result = candles(bars, first, last + MINUTE)
    assert result.records == [as_candle(bar) for bar in bars]
    assert result.untils[-1] == last + MINUTE
    assert candles(bars, first + 1, last).records == [as_candle(bar) for bar in bars[1:-1]]


def test_bars_before_the_window_are_left_out() -> None:
    """As documented, some candles may precede the declared start."""
    bars = recorded_bars()
    body = read("xchange/coinbasepro/example-historical-candles.json")
    since = int(bars[6][0]) * SECOND
    result = load_history(
        coinbase.history(history_request(SKL, "candles", since, since + 2 * MINUTE), OPTIONS, "rest"), lambda _: body
    )
    assert result.records == [as_candle(bar) for bar in bars[6:8]]


def test_years_without_a_trade_cost_few_requests() -> None:
    bars = recorded_bars()
    far = [[str(int(bar[0]) + 3 * 365 * 86400), *bar[1:]] for bar in bars]
    first, last = int(bars[0][0]) * SECOND, int(far[-1][0]) * SECOND
    result = candles(bars + far, first - 700 * DAY, last + 400 * DAY)
    assert result.records == [as_candle(bar) for bar in bars + far]
    assert result.untils[-1] == last + 400 * DAY
    assert len(result.requests) < 40
    assert {path_and_query(request)[1]["granularity"] for request in result.requests} == {"60", "86400"}


def test_the_requests_for_candles() -> None:
    bars = recorded_bars()
    result = candles(bars, int(bars[0][0]) * SECOND, int(bars[0][0]) * SECOND + 400 * MINUTE)
    url = f"{REST}/products/SKL-USD/candles?granularity=60"
    assert result.requests == [
        Request(f"{url}&start=2018-02-01T00:00:00Z&end=2018-02-01T04:59:00Z"),
        Request(f"{url}&start=2018-02-01T05:00:00Z&end=2018-02-01T09:59:00Z"),
        Request(f"{REST}/products/SKL-USD/candles?granularity=86400&start=2018-02-01T00:00:00Z&end=2018-11-27T00:00:00Z"),
    ]


@pytest.mark.parametrize(("after", "closed"), [(0, 9), (9, 9), (10, 10)])
def test_an_unfinished_candle_is_not_loaded(after: int, closed: int) -> None:
    bars = recorded_bars()
    first, end = int(bars[0][0]) * SECOND, int(bars[-1][0]) * SECOND + MINUTE
    result = candles(bars, first, end + MINUTE, at=end + after * SECOND)
    assert [candle.time for candle in result.records] == [int(bar[0]) * SECOND for bar in bars[:closed]]
    assert result.untils[-1] == first + closed * MINUTE


def test_an_unknown_channel_or_method_is_refused() -> None:
    with pytest.raises(Reject, match="'quotes' has no history; right would be: trades, candles"):
        coinbase.history(history_request(SKL, "quotes", 0, 1), OPTIONS, "rest")
    with pytest.raises(Reject, match="via is 'archive'; right would be one of: rest"):
        coinbase.history(history_request(SKL, "trades", 0, 1), OPTIONS, "archive")


@pytest.mark.parametrize("body", [b"<html>", b'{"message":"NotFound"}', b'[[60,"NaN",1,1,1,1]]', b"[[1]]"])
@pytest.mark.parametrize("channel", ["trades", "candles"])
def test_a_malformed_response_is_rejected(channel: str, body: bytes) -> None:
    with pytest.raises(Reject):
        load_history(coinbase.history(history_request(SKL, channel, 0, LATER), OPTIONS, "rest"), lambda _: body)
