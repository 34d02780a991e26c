"""History of Gate: recorded trades and bars are loaded value by value through the documented requests.

There is no recording of Gate: the rows are recorded from Binance, in the shape that Gate documents.
https://www.gate.com/docs/developers/apiv4/en/#query-market-transaction-records
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.exchanges.gate import exchange as gate
from ingest.exchanges.gate import history as _gate_past
from ingest.protocol.http import Request
from ingest.records import MINUTE, SECOND, Candle, Trade
from tests.support.exchanges import binance_rest
from tests.support.exchanges.gate import BTC, OPTIONS
from tests.support.exchanges.past import LATER, HistoryResult, history_request, load_history, path_and_query, run_flow

DAY = 1440 * MINUTE


class Exchange:
    """The order of rows, and whether `to` is inclusive, are not documented, so they are parameters."""

    def __init__(
        self,
        trades: Sequence[Any] = (),
        bars: Sequence[Any] = (),
        *,
        opened: int = 0,
        newest_first: bool = True,
        inclusive: bool = True,
    ) -> None:
        self._trades = trades
        self._bars = bars
        self._opened = opened
        self._newest_first = newest_first
        self._inclusive = inclusive

    def __call__(self, request: Request) -> bytes:
        path, query = path_and_query(request)
        if path == "/api/v4/spot/currency_pairs/BTC_USDT":
            return json.dumps({"id": "BTC_USDT", "buy_start": self._opened, "sell_start": self._opened}).encode()
        assert query["currency_pair"] == "BTC_USDT"
        since, until = int(query["from"]), int(query["to"])
        if path == "/api/v4/spot/candlesticks":
            assert query["interval"] == "1m"
            assert (until - since) // 60 + 1 <= 999
            return json.dumps([bar for bar in self._bars if since <= int(bar[0]) <= until]).encode()
        assert path == "/api/v4/spot/trades"
        rows = [row for row in self._trades if since <= float(row["create_time_ms"]) / 1000 < until + self._inclusive]
        rows = rows[::-1] if self._newest_first else rows
        limit, page = int(query["limit"]), int(query["page"])
        return json.dumps(rows[limit * (page - 1) : limit * page]).encode()


def recorded_trades(count: int = 60) -> list[dict[str, str]]:
    """Trades with consecutive ids, many with the same time; their half second is stretched to minutes."""
    side = {True: "sell", False: "buy"}
    rows = binance_rest.recorded_trades()
    first = rows[0]["time"]
    return [
        {
            "id": str(row["id"] + 10**9),
            "create_time_ms": f"{first + (row['time'] - first) * 777}.{row['id'] % 1000:03d}",
            "side": side[row["isBuyerMaker"]],
            "amount": row["qty"],
            "price": row["price"],
            "sequence_id": str(row["id"]),
        }
        for row in rows[:count]
    ]


def as_trade(row: dict[str, str]) -> Trade:
    time = int(row["create_time_ms"].split(".")[0]) * 1000
    return Trade(BTC.id, time, int(row["sequence_id"]), row["price"], row["amount"], row["side"], LATER)


def recorded_bars() -> list[list[str]]:
    """Sixty consecutive 1m bars."""
    return [
        [str(time // 1000), quote, close, high, low, opened, volume, "true"]
        for time, opened, high, low, close, volume, _, quote, *_ in binance_rest.recorded_minutes()
    ]


def as_candle(bar: list[str]) -> Candle:
    time, quote, close, high, low, opened, volume, _ = bar
    return Candle(
        BTC.id, "1m", int(time) * SECOND, opened, high, low, close, volume, quote, None, None, None, None, None, 1, "rest", LATER
    )


def trades(exchange: Exchange, since: int, until: int, ids: tuple[int, int] | None = None, at: int = LATER) -> HistoryResult:
    return load_history(gate.history(history_request(BTC, "trades", since, until, ids), OPTIONS, "rest"), exchange, at)


def candles(exchange: Exchange, since: int, until: int, at: int = LATER) -> HistoryResult:
    return load_history(gate.history(history_request(BTC, "candles", since, until), OPTIONS, "rest"), exchange, at)


@pytest.fixture(autouse=True)
def unlimited_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are years old; the limits of the history have a test of their own."""
    monkeypatch.setattr(_gate_past, "KEPT", {"trades": LATER, "candles": LATER})


