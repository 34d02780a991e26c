"""Deribit's trades, candles, quotes, connection and listing, with recorded frames and the test data of other projects.

https://docs.deribit.com/
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.errors import Reject
from ingest.exchanges.deribit import exchange as deribit
from ingest.exchanges.deribit import parse as deribit_parse
from ingest.marketdata.values import decimal_digits
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Response
from ingest.protocol.session import Gap, Output, Refused, Subscription
from ingest.records import MINUTE, SECOND, Candle, Instrument, Quote, Trade
from tests.support.exchanges.deribit import (
    BTC,
    NOW,
    OPTIONS,
    digits,
    edited,
    named,
    nautilus,
    open_session,
    plain,
    reasons,
    recorded,
)
from tests.support.recordings.files import read, received, recording
from tests.support.recordings.plain import at_ticks

# --- trades ----------------------------------------------------------------------------------------------------------

FIRST = Trade(3, 1765531356452000, 271252854, "92294.5", "10.0", "sell", NOW, native_id="403691824")
SECOND_TRADE = Trade(3, 1765531356452000, 271252855, "92288.5", "750.0", "sell", NOW, native_id="403691825")


def trade_frame(*numbers: int, **fields: Any) -> bytes:
    """A frame with the first trade of nautilus_trader's test data once for each number as `trade_seq`."""
    message = json.loads(nautilus("ws_trades"))
    row = message["params"]["data"][0]
    message["params"]["data"] = [row | {"trade_seq": number} | fields for number in numbers]
    return json.dumps(message).encode()


def test_trades() -> None:
    """The size is in USD; a contract is 10 USD."""
    session = open_session(BTC, channel="trades")
    assert session.feed(nautilus("ws_trades"), NOW) == [FIRST, SECOND_TRADE]
    assert session.last_message_at == [NOW]


def test_recorded_trades_of_2025() -> None:
    session = open_session(BTC, channel="trades")
    lines = read("gocryptotrader/deribit.wsAllTrades.json").replace(b"agg2", b"100ms").splitlines()
    assert [output for line in reversed(lines) if line for output in session.feed(line, NOW)] == [
        Trade(3, 1742627361899000, 242126084, "84319.0", "580.0", "sell", NOW, native_id="356130979"),
        Gap(3, "trades", "sequence", 1742627361899000, 1742627465811000, 242126085, 242126091),
        Trade(3, 1742627465811000, 242126092, "84295.5", "8430.0", "buy", NOW, native_id="356130997"),
    ]


def test_a_jump_of_the_number_is_a_gap_and_a_resent_trade_is_yielded_again() -> None:
    session = open_session(BTC, channel="trades")
    assert reasons(session.feed(trade_frame(100, 101), NOW)) == ["Trade", "Trade"]
    gap, trade = session.feed(trade_frame(104, timestamp=1765531357000), NOW)
    assert gap == Gap(3, "trades", "sequence", FIRST.time, 1765531357000000, 102, 103)
    assert trade.trade_id == 104
    assert reasons(session.feed(trade_frame(103, 104, 105), NOW)) == ["Trade", "Trade", "Trade"]


def test_one_trade_by_websocket_and_rest_is_one_row() -> None:
    eth = named("ETH-PERPETUAL", 4)
    body = nautilus("http_get_last_trades")
    by_rest = deribit_parse.trades_from_rest(body, eth, NOW)
    assert by_rest[0] == Trade(4, 1766332040636000, 203024587, "2968.3", "1.0", "sell", NOW, native_id="ETH-284830839")
    assert len(by_rest) == 10
    rows = json.loads(body)["result"]["trades"]
    frame = json.dumps({"method": "subscription", "params": {"channel": "trades.ETH-PERPETUAL.100ms", "data": rows}}).encode()
    assert open_session(eth, channel="trades").feed(frame, NOW) == by_rest


# --- candles ---------------------------------------------------------------------------------------------------------

BAR = Candle(
    3, "1m", 1767200040000000, "87490.0", "87500.0", "87465.0", "87474.0", "0.95978896", "83970.0",
    None, None, None, None, None, 1, "ws", NOW,
)  # fmt: skip


