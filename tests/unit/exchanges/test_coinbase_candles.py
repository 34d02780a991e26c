"""Coinbase's candles by REST: when they are requested, and how responses are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ingest.errors import Reject
from ingest.exchanges.coinbase import exchange as coinbase
from ingest.exchanges.coinbase import parse as coinbase_parse
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Session
from ingest.records import MINUTE, SECOND, Candle
from tests.support.exchanges.coinbase import REST, a_session, an_instrument
from tests.support.recordings.files import read

LAST = 1517443740 * SECOND  # the newest bar of the recorded response


def candles_body() -> bytes:
    return read("xchange/coinbasepro/example-historical-candles.json")


def recorded_candles(received_at: int) -> list[Candle]:
    rows = json.loads(candles_body(), parse_float=str, parse_int=str)
    return [
        Candle(
            instrument_id=1,
            interval="1m",
            time=int(time) * SECOND,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            quote_volume=None,
            trades_count=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            first_trade_id=None,
            last_trade_id=None,
            parts=1,
            origin="rest",
            received_at=received_at,
        )
        for time, low, high, open_, close, volume in reversed(rows)
    ]


def candles_request(minute: int) -> Request:
    start, end = (datetime.fromtimestamp(m // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for m in (minute - 4 * MINUTE, minute))
    return Request(f"{REST}/products/BTC-USD/candles?granularity=60&start={start}&end={end}", weight=1, tag="BTC-USD")


def btc_candles(now: int) -> Session:
    session = a_session("candles", products=["BTC-USD"])
    session.start(now)
    session.tick(now)
    return session


def test_recorded_candles_keep_their_digits() -> None:
    assert coinbase_parse.candles_from_rest(candles_body(), an_instrument("BTC-USD"), 5) == recorded_candles(5)
    assert "4.727521520000001" in {candle.volume for candle in recorded_candles(5)}
    (tiny,) = coinbase_parse.candles_from_rest(b"[[1517443740,1e-8,2E-8,1.50e-8,1e-8,1e3]]", an_instrument("X"), 5)
    assert (tiny.low, tiny.open, tiny.volume) == ("0.00000001", "0.0000000150", "1000")
    with pytest.raises(Reject, match="unexpected REST response"):
        coinbase_parse.candles_from_rest(b'{"message":"NotFound"}', an_instrument("X"), 5)


def test_closed_minutes_are_requested_and_yielded_once() -> None:
    closed_at = LAST + MINUTE
    session = btc_candles(closed_at)
    assert session.tick(closed_at + SECOND) == []
    now = closed_at + 2 * SECOND
    assert session.tick(now) == [candles_request(LAST)]
    assert session.tick(now + SECOND) == []
    # the response has older bars than requested, which are left out
    assert session.answer(candles_request(LAST), Response(200, candles_body()), now) == recorded_candles(now)[-5:]
    assert session.last_message_at == [now]
    assert session.tick(now + 59 * SECOND) == []
    later = closed_at + MINUTE + 2 * SECOND
    assert session.tick(later) == [candles_request(LAST + MINUTE)]
    grown = candles_body().replace(b"2.85107455", b"2.9")
    (revised,) = session.answer(candles_request(LAST + MINUTE), Response(200, grown), later)
    assert (revised.time, revised.volume) == (LAST, "2.9")


def test_a_bar_that_is_still_open_is_left_out() -> None:
    session = btc_candles(LAST)
    now = LAST + 2 * SECOND
    assert session.tick(now) == [candles_request(LAST - MINUTE)]
    out = session.answer(candles_request(LAST - MINUTE), Response(200, candles_body()), now)
    assert out == recorded_candles(now)[-6:-1]


def test_a_bar_is_closed_by_the_clock_of_the_exchange() -> None:
    session = btc_candles(LAST + MINUTE)
    now = LAST + MINUTE + 2 * SECOND
    assert session.tick(now) == [candles_request(LAST)]
    answer = Response(200, candles_body(), received_at=now, made_at=LAST + 40 * SECOND)
    assert session.answer(candles_request(LAST), answer, now) == recorded_candles(now)[-5:-1]
    assert session.tick(now + 30 * SECOND) == [candles_request(LAST)]


def test_a_missing_minute_is_requested_again_once() -> None:
    session = btc_candles(LAST + MINUTE)
    now = LAST + MINUTE + 2 * SECOND
    (request,) = session.tick(now)
    assert session.answer(request, Response(200, b"[]"), now) == []
    assert session.tick(now + 4 * SECOND) == []
    assert session.tick(now + 5 * SECOND) == [request]
    assert session.answer(request, Response(200, b"[]"), now + 6 * SECOND) == []
    assert session.tick(now + 59 * SECOND) == []
    assert session.tick(now + 60 * SECOND) == [candles_request(LAST + MINUTE)]


def test_a_request_that_waits_is_not_repeated() -> None:
    """Requests wait in the transport while the exchange bans the address: 20 products made 980 in an hour."""
    session = btc_candles(LAST + MINUTE)
    now = LAST + MINUTE + 2 * SECOND
    (request,) = session.tick(now)
    later = now + 60 * MINUTE
    outputs = [output for second in range(1, 3601) for output in session.tick(now + second * SECOND)]
    assert [output for output in outputs if isinstance(output, Request)] == []
    (bad,) = session.answer(request, Response(200, b"<html>"), later)
    assert isinstance(bad, Malformed)
    assert session.tick(later + 4 * SECOND) == []
    assert session.tick(later + 5 * SECOND) == [candles_request(LAST + 60 * MINUTE)]


def test_the_requests_of_many_products_are_spread_over_the_minute() -> None:
    session = a_session("candles", products=[f"P{n}-USD" for n in range(100)])
    list(session.start(0))
    tags_by_second = [[request.tag for request in session.tick(now)] for now in range(0, 60 * SECOND, SECOND)]
    assert sorted(tag for tags in tags_by_second for tag in tags) == sorted(f"P{n}-USD" for n in range(100))
    assert max(map(len, tags_by_second)) <= coinbase.LIMITS.weight.amount


def test_a_candle_that_is_no_number_is_malformed() -> None:
    session = btc_candles(LAST + MINUTE)
    now = LAST + MINUTE + 2 * SECOND
    (request,) = session.tick(now)
    body = b'[[1517443740,"NaN",2,1,1,1],[1517443680,1,2,1,1,1]]'
    good, bad = session.answer(request, Response(200, body), now)
    assert (good.time, good.low) == (LAST - MINUTE, "1")
    assert isinstance(bad, Malformed)
    assert bad.reason == "value"


@pytest.mark.parametrize("number", [b"-1", b"1" * 5000, b"1e99", b'"NaN"'])
def test_a_number_that_is_no_price_is_refused(number: bytes) -> None:
    good = b"[1517443680,1,2,1,1,1]"
    bars = coinbase_parse.candles_from_rest(b"[[1517443740,%b,2,1,1,1],%b]" % (number, good), an_instrument("X"), 5)
    assert ([bar.low for bar in bars], [bad.reason for bad in bars.rejected]) == (["1"], ["value"])
    with pytest.raises(Reject, match="unexpected REST response, every row"):
        coinbase_parse.candles_from_rest(b"[[1517443740,%b,2,1,1,1]]" % number, an_instrument("X"), 5)


def test_a_failed_request_is_repeated() -> None:
    session = btc_candles(LAST + MINUTE)
    now = LAST + MINUTE + 2 * SECOND
    (request,) = session.tick(now)
    assert session.failed(request, now + SECOND) == ()
    assert session.last_message_at == [0]
    assert session.tick(now + 5 * SECOND) == []
    assert session.tick(now + 6 * SECOND) == [request]
    assert session.failed(request, now + 7 * SECOND) == ()
    assert session.tick(now + 59 * SECOND) == []
    assert session.tick(now + 60 * SECOND) == [candles_request(LAST + MINUTE)]
