"""KuCoin's trades, candles, quotes, connection and listing, with recorded frames and the test data of other projects.

https://www.kucoin.com/docs-new/websocket-api/base-info/introduction
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.exchanges.kucoin import exchange as kucoin
from ingest.exchanges.kucoin import parse as kucoin_parse
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Located
from ingest.protocol.http import Flow, Request, Response
from ingest.protocol.session import Output, Refused, Send, Subscription
from ingest.records import MINUTE, SECOND, Candle, Instrument, Quote, Trade
from tests.support.exchanges.kucoin import (
    BTC,
    NOW,
    OPTIONS,
    WELCOME,
    jkorf,
    message,
    named,
    open_session,
    reasons,
    recorded,
)
from tests.support.recordings.files import received, recording
from tests.support.recordings.plain import at_ticks

# --- trades ----------------------------------------------------------------------------------------------------------

# captured live by ccxt on 2026-08-12 (ccxt/ccxt, ts/src/test/static/ws)
CAPTURED = {
    "price": "64024.4",
    "sequence": "23898084682776576",
    "side": "sell",
    "size": "0.003",
    "symbol": "BTC-USDT",
    "time": "1786538821105000000",
    "tradeId": "23898084682776576",
    "type": "match",
}
TRADE = Trade(3, 1786538821105000, 23898084682776576, "64024.4", "0.003", "sell", NOW)


def trade_frame(**fields: Any) -> bytes:
    return message("/market/match:BTC-USDT", CAPTURED | fields)


def test_a_trade() -> None:
    session = open_session(BTC, channel="trades")
    assert session.feed(trade_frame(), NOW) == (TRADE,)
    assert session.last_message_at == [NOW]


def test_recorded_trades_are_yielded_value_by_value_and_their_sequence_is_not_dense() -> None:
    rows = list(recorded("/market/match:"))
    ids = {symbol: number for number, symbol in enumerate(sorted({row["symbol"] for _, row in rows}), 1)}
    session = open_session(*(named(symbol, number) for symbol, number in ids.items()), channel="trades")
    outputs = [output for line, _ in rows for output in session.feed(line.frame, line.time)]
    expected = [
        Trade(ids[r["symbol"]], int(r["time"]) // 1000, int(r["sequence"]), r["price"], r["size"], r["side"], line.time)
        for line, r in rows
    ]
    assert len(expected) == 18
    assert outputs == expected
    first, second = expected[:2]
    assert (first.instrument_id, second.trade_id - first.trade_id) == (
        second.instrument_id,
        2,
    )  # two fills of one order, whose sequences differ by 2


def test_one_trade_by_websocket_and_rest_is_one_row() -> None:
    """The documented response (of JKorf's test data); the websocket sends the time as text."""
    by_rest = kucoin_parse.trades_from_rest(jkorf("Endpoints.Spot.ExchangeData.GetTradeHistory"), BTC, NOW)
    assert by_rest == [
        Trade(3, 1545904567062140, 1545896668571, "0.07", "0.004", "buy", NOW),
        Trade(3, 1545904581619888, 1545896668578, "0.054", "0.066", "buy", NOW),
    ]
    frame = trade_frame(sequence="1545896668571", price="0.07", size="0.004", side="buy", time="1545904567062140823")
    assert open_session(BTC, channel="trades").feed(frame, NOW) == (by_rest[0],)


# --- candles ---------------------------------------------------------------------------------------------------------


def to_candle(bar: list[str], number: int, received_at: int, origin: str = "ws") -> Candle:
    """A candle of a bar of time, open, close, high, low, volume, turnover."""
    time, opened, close, high, low, volume, turnover = bar
    sums = volume, turnover, None, None, None, None, None
    return Candle(number, "1m", int(time) * SECOND, opened, high, low, close, *sums, 1, origin, received_at)


def test_recorded_bars_are_closed_by_the_next_bar_or_by_the_clock() -> None:
    rows = list(recorded("/market/candles:"))
    ids = {symbol: number for number, symbol in enumerate(sorted({row["symbol"] for _, row in rows}), 1)}
    session = open_session(*(named(symbol, number) for symbol, number in ids.items()), channel="candles")
    outputs = [output for line, _ in rows for output in session.feed(line.frame, line.time)]
    last: dict[tuple[str, str], Candle] = {}
    for line, row in rows:
        last[row["symbol"], row["candles"][0]] = to_candle(row["candles"], ids[row["symbol"]], line.time)
    assert len(last) == 5
    bars = list(last.values())
    followed = [
        bar
        for bar in bars
        if any((bar.instrument_id, bar.time) < (b.instrument_id, b.time) and b.instrument_id == bar.instrument_id for b in bars)
    ]
    assert outputs == followed
    assert len(followed) == 2
    end = max(bar.time for bar in bars) + MINUTE + 5 * SECOND
    by_clock = [output for output in session.tick(end) if isinstance(output, Candle)]
    assert sorted(by_clock, key=bars.index) == [bar for bar in bars if bar not in followed]
    assert [output for output in session.tick(end + MINUTE) if isinstance(output, Candle)] == []


BAR = [
    "1786538820",
    "64027.7",
    "63990",
    "64030",
    "63980",
    "0.47979651",
    "30713.03",
]  # captured by ccxt, with other values of high and low, so that all prices differ


def bar_frame(minute: int = 0, **values: str) -> bytes:
    time, opened, _, high, low, _, turnover = BAR
    bar = [str(int(time) + 60 * minute), opened, values.get("close", BAR[2]), high, low, values.get("volume", BAR[5]), turnover]
    return message("/market/candles:BTC-USDT_1min", {"symbol": "BTC-USDT", "candles": bar, "time": 1786538824000000000})


def test_a_bar_that_changes_after_it_was_closed_is_yielded_again() -> None:
    session = open_session(BTC, channel="candles")
    start = int(BAR[0]) * SECOND
    assert session.feed(bar_frame(), start) == ()
    assert session.tick(start + MINUTE + 5 * SECOND - 1)[1:] == []
    (candle,) = [output for output in session.tick(start + MINUTE + 5 * SECOND) if isinstance(output, Candle)]
    assert candle == to_candle(BAR, 3, start)
    assert session.feed(bar_frame(volume="0.5"), NOW) == (replace(candle, volume="0.5", received_at=NOW),)
    assert session.feed(bar_frame(1), NOW) == ()
    assert session.feed(bar_frame(volume="0.6"), NOW) == (replace(candle, volume="0.6", received_at=NOW),)
    assert session.feed(bar_frame(2), NOW) == (replace(candle, time=start + MINUTE, received_at=NOW),)


def test_a_bar_whose_latest_state_is_malformed_is_not_yielded() -> None:
    session = open_session(BTC, channel="candles")
    session.feed(bar_frame(), NOW)
    assert reasons(session.feed(bar_frame(close="x"), NOW)) == ["value"]
    assert session.feed(bar_frame(1), NOW) == ()


def test_a_bar_has_the_same_key_and_values_by_rest() -> None:
    assert kucoin_parse.candles_from_rest(jkorf("Endpoints.Spot.ExchangeData.GetKlines"), BTC, NOW) == [
        to_candle(["1545904920", "0.058", "0.072", "0.072", "0.058", "0.103", "0.006986"], 3, NOW, "rest"),
        to_candle(["1545904980", "0.058", "0.049", "0.058", "0.049", "0.018", "0.000945"], 3, NOW, "rest"),
    ]


# --- quotes ----------------------------------------------------------------------------------------------------------


def test_recorded_quotes_are_right_at_every_tick() -> None:
    rows = [
        (line, line.text.partition('"topic":"/market/ticker:')[2].partition('"')[0], row)
        for line, row in recorded("/market/ticker:")
    ]
    ids = {symbol: number for number, symbol in enumerate(sorted({symbol for _, symbol, _ in rows}), 1)}
    session = open_session(*(named(symbol, number) for symbol, number in ids.items()), channel="quotes")
    outputs = [output for line, _, _ in rows for output in session.feed(line.frame, line.time)]
    outputs += [output for output in session.tick(rows[-1][0].time + 3600 * SECOND) if isinstance(output, Quote)]
    states = []
    for line, symbol, row in rows:
        best = row["bestBid"], row["bestBidSize"], row["bestAsk"], row["bestAskSize"]
        states.append(Quote(ids[symbol], row["time"] * 1000, "", *best, int(row["sequence"]), line.time))
    expected = at_ticks(states)
    assert len(expected) > 100
    assert sorted(outputs, key=row_key) == sorted(expected, key=row_key)


def row_key(quote: Quote) -> tuple[int, int]:
    return quote.instrument_id, quote.time


def quote_frame(**fields: Any) -> bytes:
    """The frame of JKorf's test data with these fields changed."""
    example = json.loads(jkorf("Subscriptions.Spot.Ticker"))
    return json.dumps(example | {"data": example["data"] | fields}).encode()


def test_a_side_without_orders_is_none() -> None:
    session = open_session(BTC, channel="quotes")
    session.feed(quote_frame(bestAsk=None, bestAskSize=None, bestBidSize="0"), NOW)
    (quote,) = [output for output in session.tick(1704873326 * SECOND) if isinstance(output, Quote)]
    assert quote == Quote(3, 1704873324 * SECOND, "", None, None, None, None, 1545896668986, NOW)


def test_a_malformed_quote_discards_the_quote_before_it() -> None:
    session = open_session(BTC, channel="quotes")
    session.feed(quote_frame(), NOW)
    assert reasons(session.feed(quote_frame(bestBid="-1"), NOW)) == ["value"]
    assert session.tick(NOW) == []


# --- the connection --------------------------------------------------------------------------------------------------


def run(flow: Flow[Any], body: bytes) -> tuple[Request, Any]:
    request = next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(Response(200, body))
    return request, done.value.value


# the example of "Get Public Token - Spot/Margin" in the documentation
BULLET = (
    b'{"code":"200000","data":{"token":"2neAiuYvAU","instanceServers":[{"endpoint":"wss://ws-api-spot.kucoin.com/",'
    b'"encrypt":true,"protocol":"websocket","pingInterval":18000,"pingTimeout":10000}]}}'
)


def test_the_websocket_address_is_requested_with_post() -> None:
    assert isinstance(kucoin, Located)
    (connection,) = kucoin.connections([Subscription(BTC, "trades")], OPTIONS)
    request, url = run(kucoin.locate(connection, OPTIONS), BULLET)
    assert request == Request("https://test/api/v1/bullet-public", weight=10, method="POST")
    assert url == "wss://ws-api-spot.kucoin.com/?token=2neAiuYvAU"
    _, other = run(kucoin.locate(connection, OPTIONS), BULLET.replace(b"ws-api-spot", b"ws-api-spot-2"))
    assert other == "wss://ws-api-spot-2.kucoin.com/?token=2neAiuYvAU"
    own = replace(OPTIONS, ws_url="wss://proxy")
    assert run(kucoin.locate(connection, own), BULLET)[1] == "wss://proxy/?token=2neAiuYvAU"


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        (b'{"code":"200000","data":{"token":"x","instanceServers":[]}}', Retry),
        (b'{"code":"429000","msg":"Too Many Requests"}', Retry),
        (b'{"code":"400100","msg":"Bad"}', Reject),
        (b"<html>", Reject),
    ],
)
def test_a_response_without_an_address_is_an_error(body: bytes, raised: type[Exception]) -> None:
    (connection,) = kucoin.connections([Subscription(BTC, "trades")], OPTIONS)
    flow = kucoin.locate(connection, OPTIONS)
    next(flow)
    with pytest.raises(raised, match="kucoin: "):
        flow.send(Response(200, body))


