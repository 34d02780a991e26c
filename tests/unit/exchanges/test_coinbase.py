"""Coinbase Exchange: recorded traffic through a session, compared with the raw frames.

Payloads that no recording has are examples of the official documentation, named beside each:
https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
"""

from __future__ import annotations

import json

import pytest

from ingest.errors import Reject
from ingest.exchanges.coinbase import exchange as coinbase
from ingest.exchanges.coinbase import parse as coinbase_parse
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Connection, Gap, Refused, Subscription
from ingest.records import SECOND, Instrument, Quote, Trade
from tests.support.exchanges.coinbase import (
    IDS,
    MATCH_TIME,
    NOW,
    REST,
    TAKER,
    a_session,
    an_instrument,
    btc_trade,
    frame,
    frames,
    heartbeat,
    match_message,
    micros,
    options,
    play,
)
from tests.support.recordings.files import read, recording


def test_recorded_trades_equal_the_frames_with_the_side_of_the_taker() -> None:
    lines = frames("match", "last_match")
    expected = []
    for line in lines:
        message = json.loads(line.text)
        expected.append(
            Trade(
                instrument_id=IDS[message["product_id"]],
                time=micros(message["time"]),
                trade_id=message["trade_id"],
                price=message["price"],
                size=message["size"],
                side=TAKER[message["side"]],
                received_at=line.time,
            )
        )
    assert {json.loads(line.text)["type"] for line in lines} == {"match", "last_match"}
    assert play(a_session("trades"), lines) == expected  # and no gap: ids are dense from last_match on


def test_a_lost_match_is_a_gap_with_its_id() -> None:
    lines = [line for line in frames("match", "last_match") if "SKL-USD" in line.text]
    before, lost, after = (json.loads(line.text) for line in lines[1:4])
    session = a_session("trades", products=["SKL-USD"])
    play(session, lines[:2])
    gap, trade = session.feed(lines[3].frame, lines[3].time)
    since, until = micros(before["time"]), micros(after["time"])
    assert gap == Gap(1, "trades", "sequence", since, until, lost["trade_id"], lost["trade_id"])
    assert trade.trade_id == after["trade_id"]
    (late,) = session.feed(lines[2].frame, lines[2].time)
    assert late.trade_id == lost["trade_id"]


def test_a_second_heartbeat_makes_missing_trades_a_gap() -> None:
    session = a_session("trades", products=["BTC-USD"])
    assert list(session.feed(match_message(10, "last_match"), NOW + 5)) == [btc_trade(10)]
    assert list(session.feed(heartbeat(12, 28), NOW + 6)) == []  # its trades may still arrive
    assert session.last_message_at == [NOW + 6]
    assert list(session.feed(match_message(11), NOW + 5)) == [btc_trade(11)]
    until = micros("2014-11-07T08:19:29.464459Z")
    assert list(session.feed(heartbeat(12, 29), NOW + 7)) == [Gap(1, "trades", "sequence", MATCH_TIME, until, 12, 12)]
    assert list(session.feed(heartbeat(12, 30), NOW + 8)) == []
    assert list(session.feed(match_message(12), NOW + 5)) == [btc_trade(12)]
    assert list(session.feed(match_message(13), NOW + 5)) == [btc_trade(13)]


def test_trades_before_the_first_heartbeat_are_no_gap() -> None:
    session = a_session("trades", products=["BTC-USD"])
    assert list(session.feed(heartbeat(12, 28), NOW + 6)) == []
    assert list(session.feed(heartbeat(12, 29), NOW + 7)) == []
    assert list(session.feed(match_message(13), NOW + 5)) == [btc_trade(13)]


def test_one_trade_by_websocket_and_rest_is_one_row() -> None:
    for line in frames("match"):
        message = json.loads(line.text)
        # in the format of the documentation, "Get product trades", with the same values
        row = {name: message[name] for name in ("time", "trade_id", "price", "size", "side")}
        by_rest = coinbase_parse.trades_from_rest(frame([row]), an_instrument("", IDS[message["product_id"]]), line.time)
        assert list(a_session("trades").feed(line.frame, line.time)) == by_rest


def test_the_documented_rest_trade() -> None:
    row = {"time": "2020-03-20T00:36:59.860Z", "trade_id": 86327327, "price": "6225.32000000", "size": "0.06469797", "side": "sell"}
    trade = Trade(1, 1584664619860000, 86327327, "6225.32000000", "0.06469797", "buy", 5)
    assert coinbase_parse.trades_from_rest(frame([row]), an_instrument("BTC-USD"), 5) == [trade]
    some = coinbase_parse.trades_from_rest(frame([row, row | {"price": "NaN"}]), an_instrument("BTC-USD"), 5)
    assert (some, [bad.reason for bad in some.rejected]) == ([trade], ["value"])
    with pytest.raises(Reject, match="unexpected REST response, every row: 'NaN' is not a price or size"):
        coinbase_parse.trades_from_rest(frame([row | {"price": "NaN"}]), an_instrument("BTC-USD"), 5)


