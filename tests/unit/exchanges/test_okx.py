"""OKX's trades, candles, quotes, connection and listing, with frames of the documentation and the test data of other projects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.exchanges.okx import exchange as okx
from ingest.exchanges.okx import parse as okx_parse
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Response
from ingest.protocol.session import Gap, Output, Reconnect, Refused, Send, Subscription
from ingest.records import SECOND, Candle, Instrument, Quote, Trade
from tests.support.exchanges.okx import BTC, MERGED, NOW, OPTIONS, nautilus, open_session, reasons
from tests.support.recordings.files import read, received


def rest_body(name: str) -> bytes:
    """The response in a file of JKorf's test data, which follows three lines of the request."""
    return read(f"jkorf_okx/Endpoints.UnifiedApi.ExchangeData.{name}.txt").split(b"\n", 3)[3]


# --- trades and candles ----------------------------------------------------------------------------------------------


def trade_frame(trade_id: int, *, channel: str = "trades-all", **fields: str) -> bytes:
    """The trade of nautilus_trader's test data with these fields changed."""
    message = json.loads(nautilus("ws_trades"))
    message["arg"] = {"channel": channel, "instId": "BTC-USDT"}
    message["data"][0].update(tradeId=str(trade_id), **fields)
    return json.dumps(message).encode()


def test_a_trade() -> None:
    session = open_session(BTC, channel="trades")
    assert session.feed(trade_frame(130639474), NOW) == (
        Trade(3, 1630048897897000, 130639474, "42219.9", "0.12060306", "buy", NOW),
    )
    assert session.last_message_at == [NOW]


def test_recorded_trades_of_2025_of_the_merging_channel() -> None:
    session = open_session(BTC, channel="trades", options=MERGED)
    lines = read("gocryptotrader/okx.wsAllTrades.json").splitlines()
    assert [output for line in lines for output in session.feed(line, NOW)] == [
        Trade(3, 1740394561685000, 674510826, "95634.9", "0.00011186", "buy", NOW),
        Trade(3, 1740394561686000, 674510827, "95635.3", "0.00011194", "sell", NOW),
    ]


def test_a_jump_of_the_id_is_a_gap_only_if_ids_are_dense() -> None:
    dense = open_session(BTC, channel="trades")
    dense.feed(trade_frame(100), NOW)
    gap, trade = dense.feed(trade_frame(103, ts="1630048898000"), NOW)
    assert gap == Gap(3, "trades", "sequence", 1630048897897000, 1630048898000000, 101, 102)
    assert trade.trade_id == 103
    assert [type(o) for o in dense.feed(trade_frame(102), NOW)] == [Trade]  # late, without a second gap
    assert [type(o) for o in dense.feed(trade_frame(104), NOW)] == [Trade]
    merged = open_session(BTC, channel="trades", options=MERGED)
    merged.feed(trade_frame(100, channel="trades"), NOW)
    assert [type(o) for o in merged.feed(trade_frame(103, channel="trades"), NOW)] == [Trade]


def test_one_trade_by_websocket_and_rest_is_one_row() -> None:
    """The first REST trade as a frame of `trades-all`, made of the frame of nautilus_trader."""
    first, second = okx_parse.trades_from_rest(nautilus("http_get_trades"), BTC, NOW)
    assert first == Trade(3, 1747087163557000, 734864333, "102537.9", "0.00013669", "sell", NOW)
    assert second == Trade(3, 1747087161666000, 734864332, "102537.9", "0.0000125", "buy", NOW)
    frame = trade_frame(734864333, px="102537.9", sz="0.00013669", side="sell", ts="1747087163557")
    assert open_session(BTC, channel="trades").feed(frame, NOW) == (first,)
    history = okx_parse.trades_from_rest(rest_body("GetTradeHistory"), BTC, NOW)
    assert history == [
        Trade(3, 1654161646974000, 242720720, "29963.2", "0.00001", "sell", NOW),
        Trade(3, 1654161641568000, 242720719, "29964.1", "0.00001", "sell", NOW),
    ]


BAR = Candle(
    3, "1m", 1597026383085000, "8533.02", "8553.74", "8527.17", "8548.26", "45247", "5529.5858061",
    None, None, None, None, None, 1, "ws", NOW,
)  # fmt: skip


def bar_frame(confirm: bytes) -> bytes:
    """The frame of a daily bar of nautilus_trader's test data, as a 1m bar."""
    return nautilus("ws_candle").replace(b"candle1D", b"candle1m").replace(b'"1"', b'"' + confirm + b'"')


def test_only_a_confirmed_bar_is_stored() -> None:
    session = open_session(BTC, channel="candles")
    assert session.feed(bar_frame(b"0"), NOW) == ()
    assert session.feed(bar_frame(b"1"), NOW) == (BAR,)


