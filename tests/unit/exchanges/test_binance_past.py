"""History of Binance by REST: recorded rows are loaded value by value through the documented paging."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice

import pytest

from ingest.errors import Reject
from ingest.exchanges.binance import exchange as binance
from ingest.exchanges.binance import history as past
from ingest.protocol.http import Request, Response
from ingest.records import MINUTE, SECOND, Trade
from tests.support.exchanges.binance import REST, an_instrument, options
from tests.support.exchanges.binance_rest import (
    Rest,
    Row,
    as_candle,
    as_trade,
    recorded_hours,
    recorded_minutes,
    recorded_trades,
    rest_rows,
)
from tests.support.exchanges.past import LATER, HistoryResult, history_request, load_history, run_flow

ETH = an_instrument("ETHBTC")
MILLISECOND = 1000


@pytest.fixture(params=[1, 7, 100, 999, 1000])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows of one response: small pages end within a millisecond; Binance sends 1000."""
    monkeypatch.setattr(past, "ROWS", request.param)
    return request.param


def trades(rows: Sequence[Row], since: int, until: int, ids: tuple[int, int] | None = None, at: int = LATER) -> HistoryResult:
    return load_history(
        binance.history(history_request(ETH, "trades", since, until, ids), options("trade"), "rest"), Rest(rows), at
    )


def candles(rows: Sequence[Row], since: int, until: int, at: int = LATER, made_at: int | None = None) -> HistoryResult:
    return load_history(
        binance.history(history_request(ETH, "candles", since, until), options(), "rest"), Rest(klines=rows), at, made_at
    )


def busiest(rows: Sequence[Row]) -> int:
    times = [row["time"] for row in rows]
    return max(times, key=times.count) * MILLISECOND


def test_all_trades_are_loaded_once_with_any_page_size(limit: int) -> None:
    rows = recorded_trades()
    result = trades(rows, rows[0]["time"] * MILLISECOND, rows[-1]["time"] * MILLISECOND + 1)
    assert result.records == [as_trade(row) for row in rows]
    assert result.untils[-1] == rows[-1]["time"] * MILLISECOND + 1


def test_a_millisecond_of_many_trades_is_loaded_whole_and_alone(limit: int) -> None:
    rows = recorded_trades()
    since = busiest(rows)
    result = trades(rows, since, since + MILLISECOND)
    expected = [as_trade(row) for row in rows if row["time"] * MILLISECOND == since]
    assert len(expected) == 74
    assert result.records == expected
    assert trades(rows, since + 1, since + MILLISECOND).records == []


def test_a_range_of_ids_is_loaded_by_id(limit: int) -> None:
    rows = recorded_trades()
    since = busiest(rows)
    first = next(number for number, row in enumerate(rows) if row["time"] * MILLISECOND == since)
    missing = rows[first + 10 : first + 60]
    result = trades(rows, since, since, (missing[0]["id"], missing[-1]["id"]))  # both ends of the range are in that millisecond
    assert result.records == [as_trade(row) for row in missing]


def test_the_requests_for_trades() -> None:
    rows = recorded_trades()
    result = trades(rows, rows[500]["time"] * MILLISECOND, rows[-1]["time"] * MILLISECOND + SECOND)
    first = next(row["id"] for row in rows if row["time"] == rows[500]["time"])
    assert result.requests == [
        Request(f"{REST}/api/v3/aggTrades?symbol=ETHBTC&startTime={rows[500]['time']}&limit=1000", weight=4),
        Request(f"{REST}/api/v3/historicalTrades?symbol=ETHBTC&fromId={first}&limit=1000", weight=25),
    ]


def test_a_market_that_was_listed_later_is_no_error() -> None:
    rows = recorded_trades()
    assert trades(rows, 0, rows[0]["time"] * MILLISECOND + 1).records == [
        as_trade(row) for row in rows if row["time"] == rows[0]["time"]
    ]
    minutes = recorded_minutes()
    assert candles(minutes, 0, LATER - MINUTE).records == [as_candle(row) for row in minutes]


