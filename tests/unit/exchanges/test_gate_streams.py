"""Gate's trades, candles, quotes, connection and listing, with recorded and documented frames.

https://www.gate.com/docs/developers/apiv4/ws/en/
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.errors import Reject
from ingest.exchanges.gate import exchange as gate
from ingest.exchanges.gate import parse as gate_parse
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Response
from ingest.protocol.session import Gap, Output, Refused, Send, Subscription
from ingest.records import MINUTE, SECOND, Candle, Instrument, Quote, Trade
from tests.support.exchanges.gate import BTC, NOW, OPTIONS, named, open_session, reasons, update
from tests.support.recordings.files import received, recording

# --- trades ----------------------------------------------------------------------------------------------------------

# captured live by ccxt on 2026-08-12 (ccxt/ccxt, ts/src/test/static/ws)
CAPTURED = {
    "id": 214976613,
    "id_market": 214976613,
    "create_time_ms": "1786539952742.901000",
    "side": "buy",
    "currency_pair": "BTC_USDT",
    "amount": "0.0803",
    "price": "64028.2",
    "range": "214976613-214976613",
}


def trade_frame(number: int = 214976613, **fields: Any) -> bytes:
    return update("spot.trades", CAPTURED | {"id_market": number, "range": f"{number}-{number}"} | fields)


def test_a_trade() -> None:
    session = open_session(BTC, channel="trades")
    expected = Trade(3, 1786539952742000, 214976613, "64028.2", "0.0803", "buy", NOW)
    assert session.feed(trade_frame(), NOW) == (expected,)
    assert session.last_message_at == [NOW]


def test_the_id_of_the_market_is_stored_if_there_is_one() -> None:
    """The example of "Public Trades Channel": `id` counts the fills of all markets, `id_market` those of one."""
    example = {"id": 309143071, "create_time": 1606292218, "create_time_ms": "1606292218213.4578", "side": "sell"}
    example |= {"currency_pair": "GT_USDT", "amount": "16.4700000000", "price": "0.4705000000"}
    new = example | {"id_market": 2390902, "range": "2390902-2390902"}
    outputs = [open_session(named("GT_USDT", 4), channel="trades").feed(update("spot.trades", row), NOW) for row in (example, new)]
    old_trade = Trade(4, 1606292218213000, 309143071, "0.4705000000", "16.4700000000", "sell", NOW)
    assert outputs == [(old_trade,), (replace(old_trade, trade_id=2390902),)]


def test_a_jump_of_the_id_is_a_gap_and_a_resent_trade_is_yielded_again() -> None:
    session = open_session(BTC, channel="trades")
    session.feed(trade_frame(100), NOW)
    gap, trade = session.feed(trade_frame(103, create_time_ms="1786539953000.5"), NOW)
    assert gap == Gap(3, "trades", "sequence", 1786539952742000, 1786539953000000, 101, 102)
    assert trade.trade_id == 103
    late = session.feed(trade_frame(102), NOW)
    assert [(type(o), o.trade_id) for o in late] == [(Trade, 102)]
    assert reasons(session.feed(trade_frame(103), NOW)) == ["Trade"]
    assert reasons(session.feed(trade_frame(104), NOW)) == ["Trade"]


def test_a_range_of_fills_in_one_message_is_no_gap() -> None:
    session = open_session(BTC, channel="trades")
    session.feed(trade_frame(100), NOW)
    assert reasons(session.feed(trade_frame(103, range="101-103"), NOW)) == ["Trade"]
    gap, trade = session.feed(trade_frame(109, range="106-109"), NOW)
    assert (gap.first_id, gap.last_id, trade.trade_id) == (104, 105, 109)


def test_ids_of_all_markets_are_not_dense() -> None:
    session = open_session(BTC, channel="trades")
    for number in (100, 103):
        assert reasons(session.feed(trade_frame(id=number, id_market=None, range=""), NOW)) == ["Trade"]


def test_recorded_trades_are_yielded_value_by_value() -> None:
    lines = [
        (line, json.loads(line.text)["result"])
        for line in received("GATEIO.ws.1.0")
        if '"spot.trades","event":"update"' in line.text
    ]
    pairs = sorted({row["currency_pair"] for _, row in lines})
    ids = {pair: number for number, pair in enumerate(pairs, 1)}
    session = open_session(*(named(pair, number) for pair, number in ids.items()), channel="trades")
    outputs = [output for line, _ in lines for output in session.feed(line.frame, line.time)]
    expected = [
        Trade(
            ids[row["currency_pair"]],
            int(row["create_time_ms"].split(".")[0]) * 1000,
            row["id"],
            row["price"],
            row["amount"],
            row["side"],
            line.time,
        )
        for line, row in lines
    ]
    assert len(expected) == 9
    assert outputs == expected


def test_one_trade_by_websocket_and_rest_is_one_row() -> None:
    """The example of "Query market transaction records"; the websocket has other names and a finer time."""
    body = (
        b'[{"id":"1232893232","create_time":"1548000000","create_time_ms":"1548000000123.456","order_id":"4128442423","side":"buy",'
        b'"role":"maker","amount":"0.15","price":"0.03","fee":"0.0005","fee_currency":"ETH","point_fee":"0","gt_fee":"0",'
        b'"sequence_id":"588018","text":"t-test"}]'
    )
    (by_rest,) = gate_parse.trades_from_rest(body, BTC, NOW)
    assert by_rest == Trade(3, 1548000000123000, 588018, "0.03", "0.15", "buy", NOW)
    frame = trade_frame(588018, id=1232893232, create_time_ms="1548000000123.456789", side="buy", amount="0.15", price="0.03")
    assert open_session(BTC, channel="trades").feed(frame, NOW) == (by_rest,)


# --- candles and quotes ----------------------------------------------------------------------------------------------

# the example of "Candlesticks Channel"
DOCUMENTED_BAR = {
    "t": "1606292580",
    "v": "2362.32035",
    "c": "19128.1",
    "h": "19128.2",  # the example has 19128.1 four times; here the prices differ, so that none can be mistaken for another
    "l": "19128.0",
    "o": "19128.15",
    "n": "1m_BTC_USDT",
    "a": "3.8283",
    "w": True,
}
BAR = Candle(
    3, "1m", 1606292580000000, "19128.15", "19128.2", "19128.0", "19128.1", "3.8283", "2362.32035",
    None, None, None, None, None, 1, "ws", NOW,
)  # fmt: skip


def bar_frame(minute: int = 0, **fields: Any) -> bytes:
    return update("spot.candlesticks", DOCUMENTED_BAR | {"t": str(1606292580 + 60 * minute)} | fields)


def test_only_a_closed_bar_is_stored() -> None:
    session = open_session(BTC, channel="candles")
    assert session.feed(bar_frame(w=False), NOW) == ()
    assert session.feed(bar_frame(), NOW) == (BAR,)
    assert session.last_message_at == [NOW]


def test_recorded_bars_without_the_closed_flag_are_not_stored() -> None:
    lines = [line for line in received("GATEIO.ws.1.0") if '"spot.candlesticks","event":"update"' in line.text]
    names = sorted({json.loads(line.text)["result"]["n"].removeprefix("1m_") for line in lines})
    session = open_session(*(named(name, number) for number, name in enumerate(names)), channel="candles")
    assert len(lines) == 14
    assert [session.feed(line.frame, line.time) for line in lines] == [()] * 14
    assert all(session.last_message_at)


def at(minute: int, **changes: Any) -> Candle:
    return replace(BAR, time=BAR.time + minute * MINUTE, **changes)


def test_the_next_bar_closes_a_bar_whose_flag_is_missing() -> None:
    """By the documentation the message with w true may be missing."""
    session = open_session(BTC, channel="candles")
    session.feed(bar_frame(), NOW)
    assert list(session.feed(bar_frame(1, w=False, c="19128.05"), NOW)) == []
    assert list(session.feed(bar_frame(1, w=False), NOW)) == []
    assert list(session.feed(bar_frame(2, w=False), NOW)) == [at(1)]
    assert list(session.feed(bar_frame(1, w=False, c="19128.05"), NOW)) == []  # late, and not the last state
    assert list(session.feed(bar_frame(1, c="19128.2"), NOW)) == [at(1, close="19128.2")]  # a late flag revises
    assert list(session.feed(bar_frame(2), NOW)) == [at(2)]
    assert list(session.feed(bar_frame(3), NOW)) == [at(3)]


def test_a_bar_that_was_not_seen_is_a_gap() -> None:
    session = open_session(BTC, channel="candles")
    session.feed(bar_frame(), NOW)
    assert list(session.feed(bar_frame(1, w=False), NOW)) == []
    bar, gap, candle = session.feed(bar_frame(3), NOW)
    assert (bar, candle) == (at(1), at(3))
    assert gap == Gap(3, "candles", "sequence", BAR.time + 2 * MINUTE, BAR.time + 3 * MINUTE)
    assert list(session.feed(bar_frame(3), NOW)) == [candle]


def test_a_bar_with_a_state_that_could_not_be_read_is_a_gap() -> None:
    session = open_session(BTC, channel="candles")
    session.feed(bar_frame(), NOW)
    session.feed(bar_frame(1, w=False), NOW)
    assert reasons(list(session.feed(bar_frame(1, w=False, c="-1"), NOW))) == ["value"]
    gap, _ = session.feed(bar_frame(2), NOW)
    assert gap == Gap(3, "candles", "sequence", BAR.time + MINUTE, BAR.time + 2 * MINUTE)


def test_a_bar_has_the_same_key_and_values_by_rest() -> None:
    """The columns of "Market K-line chart" are time, quote volume, close, high, low, open, base volume, closed."""
    bar = DOCUMENTED_BAR
    row = [bar["t"], bar["v"], bar["c"], bar["h"], bar["l"], bar["o"], bar["a"], "true"]
    running = [str(int(bar["t"]) + 60), *row[1:7], "false"]
    assert gate_parse.candles_from_rest(json.dumps([running, row]).encode(), BTC, NOW) == [replace(BAR, origin="rest")]


# the example of "Best bid or ask price"
DOCUMENTED_QUOTE = {
    "t": 1606293275123,
    "u": 48733182,
    "s": "BTC_USDT",
    "b": "19177.79",
    "B": "0.0003341504",
    "a": "19179.38",
    "A": "0.09",
}


def quote_frame(**fields: Any) -> bytes:
    return update("spot.book_ticker", DOCUMENTED_QUOTE | fields)


def test_a_quote_is_written_as_it_stood_at_its_tick() -> None:
    session = open_session(BTC, channel="quotes")
    assert session.feed(quote_frame(), NOW) == ()
    expected = Quote(3, 1606293276 * SECOND, "", "19177.79", "0.0003341504", "19179.38", "0.09", 48733182, NOW)
    assert session.feed(quote_frame(t=1606293276000, u=48733183, b="", B="", A="0"), NOW + 1) == (expected,)
    empty = Quote(3, 1606293277 * SECOND, "", None, None, None, None, 48733183, NOW + 1)
    assert session.tick(NOW) == [empty]


def test_a_malformed_quote_discards_the_quote_before_it() -> None:
    session = open_session(BTC, channel="quotes")
    session.feed(quote_frame(), NOW)
    assert reasons(session.feed(quote_frame(b="-1"), NOW)) == ["value"]
    assert session.tick(NOW) == []


# --- the connection --------------------------------------------------------------------------------------------------


def test_subscribing() -> None:
    eth = named("ETH_USDT", 4)
    (connection,) = gate.connections(
        [Subscription(instrument, channel) for instrument in (BTC, eth) for channel in gate.CHANNELS], OPTIONS
    )
    assert connection.url == "wss://test/"
    sent = [json.loads(send.text) for send in gate.session(connection, OPTIONS).start(NOW)]
    assert {(message["time"], message["event"]) for message in sent} == {(NOW // SECOND, "subscribe")}
    assert [(message["channel"], message["payload"]) for message in sent] == [
        ("spot.trades", ["BTC_USDT", "ETH_USDT"]),
        ("spot.candlesticks", ["1m", "BTC_USDT"]),
        ("spot.candlesticks", ["1m", "ETH_USDT"]),
        ("spot.order_book_update", ["BTC_USDT", "100ms"]),
        ("spot.order_book_update", ["ETH_USDT", "100ms"]),
        ("spot.book_ticker", ["BTC_USDT", "ETH_USDT"]),
    ]


def test_many_subscriptions_are_spread_over_connections() -> None:
    many = [Subscription(named(f"X{i}_USDT", i), "book") for i in range(250)]
    spread = gate.connections(many, OPTIONS)
    assert [s for connection in spread for s in connection.subscriptions] == many
    assert [len(connection.subscriptions) for connection in spread] == [100, 100, 50]


def test_ping_after_silence() -> None:
    session = open_session(BTC, channel="trades")
    assert session.tick(NOW + 19 * SECOND) == []
    (ping,) = session.tick(NOW + 20 * SECOND)
    assert isinstance(ping, Send)
    assert json.loads(ping.text) == {"time": NOW // SECOND + 20, "channel": "spot.ping"}
    # the example of "Application ping pong"
    pong = b'{"time":1545404023,"channel":"spot.pong","event":"","error":null,"result":null}'
    assert session.feed(pong, NOW + 21 * SECOND) == ()
    assert session.tick(NOW + 40 * SECOND) == []
    assert session.last_message_at == [0]


def test_recorded_replies_yield_nothing() -> None:
    session = open_session(BTC, channel="trades")
    replies = [line for line in received("GATEIO.ws.1.0") if '"event":"subscribe"' in line.text]
    assert len(replies) == 22
    assert [session.feed(line.frame, line.time) for line in replies] == [()] * 22


def test_a_refused_subscription() -> None:
    """An error has a code and a message. This one, of a repeated subscription, is in the announcement of `spot.obu`."""
    frame = (
        b'{"time":1,"channel":"spot.obu","event":"subscribe","error":{"code":2,"message":"Alert sub ob.BTC_USDT.50"},"result":null}'
    )
    assert open_session(BTC, channel="book").feed(frame, NOW) == (Refused("gate: spot.obu: 2 Alert sub ob.BTC_USDT.50"),)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"garbage", "json"),
        (b"\xff", "json"),
        (b'{"channel":"spot.trades","event":"update","result":' + b"[" * 100_000, "json"),
        (b"[1,2]", "shape"),
        (b"{}", "shape"),
        (b'{"channel":"spot.weather","event":"storm"}', "unknown"),
        (b'{"channel":"spot.trades","event":"update"}', "shape"),
        (update("spot.trades", {}), "unknown"),
        (trade_frame(currency_pair="ETH_USDT"), "unknown"),
        (trade_frame(price="abc"), "value"),
        (trade_frame(price="NaN"), "value"),
        (trade_frame(amount="-1"), "value"),
        (trade_frame(side="both"), "value"),
        (trade_frame(create_time_ms="soon"), "value"),
        (trade_frame(price=64028.2), "shape"),
        (trade_frame(id="x"), "shape"),
    ],
)
def test_an_undocumented_frame_is_malformed_and_never_raises(frame: bytes, reason: str) -> None:
    session = open_session(BTC, channel="trades")
    out: list[Output] = list(session.feed(frame, NOW))
    assert [(type(o), o.reason) for o in out] == [(Malformed, reason)]
    assert reasons(session.feed(trade_frame(2), NOW)) == ["Trade"]


@pytest.mark.parametrize("fields", [{"o": "x"}, {"a": None}, {"t": "soon"}, {"h": 1}])
def test_a_bar_with_a_bad_value_is_malformed(fields: dict[str, Any]) -> None:
    (out,) = open_session(BTC, channel="candles").feed(bar_frame(**fields), NOW)
    assert isinstance(out, Malformed)


# --- the listing -----------------------------------------------------------------------------------------------------


def listing(body: bytes) -> list[Instrument]:
    flow = gate.listing(OPTIONS)
    assert next(flow).url == "https://test/api/v4/spot/currency_pairs"
    with pytest.raises(StopIteration) as done:
        flow.send(Response(200, body))
    return done.value.value


def test_the_recorded_listing() -> None:
    body = recording("GATEIO.0")[0].frame
    listed, rows = listing(body), json.loads(body)
    assert [instrument.symbol for instrument in listed] == [row["id"] for row in rows]
    alephium = next(instrument for instrument in listed if instrument.symbol == "ALEPH_USDT")
    assert alephium == Instrument("gate", "ALEPH_USDT", "ALEPH/USDT", "ALEPH", "USDT", "spot", "trading", "0.0001", "0.001")
    tradable = {row["id"] for row in rows if row["trade_status"] == "tradable"}
    assert {instrument.symbol for instrument in listed if instrument.status == "trading"} == tradable
    assert {instrument.status for instrument in listed if instrument.symbol not in tradable} == {"halted"}


def test_steps_of_whole_numbers() -> None:
    """The example of "Query all supported currency pairs" with other precisions."""
    pair = {"id": "ETH_USDT", "base": "ETH", "quote": "USDT", "amount_precision": 0, "precision": 1, "trade_status": "buyable"}
    expected = Instrument("gate", "ETH_USDT", "ETH/USDT", "ETH", "USDT", "spot", "halted", "0.1", "1")
    assert listing(json.dumps([pair]).encode()) == [expected]


def test_a_body_of_another_shape_is_rejected() -> None:
    with pytest.raises(Reject, match="unexpected REST response"):
        gate_parse.candles_from_rest(b"<html>", BTC, NOW)
    with pytest.raises(Reject, match=r"gate: unexpected REST response, every row: 'free' is not a price or size"):
        gate_parse.trades_from_rest(
            b'[{"id":"5","create_time_ms":"1600000000000.0","side":"buy","amount":"1","price":"free"}]', BTC, NOW
        )
