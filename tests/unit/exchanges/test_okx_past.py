"""History of OKX: recorded rows are loaded value by value through the documented paging."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.exchanges.okx import exchange as okx
from ingest.exchanges.okx import history as _okx_past
from ingest.protocol.http import Request
from ingest.records import MINUTE, SECOND, Candle, Trade
from tests.support.exchanges.binance_rest import recorded_minutes
from tests.support.exchanges.okx import BTC, MERGED, OPTIONS, nautilus
from tests.support.exchanges.past import LATER, HistoryResult, history_request, load_history, path_and_query
from tests.support.recordings.files import received

DAY = 1440 * MINUTE
MILLISECOND = 1000


class Exchange:
    """Rows newest first; `after` selects older ones, `before` newer ones, both exclusive. `listed` is in milliseconds.

    https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades-history
    """

    def __init__(self, trades: Sequence[dict[str, str]] = (), bars: Sequence[list[str]] = (), listed: int = 0) -> None:
        self._trades = trades
        self._bars = bars
        self._listed = listed

    def __call__(self, request: Request) -> bytes:
        path, query = path_and_query(request)
        assert query.pop("instId") == "BTC-USDT"
        if path == "/api/v5/public/instruments":
            return answer([{"listTime": str(self._listed)}])
        after, before, limit = int(query.get("after", 1 << 62)), int(query.get("before", -1)), int(query["limit"])
        if path == "/api/v5/market/history-trades":
            field = {"1": "tradeId", "2": "ts"}[query["type"]]
            return answer([row for row in self._trades[::-1] if int(row[field]) < after][:limit])
        assert (path, query["bar"]) == ("/api/v5/market/history-candles", "1m")
        return answer([bar for bar in self._bars[::-1] if before < int(bar[0]) < after][:limit])


def answer(data: list[Any]) -> bytes:
    return json.dumps({"code": "0", "msg": "", "data": data}).encode()


def recorded_trades() -> list[dict[str, str]]:
    """69 trades with consecutive ids in 41 ms, recorded from the websocket, in the shape of REST, which has the same values.

    They are of the channel `trades` in 2022, whose ids were those of single fills, too.
    """
    messages = [json.loads(line.text) for line in received("OKX.ws.1.0") if '"channel":"trades"' in line.text]
    return [row for message in messages for row in message.get("data", ()) if row["instId"] == "BTC-USDT"]


def as_trade(row: dict[str, str]) -> Trade:
    return Trade(BTC.id, int(row["ts"]) * MILLISECOND, int(row["tradeId"]), row["px"], row["sz"], row["side"], LATER)


def recorded_bars() -> list[list[str]]:
    """Sixty consecutive 1m bars in the documented shape, with values recorded from Binance."""
    return [[str(row[0]), *row[1:6], row[7], row[7], "1"] for row in recorded_minutes()]


def as_candle(bar: list[str]) -> Candle:
    time, *digits, _, quote_volume, _ = bar
    return Candle(BTC.id, "1m", int(time) * MILLISECOND, *digits, quote_volume, None, None, None, None, None, 1, "rest", LATER)


def trades(exchange: Exchange, since: int, until: int, ids: tuple[int, int] | None = None, at: int = LATER) -> HistoryResult:
    return load_history(okx.history(history_request(BTC, "trades", since, until, ids), OPTIONS, "rest"), exchange, at)


def candles(bars: Sequence[list[str]], since: int, until: int, at: int = LATER) -> HistoryResult:
    return load_history(okx.history(history_request(BTC, "candles", since, until), OPTIONS, "rest"), Exchange(bars=bars), at)


def unstamped(records: Sequence[Any]) -> list[Any]:
    return [replace(record, received_at=LATER) for record in records]


@pytest.fixture(params=[1, 7, 68, 69, 100])
def page_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(_okx_past, "ROWS", request.param)
    return request.param


def test_all_trades_are_loaded_once_with_any_page_size(page_size: int) -> None:
    rows = recorded_trades()
    assert len(rows) == 69
    expected = [as_trade(row) for row in rows]
    since, until = expected[1].time + MILLISECOND, expected[-1].time + MILLISECOND
    result = trades(Exchange(rows), since, until)
    assert result.records == [trade for trade in expected if trade.time >= since]
    assert result.untils[-1] == until
    busiest = max(expected, key=lambda trade: sum(other.time == trade.time for other in expected)).time
    result = trades(Exchange(rows), busiest, busiest + 1)
    assert result.records == [trade for trade in expected if trade.time == busiest]
    assert len(result.records) > 1


def test_a_range_of_ids_is_loaded_by_id(page_size: int) -> None:
    rows = recorded_trades()
    ids = (int(rows[10]["tradeId"]), int(rows[20]["tradeId"]))
    result = trades(Exchange(rows), as_trade(rows[10]).time, as_trade(rows[20]).time, ids)
    assert result.records == [as_trade(row) for row in rows[10:21]]


def test_the_requests_for_trades() -> None:
    rows = recorded_trades()
    since, until = (as_trade(row).time for row in (rows[20], rows[60]))
    url = f"{OPTIONS.rest_url}/api/v5/market/history-trades?instId=BTC-USDT"
    last = max(int(row["tradeId"]) for row in rows if as_trade(row).time <= until)
    assert trades(Exchange(rows), since, until).requests == [
        Request(f"{url}&type=2&after={until // 1000 + 1}&limit=1"),
        Request(f"{url}&type=2&after={since // 1000 - 1}&limit=1"),
        Request(f"{url}&type=1&after={last + 1}&limit=100"),
    ]


def test_a_market_that_was_listed_later_is_no_error() -> None:
    rows = recorded_trades()
    first = as_trade(rows[0]).time
    now = first + 30 * DAY
    listed = Exchange(rows, listed=int(rows[0]["ts"]) - 5000)
    for since in (first - DAY, first - 1000 * DAY):
        result = trades(listed, since, now - DAY, at=now)
        assert unstamped(result.records) == [as_trade(row) for row in rows]
        assert result.untils[-1] == now - DAY
        assert len(result.requests) < 40  # a binary search in 338 million ids


def test_trades_older_than_the_oldest_are_refused_with_the_oldest() -> None:
    rows = recorded_trades()
    first = as_trade(rows[0])
    now = first.time + 90 * DAY
    message = f"trades are kept for 3 months; the oldest is trade {first.trade_id} of {first.time} us"
    ranges: list[tuple[int, tuple[int, int] | None]] = [
        (first.time - DAY, None),
        (first.time, (first.trade_id - 5, first.trade_id + 5)),
    ]
    for since, ids in ranges:
        with pytest.raises(Reject, match=message) as caught:
            trades(Exchange(rows, listed=1_500_000_000_000), since, now - DAY, ids, at=now)
        assert (caught.value.reason, caught.value.code) == ("history", str(first.time))
    with pytest.raises(Reject, match="the oldest is none"):
        trades(Exchange(listed=1_500_000_000_000), first.time, now - DAY, at=now)


def test_a_range_without_rows_is_loaded_to_its_end() -> None:
    assert trades(Exchange(), LATER - DAY, LATER - MINUTE)[:2] == ([], [LATER - MINUTE])
    assert trades(Exchange(recorded_trades()), LATER - DAY, LATER - MINUTE)[:2] == ([], [LATER - MINUTE])
    result = candles([], 0, MINUTE)
    assert (result.records, result.untils[-1]) == ([], MINUTE)


def test_all_candles_are_loaded_once_with_any_page_size(page_size: int) -> None:
    bars = recorded_bars()
    first, last = (int(bar[0]) * MILLISECOND for bar in (bars[0], bars[-1]))
    result = candles(bars, first, last + MINUTE)
    assert result.records == [as_candle(bar) for bar in bars]
    assert result.untils[-1] == last + MINUTE
    assert candles(bars, first + 1, last).records == [as_candle(bar) for bar in bars[1:-1]]


def test_recorded_candles_are_loaded() -> None:
    bars = json.loads(nautilus("http_get_candlesticks_full"))["data"][::-1]
    result = candles(bars, int(bars[0][0]) * MILLISECOND, LATER - MINUTE)
    assert result.records == [as_candle(bar) for bar in bars]


def test_years_without_a_candle_cost_few_requests(page_size: int) -> None:
    bars = recorded_bars()
    far = [[str(int(bar[0]) + 3 * 365 * 86_400_000), *bar[1:]] for bar in bars]
    first, last = int(bars[0][0]) * MILLISECOND, int(far[-1][0]) * MILLISECOND
    result = candles(bars + far, first - 700 * DAY, last + 400 * DAY)
    assert result.records == [as_candle(bar) for bar in bars + far]
    assert result.untils[-1] == last + 400 * DAY
    assert len(result.requests) < 2 * 60 // page_size + 60


def test_the_requests_for_candles() -> None:
    bars = recorded_bars()
    first = int(bars[0][0])
    result = candles(bars, first * MILLISECOND, first * MILLISECOND + 60 * MINUTE)
    url = f"{OPTIONS.rest_url}/api/v5/market/history-candles?instId=BTC-USDT&bar=1m"
    assert result.requests == [Request(f"{url}&after={first + 6_000_000}&before={first - 1}&limit=100")]


@pytest.mark.parametrize(("after", "closed"), [(0, 59), (9, 59), (10, 60)])
def test_an_unfinished_candle_is_not_loaded(after: int, closed: int) -> None:
    bars = recorded_bars()
    first, end = int(bars[0][0]) * MILLISECOND, int(bars[-1][0]) * MILLISECOND + MINUTE
    for confirmed in ("0", "1"):  # an unconfirmed bar is never loaded, a confirmed bar once it is old enough
        result = candles([*bars[:-1], [*bars[-1][:-1], confirmed]], first, end + MINUTE, at=end + after * SECOND)
        count = closed if confirmed == "1" else 59
        assert [candle.time for candle in result.records] == [int(bar[0]) * MILLISECOND for bar in bars[:count]]


@pytest.mark.parametrize("channel", ["trades", "candles"])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", Reject),
        (b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}', Reject),
        (b'{"code":"50011","msg":"Too Many Requests","data":[]}', Retry),
        (b'{"code":"0","data":[["1"]]}', Reject),
    ],
)
def test_a_malformed_response_is_rejected(channel: str, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_history(okx.history(history_request(BTC, channel, 0, LATER), OPTIONS, "rest"), lambda _: body)


def test_an_unknown_channel_or_method_is_refused() -> None:
    with pytest.raises(Reject, match="trade_kind 'trades' has no history; right would be trades-all"):
        okx.history(history_request(BTC, "trades", 0, 1), MERGED, "rest")
    with pytest.raises(Reject, match="'book' has no history; right would be: trades, candles"):
        okx.history(history_request(BTC, "book", 0, 1), OPTIONS, "rest")
    with pytest.raises(Reject, match="via is 'archive'; right would be one of: rest"):
        okx.history(history_request(BTC, "trades", 0, 1), OPTIONS, "archive")