def test_nothing_is_sent_before_the_welcome() -> None:
    eth = named("ETH-USDT", 4)
    (connection,) = kucoin.connections(
        [Subscription(instrument, channel) for instrument in (BTC, eth) for channel in kucoin.CHANNELS], OPTIONS
    )
    session = kucoin.session(connection, OPTIONS)
    assert session.start(NOW) == ()
    assert session.tick(NOW + 60 * SECOND) == []
    sent = [json.loads(send.text) for send in session.feed(WELCOME, NOW)]
    assert [subscription["topic"] for subscription in sent] == [
        "/market/match:BTC-USDT,ETH-USDT",
        "/market/candles:BTC-USDT_1min,ETH-USDT_1min",
        "/market/level2:BTC-USDT,ETH-USDT",
        "/market/ticker:BTC-USDT,ETH-USDT",
    ]
    assert {(subscription["type"], subscription["response"]) for subscription in sent} == {("subscribe", True)}


def test_many_subscriptions_are_spread_over_connections() -> None:
    many = [Subscription(named(f"X{i}-USDT", i), "trades") for i in range(650)]
    spread = kucoin.connections(many, OPTIONS)
    assert [s for connection in spread for s in connection.subscriptions] == many
    assert [len(connection.subscriptions) for connection in spread] == [300, 300, 50]
    session = kucoin.session(spread[0], OPTIONS)
    assert [json.loads(send.text)["topic"].count(",") + 1 for send in session.feed(WELCOME, NOW)] == [100, 100, 100]