def test_a_bar_is_closed_by_the_next_bar_or_by_the_clock() -> None:
    session = open_session(BTC, channel="candles")
    assert session.feed(nautilus("ws_chart"), NOW) == ()
    assert session.tick(BAR.time + MINUTE + 5 * SECOND - 1) == []
    assert session.tick(BAR.time + MINUTE + 5 * SECOND) == [BAR]
    assert session.feed(edited("ws_chart", volume=1.5), NOW) == (replace(BAR, volume="1.5"),)  # a late change is yielded again
    assert session.feed(edited("ws_chart", tick=1767200100000), NOW) == ()
    assert session.feed(edited("ws_chart", tick=1767200160000), NOW) == (replace(BAR, time=BAR.time + MINUTE),)


def test_a_malformed_bar_is_not_yielded() -> None:
    session = open_session(BTC, channel="candles")
    session.feed(nautilus("ws_chart"), NOW)
    assert reasons(session.feed(edited("ws_chart", close=-1), NOW)) == ["value"]
    assert session.tick(BAR.time + 5 * MINUTE) == []


def test_bars_by_rest() -> None:
    chart = plain(nautilus("http_get_tradingview_chart_data"))["result"]
    names = ("ticks", "open", "high", "low", "close", "volume", "cost")
    expected = [
        Candle(3, "1m", time * 1000, *values, None, None, None, None, None, 1, "rest", NOW)
        for time, *values in zip(*(chart[name] for name in names), strict=True)
    ]
    assert len(expected) == 5
    assert deribit_parse.candles_from_rest(nautilus("http_get_tradingview_chart_data"), BTC, NOW) == expected


# --- quotes ----------------------------------------------------------------------------------------------------------


def test_recorded_quotes_are_right_at_every_tick() -> None:
    rows = list(recorded("ticker"))
    ids = {symbol: number for number, symbol in enumerate(sorted({row["instrument_name"] for _, row in rows}), 1)}
    session = open_session(*(named(symbol, number) for symbol, number in ids.items()), channel="quotes")
    outputs = [output for line, _ in rows for output in session.feed(line.frame, line.time)]
    outputs += session.tick(rows[-1][0].time + 3600 * SECOND)
    states = []
    for line, row in rows:
        sides = [(row[f"best_{side}_price"], row[f"best_{side}_amount"]) for side in ("bid", "ask")]
        best = [digits(value) if float(size) else None for price, size in sides for value in (price, size)]
        states.append(Quote(ids[row["instrument_name"]], row["timestamp"] * 1000, "", *best, None, line.time))
    assert len(states) == 89
    assert None in {state.bid_price for state in states}
    assert sorted(outputs, key=row_key) == sorted(at_ticks(states), key=row_key)


def row_key(quote: Quote) -> tuple[int, int]:
    return quote.instrument_id, quote.time


def test_a_side_may_be_null() -> None:
    session = open_session(BTC, channel="quotes")
    session.feed(edited("ws_ticker", best_bid_price=None, best_bid_amount=None), NOW)
    assert session.tick(1765541480 * SECOND) == [Quote(3, 1765541475 * SECOND, "", None, None, "92284.0", "186520.0", None, NOW)]


def test_a_malformed_quote_discards_the_quote_before_it() -> None:
    session = open_session(BTC, channel="quotes")
    session.feed(nautilus("ws_ticker"), NOW)
    assert reasons(session.feed(edited("ws_ticker", best_bid_price=-1), NOW)) == ["value"]
    assert session.tick(1765541480 * SECOND) == []


@pytest.mark.parametrize(
    ("number", "text"), [("42500.0", "42500.0"), ("1e-7", "0.0000001"), ("6.55E-6", "0.00000655"), ("1e3", "1000")]
)
def test_digits(number: str, text: str) -> None:
    assert decimal_digits(Decimal(number)) == text


@pytest.mark.parametrize("number", ["-1", "NaN", "Infinity", "1e99", "1e-99"])
def test_no_digits(number: str) -> None:
    with pytest.raises(ValueError, match="is not a price or size"):
        decimal_digits(Decimal(number))


# --- the connection --------------------------------------------------------------------------------------------------


