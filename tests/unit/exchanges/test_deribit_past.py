"""History of Deribit: recorded trades and bars are loaded value by value through the documented requests.

Ten trades are nautilus_trader's test data; where more are needed, they are rows recorded from Binance, in the shape of Deribit.
https://docs.deribit.com/#public-get_last_trades_by_instrument
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ingest.errors import Reject
from ingest.exchanges.deribit import exchange as deribit
from ingest.exchanges.deribit import history as _deribit_past
from ingest.protocol.http import Request
from ingest.records import MINUTE, SECOND, Candle, Trade
from tests.support.exchanges import binance_rest
from tests.support.exchanges.deribit import BTC, OPTIONS, nautilus, plain
from tests.support.exchanges.past import LATER, HistoryResult, history_request, load_history, path_and_query

Row = dict[str, Any]


class Exchange:
    """Ranges of numbers and times include both ends."""

    def __init__(self, trades: Sequence[Row] = (), bars: Sequence[Sequence[Any]] = ()) -> None:
        self._trades = trades
        self._bars = bars

    def __call__(self, request: Request) -> bytes:
        path, query = path_and_query(request)
        assert query["instrument_name"] == "BTC-PERPETUAL"
        if path == "/api/v2/public/get_tradingview_chart_data":
            assert query["resolution"] == "1"
            since, until = int(query["start_timestamp"]), int(query["end_timestamp"])
            columns = zip(*[bar for bar in self._bars if since <= bar[0] <= until], strict=True)
            names = ("ticks", "open", "high", "low", "close", "volume", "cost")
            chart = dict(zip(names, map(list, columns), strict=False)) or {name: [] for name in names}
            return numbers({"result": chart | {"status": "ok" if chart["ticks"] else "no_data"}})
        assert path == "/api/v2/public/get_last_trades_by_instrument"
        rows = [row for row in self._trades if is_requested(row, query)]
        if query.get("sorting") != "asc":
            rows = rows[::-1]
        return numbers({"result": {"trades": rows[: int(query["count"])], "has_more": True}})


def is_requested(row: Row, query: dict[str, str]) -> bool:
    since, until = int(query.get("start_timestamp", 0)), int(query.get("end_timestamp", 1 << 62))
    first, last = int(query.get("start_seq", 0)), int(query.get("end_seq", 1 << 62))
    return since <= row["timestamp"] <= until and first <= row["trade_seq"] <= last


numbers = msgspec.json.Encoder(decimal_format="number").encode  # writes a Decimal with its own digits


def recorded_trades(count: int = 60, first: int = 1000) -> list[Row]:
    side = {True: "sell", False: "buy"}
    return [
        {
            "trade_seq": first + index,
            "trade_id": str(row["id"]),
            "timestamp": row["time"],
            "price": Decimal(row["price"]),
            "amount": Decimal(row["qty"]),
            "direction": side[row["isBuyerMaker"]],
        }
        for index, row in enumerate(binance_rest.recorded_trades()[:count])
    ]


def as_trade(row: Row) -> Trade:
    price, amount = str(row["price"]), str(row["amount"])
    return Trade(
        BTC.id, row["timestamp"] * 1000, row["trade_seq"], price, amount, row["direction"], LATER, native_id=row["trade_id"]
    )


def recorded_bars() -> list[list[Any]]:
    """Sixty consecutive 1m bars."""
    return [
        [time, *map(Decimal, (opened, high, low, close, volume, quote))]
        for time, opened, high, low, close, volume, _, quote, *_ in binance_rest.recorded_minutes()
    ]


def as_candle(bar: Sequence[Any]) -> Candle:
    time, *values = bar
    return Candle(BTC.id, "1m", time * 1000, *map(str, values), None, None, None, None, None, 1, "rest", LATER)


def trades(rows: Sequence[Row], since: int, until: int, ids: tuple[int, int] | None = None) -> HistoryResult:
    return load_history(deribit.history(history_request(BTC, "trades", since, until, ids), OPTIONS, "rest"), Exchange(rows))


def candles(rows: Sequence[Sequence[Any]], since: int, until: int, at: int = LATER) -> HistoryResult:
    return load_history(deribit.history(history_request(BTC, "candles", since, until), OPTIONS, "rest"), Exchange(bars=rows), at)


@pytest.fixture(params=[1, 7, 59, 60, 1000])
def page_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(_deribit_past, "ROWS", request.param)
    return request.param


def test_all_trades_are_loaded_once_with_any_page_size(page_size: int) -> None:
    rows = recorded_trades()
    expected = [as_trade(row) for row in rows]
    assert len({trade.time for trade in expected}) < len(expected)
    since, until = expected[1].time + 1000, expected[-1].time
    result = trades(rows, since, until)
    assert result.records == [trade for trade in expected if since <= trade.time < until]
    assert len(result.records) > 30
    assert result.untils[-1] == until


def test_recorded_trades_are_loaded() -> None:
    rows = json.loads(nautilus("http_get_last_trades"))["result"]["trades"]
    result = load_history(
        deribit.history(history_request(BTC, "trades", rows[1]["timestamp"] * 1000, LATER - MINUTE), OPTIONS, "rest"),
        Exchange(rows),
    )
    texts = plain(nautilus("http_get_last_trades"))["result"]["trades"]
    assert result.records == [
        Trade(3, r["timestamp"] * 1000, r["trade_seq"], r["price"], r["amount"], r["direction"], LATER, native_id=r["trade_id"])
        for r in texts[1:]
    ]


def test_a_range_of_numbers_is_loaded_by_number(page_size: int) -> None:
    rows = recorded_trades()
    result = trades(rows, as_trade(rows[10]).time, as_trade(rows[20]).time, (1010, 1020))
    assert result.records == [as_trade(row) for row in rows[10:21]]


def test_the_requests_for_trades() -> None:
    rows = recorded_trades()
    since, until = as_trade(rows[30]).time, as_trade(rows[50]).time
    first = next(row for row in rows if row["timestamp"] >= since // 1000)["trade_seq"]
    last = [row for row in rows if row["timestamp"] <= until // 1000][-1]["trade_seq"]
    url = "https://test/api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL"
    assert trades(rows, since, until).requests == [
        Request(f"{url}&end_timestamp={until // 1000}&count=1&sorting=desc"),
        Request(f"{url}&start_timestamp={since // 1000}&count=1&sorting=asc"),
        Request(f"{url}&start_seq={first - 1}&end_seq={first - 1}&count=1"),
        Request(f"{url}&start_seq={first}&end_seq={last}&count=1000&sorting=asc"),
    ]


def test_a_market_that_was_opened_later_is_no_error() -> None:
    rows = recorded_trades(first=1)
    result = trades(rows, 0, LATER - MINUTE)
    assert result.records == [as_trade(row) for row in rows]
    assert result.untils[-1] == LATER - MINUTE


@pytest.mark.parametrize("until", [1, LATER - MINUTE], ids=["all of it is gone", "its beginning is gone"])
def test_trades_older_than_the_oldest_are_refused_with_the_oldest(until: int) -> None:
    rows = recorded_trades()
    first = as_trade(rows[0])
    ranges: list[tuple[int, tuple[int, int] | None]] = [(0, None), (first.time, (990, 1005))]
    for since, ids in ranges:
        with pytest.raises(Reject, match=f"the oldest trade that is kept is 1000, since {first.time} us") as caught:
            trades(rows, since, until, ids)
        assert (caught.value.reason, caught.value.code) == ("history", str(first.time))


def test_a_range_without_rows_is_loaded_to_its_end() -> None:
    assert trades([], 0, LATER - MINUTE)[:2] == ([], [LATER - MINUTE])
    assert trades(recorded_trades(), LATER - 5 * MINUTE, LATER - MINUTE)[:2] == ([], [LATER - MINUTE])
    result = candles([], 0, MINUTE)
    assert (result.records, result.untils[-1]) == ([], MINUTE)


def test_all_candles_are_loaded_once_with_any_page_size(page_size: int) -> None:
    bars = recorded_bars()
    first, last = bars[0][0] * 1000, bars[-1][0] * 1000
    result = candles(bars, first, last + MINUTE)
    assert result.records == [as_candle(bar) for bar in bars]
    assert result.untils[-1] == last + MINUTE
    assert candles(bars, first + 1, last).records == [as_candle(bar) for bar in bars[1:-1]]


def test_the_requests_for_candles() -> None:
    bars = recorded_bars()
    first = bars[0][0]
    result = candles(bars, first * 1000, first * 1000 + 60 * MINUTE)
    url = "https://test/api/v2/public/get_tradingview_chart_data?instrument_name=BTC-PERPETUAL"
    assert result.requests == [Request(f"{url}&start_timestamp={first}&end_timestamp={first + 3_540_000}&resolution=1")]


@pytest.mark.parametrize(("after", "closed"), [(0, 59), (9, 59), (10, 60)])
def test_an_unfinished_candle_is_not_loaded(after: int, closed: int) -> None:
    bars = recorded_bars()
    end = bars[-1][0] * 1000 + MINUTE
    result = candles(bars, bars[0][0] * 1000, end + MINUTE, at=end + after * SECOND)
    assert [candle.time for candle in result.records] == [bar[0] * 1000 for bar in bars[:closed]]


@pytest.mark.parametrize("channel", ["trades", "candles"])
@pytest.mark.parametrize("body", [b"<html>", b'{"error":{"code":13020,"message":"instrument_not_found"}}', b'{"result":[["1"]]}'])
def test_a_malformed_response_is_rejected(channel: str, body: bytes) -> None:
    with pytest.raises(Reject):
        load_history(deribit.history(history_request(BTC, channel, 0, LATER), OPTIONS, "rest"), lambda _: body)


def test_an_unknown_channel_or_method_is_refused() -> None:
    with pytest.raises(Reject, match="'book' has no history; right would be: trades, candles"):
        deribit.history(history_request(BTC, "book", 0, 1), OPTIONS, "rest")
    with pytest.raises(Reject, match="via is 'archive'; right would be one of: rest"):
        deribit.history(history_request(BTC, "trades", 0, 1), OPTIONS, "archive")