def test_pings_are_sent_by_the_clock_also_while_messages_arrive() -> None:
    session = open_session(BTC, channel="trades")
    session.feed(trade_frame(), NOW + 17 * SECOND)
    assert session.tick(NOW + 18 * SECOND - 1) == []
    assert session.tick(NOW + 18 * SECOND) == [Send('{"id":"ping","type":"ping"}', keepalive=True)]
    assert session.feed(b'{"id":"ping","type":"pong"}', NOW + 18 * SECOND) == ()
    assert session.tick(NOW + 35 * SECOND) == []
    assert session.tick(NOW + 36 * SECOND) == [Send('{"id":"ping","type":"ping"}', keepalive=True)]


def test_recorded_replies_yield_nothing() -> None:
    session = open_session(BTC, channel="trades")
    replies = [line for line in received("KUCOIN.ws.1.0") if '"type":"ack"' in line.text]
    assert len(replies) == 13
    assert [session.feed(line.frame, line.time) for line in replies] == [()] * 13


def test_a_refused_subscription() -> None:
    """As "Subscribe" of the documentation: an error has a code, and its text in `data`."""
    frame = b'{"id":"1","type":"error","code":404,"data":"topic /market/mtch:BTC-USDT is not found"}'
    refused = Refused('kucoin: 404 "topic /market/mtch:BTC-USDT is not found"')
    assert open_session(BTC, channel="trades").feed(frame, NOW) == (refused,)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"garbage", "json"),
        (b"\xff", "json"),
        (b'{"type":"message","data":' + b"[" * 100_000, "json"),
        (b"[1,2]", "shape"),
        (b"{}", "shape"),
        (b'{"type":"weather"}', "unknown"),
        (b'{"type":"message","topic":"/market/match:ETH-USDT","data":{}}', "unknown"),
        (b'{"type":"message","topic":"/market/match:BTC-USDT"}', "shape"),
        (trade_frame(price="abc"), "value"),
        (trade_frame(size="-1"), "value"),
        (trade_frame(side="both"), "value"),
        (trade_frame(time="soon"), "value"),
        (trade_frame(sequence="x1"), "value"),
        (trade_frame(price=64024.4), "shape"),
    ],
)
def test_an_undocumented_frame_is_malformed_and_never_raises(frame: bytes, reason: str) -> None:
    session = open_session(BTC, channel="trades")
    out: list[Output] = list(session.feed(frame, NOW))
    assert [(type(o), o.reason) for o in out] == [(Malformed, reason)]
    assert session.feed(trade_frame(), NOW) == (TRADE,)


