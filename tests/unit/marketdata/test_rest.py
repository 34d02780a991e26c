"""REST responses row by row: a bad row is rejected alone, rejected rows are bounded, and only Retry and Reject are raised."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest.errors import Reject, Retry
from ingest.exchanges.deribit import exchange as deribit
from ingest.exchanges.gate import exchange as gate
from ingest.exchanges.kucoin import exchange as kucoin
from ingest.exchanges.kucoin.messages import ENVELOPE
from ingest.exchanges.okx import exchange as okx
from ingest.marketdata.rest import Rows, decode, make_rows, rows
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Response

OPTIONS = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind="")
DEEP = b"[" * 100_000
# a row of each listing, in the shape of the documentation
KUCOIN = {"symbol": "A-B", "name": "A-B", "priceIncrement": "0.1", "baseIncrement": "0.01", "enableTrading": True}
OKX = {"instId": "A-B", "baseCcy": "A", "quoteCcy": "B", "state": "live", "tickSz": "0.1", "lotSz": "0.01"}
GATE = {"id": "A_B", "base": "A", "quote": "B", "precision": 2, "amount_precision": 3, "trade_status": "tradable"}
DERIBIT = {
    "instrument_name": "A-B", "kind": "future", "base_currency": "A", "quote_currency": "B", "is_active": True,
    "tick_size": 0.5, "min_trade_amount": 1, "expiration_timestamp": 1_800_000_000_000, "settlement_period": "month",
}  # fmt: skip
LISTINGS: list[tuple[Any, dict[str, Any], str, list[dict[str, Any]]]] = [
    (kucoin, KUCOIN, '{"code":"200000","data":%s}', [{"priceIncrement": one} for one in (None, "-1", "1e41", "0", "9" * 5000)]),
    (okx, OKX, '{"code":"0","data":%s}', [{"tickSz": None}, {"tickSz": "-1"}, {"lotSz": "1e99"}, {"instId": 5}]),
    (gate, GATE, "%s", [{"precision": None}, {"precision": -1}, {"precision": 300_000_000}, {"amount_precision": 1e31}]),
    (deribit, DERIBIT, '{"result":%s}', [{"tick_size": one} for one in (None, -1, 1e99)]),
    (deribit, DERIBIT, '{"result":%s}', [{"expiration_timestamp": one} for one in (10**17, 1e31, -1)]),
]


def listing(exchange: Any, body: bytes) -> Any:
    flow = exchange.listing(OPTIONS)
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(Response(200, body))
    return done.value.value


@pytest.mark.parametrize(
    ("exchange", "row", "envelope", "odd"),
    [(exchange, row, envelope, odd) for exchange, row, envelope, odds in LISTINGS for odd in odds],
)
def test_a_bad_row_of_a_listing_is_rejected_alone(exchange: Any, row: dict[str, Any], envelope: str, odd: dict[str, Any]) -> None:
    listed = listing(exchange, (envelope % json.dumps([row | odd, row])).encode())
    assert len(listed) == 1
    (bad,) = listed.rejected
    assert bad.reason in ("shape", "value", "json")
    assert json.loads(bad.payload) == row | odd


def test_the_rejected_rows_of_a_response_are_bounded() -> None:
    listed = listing(gate, json.dumps([GATE | {"precision": -1}] * 500 + [GATE]).encode())
    assert (len(listed), len(listed.rejected), listed.read) == (1, 20, 501)
    assert listed.rejected[-1].message.endswith("(480 more rows)")


def test_a_response_without_a_good_row_is_rejected_and_an_empty_response_is_not() -> None:
    with pytest.raises(Reject, match="gate: unexpected REST response, every row: -1 decimals"):
        listing_flow = gate.listing(OPTIONS)
        next(listing_flow)
        listing_flow.send(Response(200, json.dumps([GATE | {"precision": -1}]).encode()))
    assert listing(gate, b"[]") == []


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b"{}", b'{"code":1}', DEEP, b'{"code":"200000","data":' + DEEP, b'"\xff"']
)
def test_a_malformed_response_is_rejected(body: bytes) -> None:
    """msgspec raises RecursionError for deep nesting and UnicodeDecodeError for bad UTF-8; both become Reject."""
    with pytest.raises(Reject, match="kucoin: unexpected REST response"):
        decode("kucoin", ENVELOPE.open(body), list[int])
    with pytest.raises(Reject, match="x: unexpected REST response"):
        rows("x", body if body not in (b"null", b"{}") else b"5", int, lambda row: row)


def test_the_code_of_an_envelope_decides_between_retry_and_reject() -> None:
    assert bytes(ENVELOPE.open(b'{"code":"200000","data":[1]}')) == b"[1]"
    with pytest.raises(Retry, match="kucoin: 429000 Too Many Requests") as retry:
        ENVELOPE.open(b'{"code":"429000","msg":"Too Many Requests"}')
    assert retry.value.code == "429000"
    with pytest.raises(Reject, match="kucoin: 400100 no") as reject:
        ENVELOPE.open(b'{"code":"400100","msg":"no"}')
    assert (reject.value.reason, reject.value.code) == ("refused", "400100")


def test_a_selection_of_rows_keeps_the_rejected_rows() -> None:
    parsed = make_rows("x", ["1", "b", "3", "4"], lambda part: int(part) if part != "4" else None, str.encode)
    assert parsed == [1, 3]
    assert [(row.payload, row.reason) for row in parsed.rejected] == [(b"b", "value")]
    chosen = parsed.select(row for row in parsed if row > 1)
    assert (chosen, chosen.rejected, type(chosen)) == ([3], parsed.rejected, Rows)
    assert (parsed.read, chosen.read) == (4, 4)