@pytest.fixture(params=[1, 7, 68, 1000])
def page_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(_gate_past, "ROWS", request.param)
    monkeypatch.setattr(_gate_past, "BARS", request.param if request.param < 999 else 999)
    return request.param


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("inclusive", [True, False])
def test_all_trades_are_loaded_once_in_order(page_size: int, newest_first: bool, inclusive: bool) -> None:
    rows = recorded_trades()
    expected = [as_trade(row) for row in rows]
    assert len({trade.time for trade in expected}) < len(expected)
    since, until = expected[1].time + 1000, expected[-1].time
    result = trades(Exchange(rows, newest_first=newest_first, inclusive=inclusive), since, until)
    assert result.records == [trade for trade in expected if since <= trade.time < until]
    assert len(result.records) > 40
    assert result.untils[-1] == until


def test_a_range_of_ids_is_loaded_by_id(page_size: int) -> None:
    rows = recorded_trades()
    ids = (int(rows[10]["sequence_id"]), int(rows[20]["sequence_id"]))
    result = trades(Exchange(rows), as_trade(rows[10]).time, as_trade(rows[20]).time, ids)
    assert result.records == [as_trade(row) for row in rows[10:21]]


def test_a_busy_second_is_read_by_pages() -> None:
    """A thousand trades in one second fill the page of that second."""
    rows = recorded_trades(1000)
    first = binance_rest.recorded_trades()[0]["time"]
    rows = [row | {"create_time_ms": str(first // 1000 * 1000 + index // 3)} for index, row in enumerate(rows)]
    result = trades(Exchange(rows), first // 1000 * SECOND, (first // 1000 + 1) * SECOND)
    assert result.records == [as_trade(row) for row in rows]
    assert [path_and_query(request)[1]["page"] for request in result.requests[-2:]] == ["2", "1"]


def test_the_requests_for_trades() -> None:
    rows = recorded_trades()
    since = as_trade(rows[0]).time
    second = since // SECOND
    result = trades(Exchange(rows), since, since + 100 * SECOND)
    url = "https://test/api/v4/spot/trades?currency_pair=BTC_USDT&limit=1000"
    assert result.requests == [
        Request("https://test/api/v4/spot/currency_pairs/BTC_USDT"),
        Request(f"{url}&from={second}&to={second + 60}&page=1"),
        Request(f"{url}&from={second + 60}&to={second + 101}&page=1"),
    ]


def test_all_candles_are_loaded_once_with_any_page_size(page_size: int) -> None:
    bars = recorded_bars()
    first, last = (int(bar[0]) * SECOND for bar in (bars[0], bars[-1]))
    result = candles(Exchange(bars=bars), first, last + MINUTE)
    assert result.records == [as_candle(bar) for bar in bars]
    assert result.untils[-1] == last + MINUTE
    assert candles(Exchange(bars=bars), first + 1, last).records == [as_candle(bar) for bar in bars[1:-1]]


def test_the_requests_for_candles() -> None:
    bars = recorded_bars()
    first = int(bars[0][0])
    result = candles(Exchange(bars=bars), first * SECOND, (first + 3600) * SECOND)
    assert result.requests[1:] == [
        Request(f"https://test/api/v4/spot/candlesticks?currency_pair=BTC_USDT&interval=1m&from={first}&to={first + 3540}")
    ]


@pytest.mark.parametrize(("after", "closed"), [(0, 59), (9, 59), (10, 60)])
def test_an_unfinished_candle_is_not_loaded(after: int, closed: int) -> None:
    bars = recorded_bars()
    first, end = int(bars[0][0]) * SECOND, int(bars[-1][0]) * SECOND + MINUTE
    for flag in ("false", "true"):  # an unfinished bar is never loaded, a finished bar once it is old enough
        result = candles(Exchange(bars=[*bars[:-1], [*bars[-1][:-1], flag]]), first, end + MINUTE, at=end + after * SECOND)
        count = closed if flag == "true" else 59
        assert [candle.time for candle in result.records] == [int(bar[0]) * SECOND for bar in bars[:count]]


@pytest.mark.parametrize(("channel", "kept"), [("trades", 30 * DAY), ("candles", 9990 * MINUTE)])
def test_a_range_older_than_the_history_is_refused_with_its_beginning(
    channel: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    since = LATER - kept - DAY
    with pytest.raises(Reject, match=f"BTC_USDT: {channel} are kept for") as caught:
        load_history(gate.history(history_request(BTC, channel, since, LATER - DAY), OPTIONS, "rest"), Exchange(opened=1))
    assert (caught.value.reason, caught.value.code) == ("history", str(LATER - kept))
    opened = (LATER - kept) // SECOND // 60 * 60 + 60  # rounded up to a whole minute
    result = load_history(gate.history(history_request(BTC, channel, since, LATER - DAY), OPTIONS, "rest"), Exchange(opened=opened))
    assert (result.records, result.untils[-1]) == ([], LATER - DAY)
    assert min(int(path_and_query(request)[1]["from"]) for request in result.requests[1:]) == opened


@pytest.mark.parametrize("late", [0, 7])
def test_the_first_candle_of_a_market_is_found_from_its_opening(late: int) -> None:
    bars = recorded_bars()
    opened = int(bars[0][0]) + 1
    flow = gate.opening(BTC, OPTIONS)
    exchange = Exchange(bars=bars[late:], opened=opened)
    assert run_flow(flow, exchange) == int(bars[late][0]) * SECOND
    assert run_flow(gate.opening(BTC, OPTIONS), Exchange(opened=opened)) is None


def test_the_opening_of_a_market_whose_first_candles_are_not_kept_is_that_of_the_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert run_flow(gate.opening(BTC, OPTIONS), Exchange(opened=1_600_000_000)) == 1_600_000_000 * SECOND
    assert run_flow(gate.opening(BTC, OPTIONS), Exchange()) == 0  # unknown


@pytest.mark.parametrize("channel", ["trades", "candles"])
def test_a_range_without_rows_costs_few_requests(channel: str) -> None:
    result = load_history(gate.history(history_request(BTC, channel, LATER - 9 * DAY, LATER - MINUTE), OPTIONS, "rest"), Exchange())
    assert (result.records, result.untils[-1]) == ([], LATER - MINUTE)
    assert len(result.requests) < 30


@pytest.mark.parametrize("channel", ["trades", "candles"])
@pytest.mark.parametrize("body", [b"<html>", b'{"label":"INVALID_CURRENCY_PAIR"}', b'[["1"]]'])
def test_a_malformed_response_is_rejected(channel: str, body: bytes) -> None:
    exchange = Exchange()
    with pytest.raises(Reject):
        load_history(
            gate.history(history_request(BTC, channel, 0, LATER), OPTIONS, "rest"),
            lambda request: exchange(request) if "currency_pairs" in request.url else body,
        )


def test_an_unknown_channel_or_method_is_refused() -> None:
    with pytest.raises(Reject, match="'book' has no history; right would be: trades, candles"):
        gate.history(history_request(BTC, "book", 0, 1), OPTIONS, "rest")
    with pytest.raises(Reject, match="via is 'archive'; right would be one of: rest"):
        gate.history(history_request(BTC, "trades", 0, 1), OPTIONS, "archive")