# --- the listing -----------------------------------------------------------------------------------------------------


def test_the_recorded_listing() -> None:
    """The recorded listing is of version 1 of the API, which had the same fields."""
    body = recording("KUCOIN.0")[0].frame
    request, listed = run(kucoin.listing(OPTIONS), body)
    rows = json.loads(body)["data"]
    assert request == Request("https://test/api/v2/symbols", weight=4)
    assert [instrument.symbol for instrument in listed] == [row["symbol"] for row in rows]
    renamed = next(instrument for instrument in listed if instrument.symbol == "BCHSV-USDT")
    row = next(row for row in rows if row["symbol"] == "BCHSV-USDT")
    steps = row["priceIncrement"], row["baseIncrement"]
    assert renamed == Instrument("kucoin", "BCHSV-USDT", "BSV/USDT", "BSV", "USDT", "spot", "trading", *steps)
    trading = {row["symbol"] for row in rows if row["enableTrading"]}
    assert {instrument.symbol for instrument in listed if instrument.status == "trading"} == trading
    assert {instrument.status for instrument in listed if instrument.symbol not in trading} == {"halted"}


def test_a_body_of_another_shape_is_rejected() -> None:
    with pytest.raises(Reject, match="unexpected REST response"):
        kucoin_parse.candles_from_rest(b'{"code":"200000","data":[["1"]]}', BTC, NOW)


def test_a_bad_row_of_rest_is_rejected_alone() -> None:
    body = jkorf("Endpoints.Spot.ExchangeData.GetTradeHistory")
    whole = kucoin_parse.trades_from_rest(body, BTC, NOW)
    found = kucoin_parse.trades_from_rest(body.replace(b'"0.07"', b'"free"', 1), BTC, NOW)
    assert [(bad.reason, bad.message) for bad in found.rejected] == [("value", "kucoin: 'free' is not a price or size")]
    assert found == [trade for trade in whole if trade.price != "0.07"]
    assert len(found) == len(whole) - 1 > 0