def test_subscribing() -> None:
    (connection,) = deribit.connections([Subscription(BTC, channel) for channel in deribit.CHANNELS], OPTIONS)
    assert connection.url == "wss://test"
    heartbeat, subscribe = (json.loads(send.text) for send in deribit.session(connection, OPTIONS).start(NOW))
    assert heartbeat == {"jsonrpc": "2.0", "id": 0, "method": "public/set_heartbeat", "params": {"interval": 30}}
    names = ["trades.BTC-PERPETUAL.100ms", "chart.trades.BTC-PERPETUAL.1", "book.BTC-PERPETUAL.100ms", "ticker.BTC-PERPETUAL.100ms"]
    assert subscribe == {"jsonrpc": "2.0", "id": 1, "method": "public/subscribe", "params": {"channels": names}}


def test_many_subscriptions_are_spread_over_connections() -> None:
    many = [Subscription(named(f"X{i}", i), "trades") for i in range(450)]
    spread = deribit.connections(many, OPTIONS)
    assert [s for connection in spread for s in connection.subscriptions] == many
    assert [len(connection.subscriptions) for connection in spread] == [200, 200, 50]
    sends = [json.loads(send.text) for send in deribit.session(spread[0], OPTIONS).start(NOW)]
    assert [len(message["params"].get("channels", [])) for message in sends] == [0, 100, 100]


def test_a_test_request_of_the_exchange_is_answered() -> None:
    session = open_session(BTC, channel="trades")
    (send,) = session.feed(nautilus("ws_test_request"), NOW)
    assert json.loads(send.text) == {"jsonrpc": "2.0", "id": 0, "method": "public/test", "params": {}}
    assert session.feed(nautilus("ws_test_request").replace(b"test_request", b"heartbeat"), NOW) == ()
    assert session.feed(nautilus("http_test").replace(b'"id": 1', b'"id": 0'), NOW) == ()
    assert session.last_message_at == [0]


def test_a_channel_that_was_not_accepted_is_refused() -> None:
    """Deribit leaves an unknown channel out of its response, without an error."""
    accepted = {"jsonrpc": "2.0", "id": 1, "result": ["trades.BTC-PERPETUAL.100ms"]}
    instruments = (BTC, named("BTC-NEVER", 4))
    assert open_session(*instruments, channel="trades").feed(json.dumps(accepted).encode(), NOW) == (
        Refused("deribit: not subscribed: trades.BTC-NEVER.100ms"),
    )
    assert open_session(BTC, channel="trades").feed(json.dumps(accepted).encode(), NOW) == ()
    assert open_session(BTC, channel="trades").feed(nautilus("ws_error"), NOW) == (Refused("deribit: 10028 too_many_requests"),)


def test_the_recorded_reply_yields_nothing() -> None:
    (reply,) = [line for line in received("DERIBIT.ws.1.0") if '"result"' in line.text]
    symbols = [name.split(".")[1] for name in json.loads(reply.text)["result"] if name.startswith("trades")]
    session = open_session(*(named(symbol, 1) for symbol in symbols), channel="trades")
    text = reply.text.replace(".raw", ".100ms").replace('"id":0', '"id":1')
    assert session.feed(text.encode(), NOW) == ()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"garbage", "json"),
        (b"\xff", "json"),
        (b'{"method":"subscription","params":{"data":' + b"[" * 100_000, "json"),
        (b"[1,2]", "shape"),
        (b"{}", "unknown"),
        (b'{"method":"weather"}', "unknown"),
        (b'{"id":1,"result":5}', "shape"),
        (b'{"method":"subscription","params":{"channel":"trades.ETH-PERPETUAL.100ms","data":[]}}', "unknown"),
        (b'{"method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms"}}', "shape"),
        (lambda: trade_frame(1, price="abc"), "shape"),
        (lambda: trade_frame(1, amount=-1), "value"),
        (lambda: trade_frame(1, price=1e99), "value"),
        (lambda: trade_frame(1, direction="both"), "shape"),
        (lambda: trade_frame(1, timestamp="soon"), "shape"),
    ],
)
def test_an_undocumented_frame_is_malformed_and_never_raises(frame: bytes | Callable[[], bytes], reason: str) -> None:
    session = open_session(BTC, channel="trades")
    out: list[Output] = list(session.feed(frame if isinstance(frame, bytes) else frame(), NOW))
    assert [(type(o), o.reason) for o in out] == [(Malformed, reason)]
    assert reasons(session.feed(trade_frame(2), NOW)) == ["Trade"]