def test_bars_by_rest() -> None:
    assert okx_parse.candles_from_rest(nautilus("http_get_candlesticks"), BTC, NOW) == []  # unconfirmed
    assert okx_parse.candles_from_rest(nautilus("http_get_candlesticks_full"), BTC, NOW) == [
        Candle(
            3, "1m", 1747094040000000, "102806.1", "102820.4", "102806.1", "102820.4", "1040.37", "1069603.34883",
            None, None, None, None, None, 1, "rest", NOW,
        ),
        Candle(
            3, "1m", 1747093980000000, "102806", "102820.5", "102783.1", "102806.1", "7164.04", "7364701.57952",
            None, None, None, None, None, 1, "rest", NOW,
        ),
    ]  # fmt: skip


def test_a_bar_has_the_same_key_and_values_by_websocket_and_rest() -> None:
    frame = json.loads(bar_frame(b"1"))
    body = json.dumps({"code": "0", "msg": "", "data": frame["data"]}).encode()
    assert okx_parse.candles_from_rest(body, BTC, NOW) == [replace(BAR, origin="rest")]


def test_a_side_without_orders_is_none() -> None:
    session = open_session(BTC, channel="quotes")
    frame = nautilus("ws_tickers").replace(b'"askPx": "9999.99"', b'"askPx": ""').replace(b'"askSz": "11"', b'"askSz": ""')
    assert session.feed(frame, NOW) == ()
    assert session.tick(NOW) == [Quote(3, 1597026384 * SECOND, "", "8888.88", "5", None, None, None, NOW)]


def test_a_malformed_quote_discards_the_quote_before_it() -> None:
    session = open_session(BTC, channel="quotes")
    session.feed(nautilus("ws_tickers"), NOW)
    assert reasons(session.feed(nautilus("ws_tickers").replace(b"8888.88", b"-1"), NOW)) == ["value"]
    assert session.tick(NOW) == []


# --- the connection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "endpoint"), [("trades-all", "business"), ("trades", "public")])
def test_each_channel_goes_to_its_endpoint(kind: str, endpoint: str) -> None:
    options = replace(OPTIONS, trade_kind=kind)
    spread = okx.connections([Subscription(BTC, channel) for channel in okx.CHANNELS], options)
    subscribed = {
        connection.url: [json.loads(send.text) for send in okx.session(connection, options).start(NOW)] for connection in spread
    }
    args = {"public": ["books", "tickers"], "business": ["candle1m"]}
    args[endpoint] = [kind, *args[endpoint]]
    assert subscribed == {
        f"wss://test/{name}": [{"id": "1", "op": "subscribe", "args": [{"channel": word, "instId": "BTC-USDT"} for word in words]}]
        for name, words in args.items()
    }


def test_every_websocket_address_uses_the_port_of_tls() -> None:
    """OKX closes port 8443 after 2026-10-31: https://www.okx.com/en-us/help/okx-websocket-port-8443-discontinuation-announcement"""
    options = replace(OPTIONS, ws_url=okx.LIMITS.ws_url)
    spread = okx.connections([Subscription(BTC, "trades"), Subscription(BTC, "book")], options)
    assert [connection.url for connection in spread] == ["wss://ws.okx.com/ws/v5/public", "wss://ws.okx.com/ws/v5/business"]
    advised = re.findall(r"wss://[^ ,]+", okx.LIMITS.alternative)
    assert advised == ["wss://wseea.okx.com/ws/v5", "wss://wsus.okx.com/ws/v5"]


def test_many_subscriptions_are_spread_over_connections() -> None:
    many = [Subscription(replace(BTC, symbol=f"X{i}-USDT"), "book") for i in range(450)]
    spread = okx.connections(many, OPTIONS)
    assert [s for connection in spread for s in connection.subscriptions] == many
    assert [len(connection.subscriptions) for connection in spread] == [200, 200, 50]
    assert [len(json.loads(send.text)["args"]) for send in okx.session(spread[2], OPTIONS).start(NOW)] == [50]


def test_ping_after_silence_and_pong_is_plain_text() -> None:
    session = open_session(BTC, channel="trades")
    assert session.tick(NOW + 24 * SECOND) == []
    assert session.tick(NOW + 25 * SECOND) == [Send("ping", keepalive=True)]
    assert session.feed(b"pong", NOW + 26 * SECOND) == ()
    assert session.tick(NOW + 50 * SECOND) == []
    assert session.last_message_at == [0]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [  # https://www.okx.com/docs-v5/en/#overview-websocket-subscribe and #overview-websocket-notification
        (b'{"event":"subscribe","arg":{"channel":"trades-all","instId":"BTC-USDT"},"connId":"a4d3ae55"}', ()),
        (b'{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"abcd1234"}', ()),
        (
            b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.",'
            b'"connId":"a4d3ae55"}',
            (Reconnect("okx: 64008 The connection will soon be closed for a service upgrade. Please reconnect.", planned=True),),
        ),
        (
            b'{"event":"error","code":"60018","msg":"Wrong URL or channel:candle1m,instId:BTC-USDT doesn\'t exist.",'
            b'"connId":"a4d3ae55"}',
            (Refused("okx: 60018 Wrong URL or channel:candle1m,instId:BTC-USDT doesn't exist."),),
        ),
    ],
)
def test_events(frame: bytes, expected: tuple[Output, ...]) -> None:
    assert open_session(BTC, channel="trades").feed(frame, NOW) == expected


