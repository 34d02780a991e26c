"""Binance by REST and from the archive yields the same rows as the websocket."""

from __future__ import annotations

import json

import pytest

from ingest.errors import Reject
from ingest.exchanges.binance.archive import candle_from_archive, trade_from_archive
from ingest.exchanges.binance.parse import candles_from_rest, trades_from_rest
from ingest.records import Candle, Instrument, Trade
from tests.support.exchanges.binance import NOW, a_session, an_instrument, listed, options
from tests.support.recordings.files import load, read

BTC = an_instrument("BTCUSDT")


def rest(path: str, query: str) -> list[object]:
    """A recorded REST response of gocryptotrader's test data."""
    found = load("gocryptotrader/binance.http.json")["routes"][path]["GET"]
    return next(entry["data"] for entry in found if entry["queryString"] == query)


def test_one_trade_by_websocket_rest_and_archive_is_one_row() -> None:
    for row in rest("/api/v3/historicalTrades", "limit=5&symbol=BTCUSDT"):
        (by_rest,) = trades_from_rest(json.dumps([row]).encode(), BTC, "trade", NOW)
        assert by_rest == Trade(
            1, row["time"] * 1000, row["id"], row["price"], row["qty"], "sell" if row["isBuyerMaker"] else "buy", NOW
        )
        # in the format of the documentation, "Trade Streams" and binance-public-data, with the same values
        event = {"e": "trade", "E": row["time"] + 1, "s": "BTCUSDT", "t": row["id"], "p": row["price"], "q": row["qty"]}
        event |= {"b": 88, "a": 50, "T": row["time"], "m": row["isBuyerMaker"], "M": True}
        frame = json.dumps({"stream": "btcusdt@trade", "data": event}, separators=(",", ":")).encode()
        assert a_session("trades", symbols=["BTCUSDT"], given=options("trade")).feed(frame, NOW) == (by_rest,)
        for time in (row["time"], row["time"] * 1000 + 789):
            cells = [row["id"], row["price"], row["qty"], row["quoteQty"], time, row["isBuyerMaker"], row["isBestMatch"]]
            assert trade_from_archive(",".join(map(str, cells)), BTC, "trade", NOW) == by_rest


def test_one_aggregate_by_rest_and_archive_is_one_row() -> None:
    row = rest("/api/v3/aggTrades", "limit=1000&symbol=BTCUSDT")[0]
    expected = Trade(1, 1588749117459000, 284861205, "9039.74000000", "0.17700100", "sell", 5)
    assert trades_from_rest(json.dumps([row]).encode(), BTC, "aggTrade", 5) == [expected]
    line = "284861205,9039.74000000,0.17700100,310207484,310207484,1588749117459,True,True\n"
    assert trade_from_archive(line, BTC, "aggTrade", 5) == expected


@pytest.mark.parametrize(
    "line", ["id,price,qty,quote_qty,time,is_buyer_maker", "id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch"]
)
def test_a_header_of_the_archive_is_no_trade(line: str) -> None:
    assert trade_from_archive(line, BTC, "trade", 5) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1,2,3",
        "1,NaN,3,4,1588749117459,True,True",
        "x,2,3,4,1588749117459,True,True",
        "1,2,3,4,5.5,True,True",
        "1,2,3,4,5,maybe,True",
        "1,2,3,4,5,True,True",
    ],
)
def test_a_line_of_the_archive_that_is_no_trade_is_rejected(line: str) -> None:
    with pytest.raises(Reject):
        trade_from_archive(line, BTC, "trade", 5)


def test_a_rest_row_without_its_maker_is_rejected() -> None:
    row = rest("/api/v3/aggTrades", "limit=3&symbol=BTCUSDT")[0]  # recorded with an empty name in place of `m`
    with pytest.raises(Reject, match="missing required field `m`"):
        trades_from_rest(json.dumps([row]).encode(), BTC, "aggTrade", 5)


def test_a_bad_row_of_rest_is_rejected_alone() -> None:
    good, bad = rest("/api/v3/historicalTrades", "limit=5&symbol=BTCUSDT")[:2]
    found = trades_from_rest(json.dumps([good, bad | {"price": "NaN"}]).encode(), BTC, "trade", 5)
    assert [trade.trade_id for trade in found] == [good["id"]]
    (rejected,) = found.rejected
    assert (rejected.reason, json.loads(rejected.payload)["id"]) == ("value", bad["id"])


def test_archived_candles_equal_the_lines() -> None:
    lines = read("binance_archive/ADABTC-1m-2021-11-27.csv").decode().splitlines()
    assert len(lines) == 10
    for line in lines:
        time, open_, high, low, close, volume, _, quote, count, taker, taker_quote, _ = line.split(",")
        assert candle_from_archive(line, BTC, 5) == Candle(
            instrument_id=1,
            interval="1m",
            time=int(time) * 1000,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            quote_volume=quote,
            trades_count=int(count),
            taker_buy_volume=taker,
            taker_buy_quote_volume=taker_quote,
            first_trade_id=None,
            last_trade_id=None,
            parts=1,
            origin="archive",
            received_at=5,
        )


def test_archived_candles_in_microseconds() -> None:
    line = read("binance_archive/BTCUSDT-1h-2025-02.csv").decode().splitlines()[0]
    candle = candle_from_archive(line, BTC, 5)
    assert candle is not None
    assert (candle.time, candle.open) == (1738368000000000, "102429.56000000")


def test_a_candle_by_rest() -> None:
    row = rest("/api/v3/klines", "endTime=1673146800000&interval=1h&limit=1000&startTime=1672516800000&symbol=BTCUSDT")[0]
    (candle,) = candles_from_rest(json.dumps([row]).encode(), BTC, 5)  # it is a 1h candle: a response does not contain its interval
    assert candle == Candle(
        instrument_id=1,
        interval="1m",
        time=1672516800000000,
        open="16570.14000000",
        high="16574.97000000",
        low="16564.09000000",
        close="16568.60000000",
        volume="2622.14355000",
        quote_volume="43448487.21898430",
        trades_count=90705,
        taker_buy_volume="1311.38111000",
        taker_buy_quote_volume="21729512.48593310",
        first_trade_id=None,
        last_trade_id=None,
        parts=1,
        origin="rest",
        received_at=5,
    )
    with pytest.raises(Reject, match="unexpected REST response"):
        candles_from_rest(json.dumps([row[:6]]).encode(), BTC, 5)


def test_a_listing_of_2025_and_one_without_filters() -> None:
    body = json.dumps(rest("/api/v3/exchangeInfo", "")).encode()
    assert Instrument("binance", "ETHBTC", "ETH/BTC", "ETH", "BTC", "spot", "trading", "0.00001000", "0.00010000") in listed(body)
    (bare,) = listed(read("nautilus/binance/spot.http_json.exchange_info_response.json"))
    assert bare == Instrument("binance", "ETHBTC", "ETH/BTC", "ETH", "BTC", "spot", "trading")


def test_a_step_of_zero_is_none() -> None:
    body = json.dumps(rest("/api/v3/exchangeInfo", "")).encode()
    # documentation, "Filters": a value of 0 disables the rule
    disabled = body.replace(b'"tickSize": "0.00001000"', b'"tickSize": "0.00000000"')
    assert disabled != body
    (eth,) = [instrument for instrument in listed(disabled) if instrument.symbol == "ETHBTC"]
    assert (eth.price_step, eth.size_step) == (None, "0.00010000")
