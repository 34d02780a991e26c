"""History of Kraken: recorded rows are loaded value by value through the documented paging."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from ingest.errors import Reject, Retry
from ingest.exchanges.kraken import exchange as kraken
from ingest.exchanges.kraken import history as kraken_past
from ingest.protocol.http import Request
from ingest.records import MINUTE, SECOND, Candle, Instrument, Trade
from tests.support.exchanges.kraken import OPTIONS, nautilus
from tests.support.exchanges.past import LATER, HistoryResult, history_request, load_history, path_and_query

BTC = Instrument("kraken", "BTC/USDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=1)


def recorded() -> list[list[Any]]:
    """A thousand trades with consecutive ids."""
    return json.loads(nautilus("http_trades"), parse_float=Decimal)["result"]["XBTUSDT"]


def crowded() -> list[list[Any]]:
    """The same trades with a tenth of the times: at least ten trades have the same time."""
    rows = recorded()
    return [[*row[:2], rows[number // 10 * 10][2], *row[3:]] for number, row in enumerate(rows)]


class Exchange:
    """`since` and `last` in nanoseconds, rows oldest first. Whether `since` is inclusive is not documented, so both are tried."""

    def __init__(self, rows: Sequence[list[Any]], inclusive: bool) -> None:
        self._rows = rows
        self._inclusive = inclusive

    def __call__(self, request: Request) -> bytes:
        path, query = path_and_query(request)
        assert (path, query["pair"]) == ("/0/public/Trades", "XBTUSDT")
        since, count = int(query["since"]), int(query["count"])
        rows = [row for row in self._rows if nanos(row) > since or (self._inclusive and nanos(row) == since)][:count]
        last = str(nanos(rows[-1]) if rows else since)
        cells = [f'["{p}","{q}",{time},"{side}","{kind}","",{number}]' for p, q, time, side, kind, _, number in rows]
        return f'{{"error":[],"result":{{"XBTUSDT":[{",".join(cells)}],"last":"{last}"}}}}'.encode()


def nanos(row: list[Any]) -> int:
    return int(row[2] * 10**9)


def as_trade(row: list[Any]) -> Trade:
    price, size, time, side, _, _, trade_id = row
    return Trade(1, int(time * SECOND), trade_id, price, size, {"b": "buy", "s": "sell"}[side], LATER)


def load(exchange: Exchange, since: int, until: int, ids: tuple[int, int] | None = None) -> HistoryResult:
    return load_history(kraken.history(history_request(BTC, "trades", since, until, ids), OPTIONS, "rest"), exchange)


@pytest.fixture(params=[41, 100, 999, 1000])
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(kraken_past, "TRADES", request.param)
    return request.param


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("rows", [recorded, crowded])
def test_all_trades_are_loaded_once_with_any_page_size(rows, inclusive: bool, page: int) -> None:
    exchange = Exchange(rows(), inclusive)
    expected = [as_trade(row) for row in rows()]
    assert len(expected) == 1000
    whole = load(exchange, 0, expected[-1].time + 1)
    assert whole.records == expected
    assert whole.untils[-1] == expected[-1].time + 1
    since, until = expected[210].time, expected[790].time
    assert load(exchange, since, until).records == [trade for trade in expected if since <= trade.time < until]


def test_a_range_of_ids_is_loaded_by_id(page: int) -> None:
    rows = crowded()
    missing = rows[215:405]  # both ends have the same time as other trades
    result = load(Exchange(rows, True), as_trade(missing[0]).time, as_trade(missing[-1]).time, (missing[0][-1], missing[-1][-1]))
    assert result.records == [as_trade(row) for row in missing]


def test_the_requests_for_trades() -> None:
    rows = recorded()
    since = as_trade(rows[0]).time
    result = load(Exchange(rows, True), since, LATER - MINUTE)
    url = f"{OPTIONS.rest_url}/0/public/Trades?pair=XBTUSDT&count=1000"
    assert result.requests == [Request(f"{url}&since={(since - 1) * 1000}"), Request(f"{url}&since={nanos(rows[-1]) - 1}")]
    assert result.untils == [as_trade(rows[-1]).time, LATER - MINUTE]


def test_a_range_without_rows_is_loaded_to_its_end() -> None:
    assert load(Exchange(recorded(), True), LATER - 2 * MINUTE, LATER - MINUTE)[:2] == ([], [LATER - MINUTE])


def test_a_time_whose_trades_fill_a_page_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kraken_past, "TRADES", 10)
    with pytest.raises(Reject, match="10 trades at 1762795433971744500 ns fill a response"):
        load(Exchange(crowded(), True), 0, LATER - MINUTE)


def recorded_candles() -> list[Candle]:
    """The 720 finished bars; the 721st is unfinished and left out."""
    rows = json.loads(nautilus("http_ohlc"))["result"]["XBTUSDT"]
    return [
        Candle(1, "1m", time * SECOND, o, h, low, c, volume, None, count, None, None, None, None, 1, "rest", LATER)
        for time, o, h, low, c, _, volume, count in rows[:-1]
    ]


def candles(since: int, until: int) -> HistoryResult:
    history = kraken.history(history_request(BTC, "candles", since, until), OPTIONS, "rest")
    return load_history(history, lambda request: nautilus("http_ohlc"))


def test_the_finished_candles_are_loaded() -> None:
    expected = recorded_candles()
    assert len(expected) == 720
    result = candles(expected[0].time, expected[-1].time + MINUTE)
    assert result.records == expected
    assert result.untils == [expected[-1].time + MINUTE]
    assert result.requests == [Request(f"{OPTIONS.rest_url}/0/public/OHLC?pair=XBTUSDT&interval=1")]
    assert candles(expected[100].time + 1, expected[200].time).records == expected[101:200]


def test_candles_older_than_the_oldest_are_refused_with_the_oldest() -> None:
    first = recorded_candles()[0].time
    with pytest.raises(Reject, match="REST has only the candles of the last 720 minutes, since 1762777020000000 us") as caught:
        candles(first - 1, first + MINUTE)
    assert (caught.value.reason, caught.value.code) == ("history", str(first))


def test_a_market_that_was_listed_later_is_no_error() -> None:
    body = json.loads(nautilus("http_ohlc"))
    body["result"]["XBTUSDT"] = body["result"]["XBTUSDT"][-10:]
    history = kraken.history(history_request(BTC, "candles", 0, LATER - MINUTE), OPTIONS, "rest")
    assert load_history(history, lambda _: json.dumps(body).encode()).records == recorded_candles()[-9:]


@pytest.mark.parametrize("channel", ["trades", "candles"])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", Reject),
        (b'{"error":["EQuery:Unknown asset pair"]}', Reject),
        (b'{"error":["EAPI:Rate limit exceeded"]}', Retry),
        (b'{"error":["EService:Unavailable"]}', Retry),
        (b'{"error":[],"result":{"XBTUSDT":[[1]],"last":"1"}}', Reject),
    ],
)
def test_a_malformed_response_is_rejected(channel: str, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_history(kraken.history(history_request(BTC, channel, 0, LATER), OPTIONS, "rest"), lambda _: body)


def test_an_unknown_channel_or_method_is_refused() -> None:
    with pytest.raises(Reject, match="'book' has no history; right would be: trades, candles"):
        kraken.history(history_request(BTC, "book", 0, 1), OPTIONS, "rest")
    with pytest.raises(Reject, match="via is 'archive'; right would be one of: rest"):
        kraken.history(history_request(BTC, "trades", 0, 1), OPTIONS, "archive")