def test_a_range_without_rows_is_loaded_to_its_end() -> None:
    rows = recorded_trades()
    assert trades(rows, LATER - SECOND * 90, LATER - SECOND * 30)[:2] == ([], [LATER - SECOND * 30])
    assert candles([], 0, MINUTE)[:2] == ([], [MINUTE])


def test_old_aggregates_without_a_trade_are_skipped() -> None:
    rows = recorded_trades()
    nothing = {"a": 0, "f": -1, "l": -1, "T": rows[0]["time"]}
    rest = Rest(rows, aggregates=[nothing, {"a": 1, "f": rows[0]["id"], "l": rows[0]["id"], "T": rows[0]["time"]}])
    request = history_request(ETH, "trades", 0, rows[0]["time"] * MILLISECOND + 1)
    result = load_history(binance.history(request, options("trade"), "rest"), rest)
    assert result.requests[1].url.endswith(f"&fromId={rows[0]['id']}&limit=1000")
    assert result.records == [as_trade(row) for row in rows if row["time"] == rows[0]["time"]]


def test_the_newest_trades_are_loaded_and_not_claimed() -> None:
    rows = recorded_trades()
    last = rows[-1]["time"] * MILLISECOND
    history = binance.history(history_request(ETH, "trades", last - SECOND, last + 3600 * SECOND), options("trade"), "rest")
    result = load_history(history, Rest(rows), at=last + 12 * SECOND)
    assert [trade.trade_id for trade in result.records] == [row["id"] for row in rows if row["time"] * MILLISECOND >= last - SECOND]
    assert result.untils == [last + 2 * SECOND]


def test_aggregates_are_loaded_with_trade_kind_aggtrade(limit: int) -> None:
    rows = rest_rows("/api/v3/aggTrades", "fromId=202790190&limit=1000&symbol=BTCUSDT")
    since, until = rows[3]["T"] * MILLISECOND, rows[-2]["T"] * MILLISECOND
    result = load_history(
        binance.history(history_request(ETH, "trades", since, until), options("aggTrade"), "rest"), Rest(aggregates=rows)
    )
    assert result.records == [
        Trade(1, row["T"] * MILLISECOND, row["a"], row["p"], row["q"], "sell" if row["m"] else "buy", LATER)
        for row in rows
        if since <= row["T"] * MILLISECOND < until
    ]
    assert {request.weight for request in result.requests} == {4}


def test_all_candles_are_loaded_once_with_any_page_size(limit: int) -> None:
    for rows in (recorded_minutes(), recorded_hours()[: 20 * limit]):
        result = candles(rows, rows[0][0] * MILLISECOND, rows[-1][0] * MILLISECOND + 1)
        assert result.records == [as_candle(row) for row in rows]
        assert result.untils[-1] == rows[-1][0] * MILLISECOND + 1
        assert candles(rows, rows[0][0] * MILLISECOND + 1, rows[-1][0] * MILLISECOND).records == result.records[1:-1]


def test_the_requests_for_candles() -> None:
    rows = recorded_hours()
    assert len(rows) == 1468
    result = candles(rows, rows[0][0] * MILLISECOND, rows[-1][0] * MILLISECOND + MINUTE)
    url = f"{REST}/api/v3/klines?symbol=ETHBTC&interval=1m"
    end = rows[-1][0] + 59_999
    assert result.requests == [
        Request(f"{url}&startTime={rows[0][0]}&endTime={end}&limit=1000", weight=2),
        Request(f"{url}&startTime={rows[999][0] + 60_000}&endTime={end}&limit=1000", weight=2),
    ]
    assert result.records == [as_candle(row) for row in rows]