# --- the listing -----------------------------------------------------------------------------------------------------


def listing(body: bytes) -> list[Instrument]:
    flow = deribit.listing(OPTIONS)
    assert next(flow).url == "https://test/api/v2/public/get_instruments?currency=any&expired=false"
    with pytest.raises(StopIteration) as done:
        flow.send(Response(200, body))
    return done.value.value


def test_the_listing() -> None:
    """Combos are left out."""
    assert listing(nautilus("http_get_instruments")) == [
        Instrument("deribit", "BTC-PERPETUAL", "BTC/USD:BTC", "BTC", "USD", "swap", "trading", "0.5", "10.0"),
        Instrument("deribit", "BTC-27DEC24", "BTC/USD:BTC-241227", "BTC", "USD", "future", "trading", "0.5", "10.0"),
        Instrument(
            "deribit", "BTC-27DEC24-100000-C", "BTC/USD:BTC-241227-100000-C", "BTC", "USD", "option", "trading", "0.0005", "0.1"
        ),
    ]


def test_recorded_listings() -> None:
    """The listings of 2021 and 2022, one for each settlement currency."""
    by_symbol = {}
    for answer in recording("DERIBIT.0"):
        if answer.kind == "answer":
            rows, listed = json.loads(answer.text)["result"], listing(answer.frame)
            assert [instrument.symbol for instrument in listed] == [row["instrument_name"] for row in rows]
            by_symbol |= {instrument.symbol: instrument for instrument in listed}
    assert len({instrument.instrument for instrument in by_symbol.values()}) == len(by_symbol)
    chosen = ["BTC-PERPETUAL", "BTC-24SEP21-40000-P", "SOL-10JUN22-28-P", "UNI_USDC-PERPETUAL"]
    assert [by_symbol[symbol] for symbol in chosen] == [
        Instrument("deribit", "BTC-PERPETUAL", "BTC/USD:BTC", "BTC", "USD", "swap", "trading", "0.5", "10.0"),
        Instrument(
            "deribit", "BTC-24SEP21-40000-P", "BTC/USD:BTC-210924-40000-P", "BTC", "USD", "option", "trading", "0.0005", "0.1"
        ),
        Instrument("deribit", "SOL-10JUN22-28-P", "SOL/USD:SOL-220610-28-P", "SOL", "USD", "option", "trading", "0.001", "1"),
        Instrument("deribit", "UNI_USDC-PERPETUAL", "UNI/USDC:USDC", "UNI", "USDC", "swap", "trading", "0.001", "1"),
    ]


def test_a_halted_spot_market() -> None:
    """The perpetual of nautilus_trader's test data, changed as the documentation describes spot: without settlement."""
    row = json.loads(nautilus("http_get_instrument"))["result"]
    spot = {name: value for name, value in row.items() if not name.startswith("settlement")}
    spot |= {
        "kind": "spot",
        "instrument_name": "BTC_USDC",
        "quote_currency": "USDC",
        "counter_currency": "USDC",
        "is_active": False,
    }
    assert listing(json.dumps({"result": [spot]}).encode()) == [
        Instrument("deribit", "BTC_USDC", "BTC/USDC", "BTC", "USDC", "spot", "halted", "0.5", "10.0")
    ]


def test_a_body_of_another_shape_is_rejected() -> None:
    with pytest.raises(Reject, match="unexpected REST response"):
        deribit_parse.candles_from_rest(b'{"result":{}}', BTC, NOW)
    with pytest.raises(Reject, match=r"deribit: unexpected REST response, every row: -1 is not a price or size"):
        deribit_parse.trades_from_rest(nautilus("http_get_last_trades").replace(b"2968.3", b"-1"), BTC, NOW)
    with pytest.raises(Reject, match="deribit: bars: "):
        deribit_parse.candles_from_rest(
            nautilus("http_get_tradingview_chart_data").replace(b"87456.5, 87456.5", b"87456.5", 1), BTC, NOW
        )