def test_recorded_replies_yield_nothing() -> None:
    session = open_session(BTC, channel="trades", options=MERGED)
    replies = [line for line in received("OKX.ws.1.0") if '"event"' in line.text]
    assert len(replies) > 10
    assert [session.feed(line.frame, line.time) for line in replies] == [()] * len(replies)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"garbage", "json"),
        (b"\xff", "json"),
        (b'{"data":' + b"[" * 100_000, "json"),
        (b"[1,2]", "shape"),
        (b'{"event":"weather"}', "unknown"),
        (b'{"arg":{"channel":"trades-all","instId":"BTC-USDT"}}', "json"),
        (b'{"arg":{"channel":"trades-all","instId":"BTC-USDT"},"data":5}', "shape"),
        (b"{}", "unknown"),
        (lambda: trade_frame(1, channel="books"), "unknown"),
        (lambda: trade_frame(1, px="abc"), "value"),
        (lambda: trade_frame(1, px="NaN"), "value"),
        (lambda: trade_frame(1, sz="-1"), "value"),
        (lambda: trade_frame(1, ts="soon"), "value"),
        (lambda: trade_frame(1).replace(b'"1"', b'"x1"'), "value"),
        (lambda: trade_frame(1, side="both"), "shape"),
        (lambda: trade_frame(1).replace(b'"42219.9"', b"42219.9"), "shape"),
    ],
)
def test_an_undocumented_frame_is_malformed_and_never_raises(frame: bytes | Callable[[], bytes], reason: str) -> None:
    session = open_session(BTC, channel="trades")
    (malformed,) = session.feed(frame if isinstance(frame, bytes) else frame(), NOW)
    assert (type(malformed), malformed.reason) == (Malformed, reason)
    assert [type(o) for o in session.feed(trade_frame(2), NOW)] == [Trade]


def test_a_bad_row_does_not_affect_the_other_rows() -> None:
    message = json.loads(trade_frame(1))
    good, bad = message["data"][0], {**message["data"][0], "px": None}
    message["data"] = [good, bad, {**good, "tradeId": "2", "px": "-5"}, {**good, "tradeId": "2"}]
    out = open_session(BTC, channel="trades").feed(json.dumps(message).encode(), NOW)
    assert reasons(out) == ["Trade", "Trade", "shape", "value"]


# --- the listing -----------------------------------------------------------------------------------------------------


def listing(body: bytes) -> list[Instrument]:
    flow = okx.listing(OPTIONS)
    assert next(flow).url == "https://test/api/v5/public/instruments?instType=SPOT"
    with pytest.raises(StopIteration) as done:
        flow.send(Response(200, body))
    return done.value.value


def test_the_listing() -> None:
    body = nautilus("http_get_instruments_spot")
    bitcoin = Instrument("okx", "BTC-USD", "BTC/USD", "BTC", "USD", "spot", "trading", "0.1", "0.00000001")
    listed = listing(body)
    assert listed[0] == bitcoin
    assert [instrument.symbol for instrument in listed] == [row["instId"] for row in json.loads(body)["data"]]
    suspended = listing(body.replace(b'"state": "live"', b'"state": "suspend"'))
    assert suspended[0] == replace(bitcoin, status="halted")


@pytest.mark.parametrize(
    ("code", "raised"), [("50011", Retry), ("50001", Retry), ("50013", Retry), ("51001", Reject), ("50014", Reject)]
)
def test_errors_in_a_200_body(code: str, raised: type[Exception]) -> None:
    with pytest.raises(raised, match=f"okx: {code} no"):
        okx_parse.trades_from_rest(msgspec.json.encode({"code": code, "msg": "no", "data": []}), BTC, NOW)


def test_a_body_of_another_shape_is_rejected() -> None:
    with pytest.raises(Reject, match="unexpected REST response"):
        okx_parse.candles_from_rest(b"<html>", BTC, NOW)
    bad = nautilus("http_get_trades").replace(b"102537.9", b"free")
    with pytest.raises(Reject, match=r"okx: unexpected REST response, every row: 'free' is not a price or size"):
        okx_parse.trades_from_rest(bad, BTC, NOW)