@pytest.mark.parametrize(("after", "closed"), [(0, 59), (9, 59), (10, 60)])
def test_an_unfinished_candle_is_not_loaded(after: int, closed: int) -> None:
    rows = recorded_minutes()
    end = rows[-1][0] * MILLISECOND + MINUTE
    result = candles(rows, rows[0][0] * MILLISECOND, end + 30 * MINUTE, at=end + after * SECOND)
    assert [candle.time for candle in result.records] == [row[0] * MILLISECOND for row in rows[:closed]]
    assert result.untils == [rows[0][0] * MILLISECOND + closed * MINUTE]


def test_a_local_clock_that_is_ahead_does_not_close_a_candle() -> None:
    rows = recorded_minutes()
    end = rows[-1][0] * MILLISECOND + MINUTE
    result = candles(rows, rows[0][0] * MILLISECOND, end, at=end + 50 * SECOND, made_at=end - 20 * SECOND)
    assert [candle.time for candle in result.records] == [row[0] * MILLISECOND for row in rows[:-1]]
    assert result.untils == [end - MINUTE]


def test_a_history_that_is_left_early_and_resumed_loads_the_rest() -> None:
    rows = recorded_trades()
    until = rows[-1]["time"] * MILLISECOND + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(past, "ROWS", 70)
        first = list(islice(pages(Rest(rows), 0, until), 5))
        resumed = trades(rows, first[-1][1], until)
    result = {trade.trade_id: trade for trade in [t for records, _ in first for t in records] + resumed.records}
    assert list(result.values()) == [as_trade(row) for row in rows]


def pages(rest: Rest, since: int, until: int):
    history = binance.history(history_request(ETH, "trades", since, until), options("trade"), "rest")
    item = next(history)
    while True:
        if isinstance(item, Request):
            item = history.send(Response(200, rest(item), received_at=LATER))
        else:
            yield item.records, item.until
            item = next(history)


def test_an_unknown_channel_or_method_is_refused() -> None:
    with pytest.raises(Reject, match="'book' has no history; right would be: trades, candles"):
        binance.history(history_request(ETH, "book", 0, 1), options(), "rest")
    with pytest.raises(Reject, match="via is 'ftp'; right would be one of: rest, archive"):
        binance.history(history_request(ETH, "trades", 0, 1), options(), "ftp")


@pytest.mark.parametrize("body", [b"<html>", b'{"code":-1121,"msg":"Invalid symbol."}', b"[[1,2]]", b"\xff"])
@pytest.mark.parametrize("channel", ["trades", "candles"])
def test_a_malformed_response_is_rejected(channel: str, body: bytes) -> None:
    with pytest.raises(Reject):
        load_history(binance.history(history_request(ETH, channel, 0, LATER), options("trade"), "rest"), lambda _: body)


def test_the_first_candle_of_a_market_is_found() -> None:
    rows = recorded_minutes()
    assert run_flow(binance.opening(ETH, options()), Rest(klines=rows)) == rows[0][0] * MILLISECOND
    assert run_flow(binance.opening(ETH, options()), Rest()) is None


def test_a_page_of_candles_that_is_short_is_not_the_last() -> None:
    rows = recorded_minutes()
    rest = Rest(klines=rows)
    first, end = rows[0][0] * MILLISECOND, rows[-1][0] * MILLISECOND + MINUTE
    history = binance.history(history_request(ETH, "candles", first, end), options(), "rest")
    result = load_history(history, lambda request: json.dumps(json.loads(rest(request))[:25]).encode())
    assert result.records == [as_candle(row) for row in rows]
    assert (len(result.requests), result.untils[-1]) == (3, end)


def test_a_bad_candle_at_the_end_of_a_page_costs_itself() -> None:
    rows = recorded_minutes()
    bad = [*rows[:-1], [*rows[-1][:1], "x", *rows[-1][2:]]]
    result = candles(bad, rows[0][0] * MILLISECOND, rows[-1][0] * MILLISECOND + MINUTE)
    assert result.records == [as_candle(row) for row in rows[:-1]]
    assert len(result.rejected) == 1