def test_recorded_quotes_are_the_last_before_each_tick() -> None:
    subscribed: set[str] = set()
    latest: dict[tuple[int, int], Quote] = {}
    lines = frames("ticker")
    for line in lines:
        message = json.loads(line.text)
        product = message["product_id"]
        if product not in subscribed:  # the first ticker after a subscription has the current quote with the time of an old trade
            subscribed.add(product)
            continue
        tick = (micros(message["time"]) // SECOND + 1) * SECOND
        latest[IDS[product], tick] = Quote(
            IDS[product], tick, "", message["best_bid"], None, message["best_ask"], None, message["sequence"], line.time
        )
    session = a_session("quotes")
    out = [*play(session, lines), *session.tick(lines[-1].time + 60 * SECOND)]
    assert latest
    assert sorted(out, key=lambda q: (q.instrument_id, q.time)) == [latest[key] for key in sorted(latest)]


def test_a_ticker_of_today_has_sizes() -> None:
    # documentation, "Ticker Channel"
    message = {
        "type": "ticker",
        "sequence": 37475248783,
        "product_id": "ETH-USD",
        "price": "1285.22",
        "open_24h": "1310.79",
        "volume_24h": "245532.79269678",
        "low_24h": "1280.52",
        "high_24h": "1313.8",
        "volume_30d": "9788783.60117027",
        "best_bid": "1285.04",
        "best_bid_size": "0.46688654",
        "best_ask": "1285.27",
        "best_ask_size": "1.56637040",
        "side": "buy",
        "time": "2022-10-19T23:28:22.061769Z",
        "trade_id": 370843401,
        "last_size": "11.4396987",
    }
    session = a_session("quotes", products=["ETH-USD"])
    now = micros("2022-10-19T23:28:23Z")
    assert session.feed(frame(message), now) == ()
    assert session.feed(frame(message), now + 2) == ()
    tick = micros("2022-10-19T23:28:23Z")
    quote = Quote(1, tick, "", "1285.04", "0.46688654", "1285.27", "1.56637040", 37475248783, now + 2)
    assert session.tick(tick + 2 * SECOND) == [quote]
    (bad,) = session.feed(frame(message | {"best_ask": "NaN", "time": "2022-10-19T23:28:25Z"}), now + 3)
    assert isinstance(bad, Malformed)
    assert session.tick(tick + 60 * SECOND) == []


@pytest.mark.parametrize(
    ("bad_frame", "reason"),
    [
        (b"", "json"),
        (b'{"type":"match"', "json"),
        (b'{"type":"\xff"}', "json"),
        (b"[1]", "shape"),
        (b'{"type":5}', "shape"),
        (b"{}", "unknown"),
        (b'{"type":"rfq_match"}', "unknown"),
        (b'{"type":"match","product_id":"BTC-USD"}', "shape"),
        (match_message(1, price="NaN"), "value"),
        (match_message(1, price=""), "value"),
        (match_message(1, size="1e99"), "value"),
        (match_message(1, size="-1"), "value"),
        (match_message(1, size="1" * 5000), "value"),
        (match_message(1, size=5), "shape"),
        (match_message(1, side="both"), "shape"),
        (match_message(1, time="yesterday"), "value"),
        (match_message(1, time="2090-11-07T08:19:27.028459Z"), "value"),
        (match_message(1, product_id="ETH-USD"), "unknown"),
        (b'{"channel":"l2_data","sequence_num":0,"events":[]}', "unknown"),
    ],
)
def test_a_bad_frame_is_malformed_and_the_next_frame_is_read(bad_frame: bytes, reason: str) -> None:
    session = a_session("trades", products=["BTC-USD"])
    (bad,) = session.feed(bad_frame, NOW + 5)
    assert isinstance(bad, Malformed)
    assert (bad.payload, bad.reason) == (bad_frame, reason)
    assert bad.message
    assert list(session.feed(match_message(1), NOW + 5)) == [btc_trade(1)]


def test_an_error_is_a_refusal() -> None:
    # documentation, "Error Message"
    message = {"type": "error", "message": "Failed to subscribe", "reason": "BTC-XYZ is not a valid product"}
    assert a_session("trades").feed(frame(message), 5) == (
        Refused("coinbase: Failed to subscribe: BTC-XYZ is not a valid product"),
    )


def test_a_refused_product_is_taken_out_and_the_others_are_subscribed() -> None:
    session = a_session("trades", "quotes", products=["BTC-USD", "BTC-XYZ"])
    session.start(0)
    text = "coinbase: Failed to subscribe: BTC-XYZ is not a valid product"
    message = {"type": "error", "message": "Failed to subscribe", "reason": "BTC-XYZ is not a valid product"}
    *refused, again = session.feed(frame(message), 5)
    assert refused == [Refused(text), Refused(text)]
    assert session.refused == {2: text, 3: text}
    channels = [{"name": name, "product_ids": ["BTC-USD"]} for name in ("heartbeat", "matches", "ticker")]
    assert json.loads(again.text) == {"type": "subscribe", "channels": channels}
    assert session.feed(frame({"type": "subscriptions", "channels": channels}), 6) == ()
    assert [json.loads(send.text)["channels"][1:] for send in session.tick(60 * SECOND + 5)] == [
        [{"name": name, "product_ids": ["BTC-XYZ"]}] for name in ("matches", "ticker")
    ]


def test_a_heartbeat_of_a_product_whose_trades_are_not_subscribed_is_no_error() -> None:
    session = a_session("quotes", products=["BTC-USD"])
    assert session.feed(heartbeat(12, 28), NOW + 6) == ()
    assert session.last_message_at == [0]


@pytest.mark.parametrize(
    ("changes", "bid"),
    [
        ({"best_bid": "0", "best_bid_size": "0.00000000"}, (None, None)),
        ({"best_bid": "0.00", "best_bid_size": "1"}, (None, None)),
        ({"best_bid": "0", "best_bid_size": None}, (None, None)),
        ({"best_bid_size": "0"}, (None, None)),
        ({"best_bid_size": None}, ("1285.04", None)),  # tickers of 2021 have no size
    ],
)
def test_a_side_of_zero_is_empty(changes: dict[str, object], bid: tuple[str | None, str | None]) -> None:
    message = {
        "type": "ticker", "sequence": 1, "product_id": "ETH-USD", "best_bid": "1285.04", "best_bid_size": "0.46688654",
        "best_ask": "1285.27", "best_ask_size": "1.56637040", "time": "2022-10-19T23:28:22.061769Z",
    }  # fmt: skip
    session = a_session("quotes", products=["ETH-USD"])
    for _ in range(2):
        session.feed(frame(message | changes), micros("2022-10-19T23:28:23Z"))
    (quote,) = session.tick(micros("2022-10-19T23:28:30Z"))
    assert ((quote.bid_price, quote.bid_size), quote.ask_price) == (bid, "1285.27")


def test_recorded_acknowledgements_yield_nothing() -> None:
    lines = frames("subscriptions")
    assert lines
    assert play(a_session("trades", "quotes"), lines) == []


def test_one_message_subscribes_to_everything() -> None:
    subscriptions = tuple(
        Subscription(an_instrument(product), channel)
        for product, channel in [("A-USD", "trades"), ("B-USD", "quotes"), ("C-USD", "candles")]
    )
    (sent,) = coinbase.session(Connection("wss://example", subscriptions), options()).start(0)
    assert json.loads(sent.text) == {
        "type": "subscribe",
        "channels": [
            {"name": "heartbeat", "product_ids": ["A-USD", "B-USD", "C-USD"]},
            {"name": "matches", "product_ids": ["A-USD"]},
            {"name": "ticker", "product_ids": ["B-USD"]},
        ],
    }


def test_connections_are_of_200_subscriptions() -> None:
    subscriptions = [Subscription(an_instrument(f"P{n}-USD", n), "trades") for n in range(201)]
    assert coinbase.connections(subscriptions, options()) == [
        Connection("wss://example", tuple(subscriptions[:200])),
        Connection("wss://example", tuple(subscriptions[200:])),
    ]


def listed(body: bytes) -> list[Instrument]:
    flow = coinbase.listing(options())
    assert next(flow) == Request(f"{REST}/products")
    with pytest.raises(StopIteration) as end:
        flow.send(Response(200, body))
    return end.value.value


def test_the_recorded_listing() -> None:
    body = next(line.text for line in recording("COINBASE.0") if line.kind == "answer")
    expected = []
    for product in json.loads(body):
        base = {"CGLD": "CELO"}.get(product["base_currency"], product["base_currency"])
        halted = product["status"] != "online" or product["trading_disabled"] or product["cancel_only"]
        expected.append(
            Instrument(
                exchange="coinbase",
                symbol=product["id"],
                instrument=f"{base}/{product['quote_currency']}",
                base=base,
                quote=product["quote_currency"],
                kind="spot",
                status={"delisted": "delisted"}.get(product["status"], "halted" if halted else "trading"),
                price_step=product["quote_increment"],
                size_step=product["base_increment"],
            )
        )
    assert listed(body.encode()) == expected


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "trading"),
        ({"post_only": True}, "trading"),
        ({"trading_disabled": True}, "halted"),
        ({"cancel_only": True}, "halted"),
        ({"status": "offline"}, "halted"),
        ({"status": "delisted", "trading_disabled": True}, "delisted"),
    ],
)
def test_statuses(changes: dict[str, object], status: str) -> None:
    body = next(line.text for line in recording("COINBASE.0") if line.kind == "answer")
    (found,) = listed(json.dumps([json.loads(body)[0] | changes]).encode())
    assert found.status == status


def test_an_older_listing_without_size_steps() -> None:
    found = listed(read("xchange/coinbasepro/products.json"))
    assert found[0] == Instrument("coinbase", "LTC-EUR", "LTC/EUR", "LTC", "EUR", "spot", "trading", "0.01")


def test_a_response_that_is_no_listing_is_rejected() -> None:
    flow = coinbase.listing(options())
    next(flow)
    with pytest.raises(Reject, match="coinbase: unexpected REST response"):
        flow.send(Response(200, b'{"message":"rate limited"}'))
