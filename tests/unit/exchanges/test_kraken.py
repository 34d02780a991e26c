"""Kraken's trades, candles, connection and listing, with v2 frames of the test data of other projects."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.exchanges.kraken import exchange as kraken
from ingest.exchanges.kraken import parse as kraken_parse
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Response
from ingest.protocol.session import Gap, Output, Refused, Send, Subscription
from ingest.records import SECOND, Candle, Instrument, Trade
from tests.support.exchanges.kraken import BTC, NOW, OPTIONS, nautilus, open_session, trade_frame
from tests.support.recordings import kraken_v1
from tests.support.recordings.files import read

# --- trades ----------------------------------------------------------------------------------------------------------


def test_trades_keep_the_digits_of_json_numbers() -> None:
    session = open_session(BTC, channel="trades")
    assert session.feed(nautilus("ws_trade_update"), NOW) == [
        Trade(7, 1696613755440295, 10218208, "105944.20", "0.00027625", "buy", NOW),
        Trade(7, 1696613756123456, 10218209, "105910.50", "0.00012460", "sell", NOW),
    ]
    assert session.last_message_at == [NOW]


def test_a_jump_of_the_trade_id_is_a_gap_with_its_ids() -> None:
    session = open_session(BTC, channel="trades")
    session.feed(trade_frame(100), NOW)
    gap, trade = session.feed(trade_frame(104, time="57.000000Z"), NOW)
    assert gap == Gap(7, "trades", "sequence", 1696613755440295, 1696613757000000, 101, 103)
    assert trade == Trade(7, 1696613757000000, 104, "105944.20", "0.00027625", "buy", NOW)
    assert [type(output) for output in session.feed(trade_frame(105), NOW)] == [Trade]


def test_a_snapshot_may_begin_anywhere_and_repeat_old_trades() -> None:
    session = open_session(BTC, channel="trades")
    assert [o.trade_id for o in session.feed(trade_frame(5000, kind="snapshot"), NOW)] == [5000]
    assert [o.trade_id for o in session.feed(trade_frame(5001), NOW)] == [5001]
    assert [o.trade_id for o in session.feed(trade_frame(4999, kind="snapshot"), NOW)] == [4999]
    assert [o.trade_id for o in session.feed(trade_frame(5002), NOW)] == [5002]


@pytest.mark.parametrize(
    ("number", "digits"),
    [("1e-7", "0.0000001"), ("0.00000100", "0.00000100"), ("123456789.123456789012345", "123456789.123456789012345"), ("5", "5")],
)
def test_numbers_are_written_without_exponent_and_without_loss(number: str, digits: str) -> None:
    (trade,) = open_session(BTC, channel="trades").feed(trade_frame(1, price=number), NOW)
    assert trade.price == digits


def test_one_trade_by_websocket_and_rest_is_one_row() -> None:
    """The first REST trade, whose time has 7 decimals, as a websocket frame with 6 and with 9 decimals."""
    first = kraken_parse.trades_from_rest(nautilus("http_trades"), BTC, NOW)[0]
    assert first == Trade(7, 1762795433971744, 10218208, "105433.60000", "0.00027625", "buy", NOW)
    for time in ("2025-11-10T17:23:53.971744Z", "2025-11-10T17:23:53.971744500Z"):
        frame = trade_frame(10218208, price="105433.6").replace(b"2023-10-06T17:35:55.440295Z", time.encode())
        (trade,) = open_session(BTC, channel="trades").feed(frame, first.time)
        assert (trade.instrument_id, trade.time, trade.trade_id) == (first.instrument_id, first.time, first.trade_id)
        assert (Decimal(trade.price), Decimal(trade.size), trade.side) == (Decimal(first.price), Decimal(first.size), first.side)


def test_rest_trades_are_cut_to_microseconds() -> None:
    body = read("jkorf_kraken/Endpoints.Spot.ExchangeData.GetTradeHistory.txt").split(b"\n", 3)[3]
    assert kraken_parse.trades_from_rest(body, BTC, NOW) == [
        Trade(7, 1688669597827736, 61044952, "30243.40000", "0.34507674", "buy", NOW),
        Trade(7, 1688669598280411, 61044953, "30243.30000", "0.00376960", "sell", NOW),
        Trade(7, 1688669602698379, 61044956, "30243.30000", "0.01235716", "sell", NOW),
    ]


# --- candles ---------------------------------------------------------------------------------------------------------

BEGIN = 1696436700 * SECOND  # 2023-10-04T16:25:00Z
MINUTE = 60 * SECOND
BAR = Candle(
    7, "1m", BEGIN, "106038.2", "106044.3", "106038.1", "106040.1", "30927.68066226",
    None, 12, None, None, None, None, 1, "ws", NOW,
)  # fmt: skip


def bar_frame(minute: int = 25, *, close: str = "106040.1", kind: str = "update") -> bytes:
    """The frame of nautilus_trader with these fields changed."""
    message = json.loads(nautilus("ws_ohlc_update"), parse_float=Decimal)
    message["type"] = kind
    row = message["data"][0]
    row["interval_begin"] = f"2023-10-04T16:{minute}:00.000000000Z"
    text = json.dumps(message, default=lambda number: f"#{number}#").replace('"#', "").replace('#"', "")
    return text.replace("106040.1", close).encode()


def test_a_bar_is_closed_by_the_next_bar_and_an_unfinished_bar_is_not_emitted() -> None:
    session = open_session(BTC, channel="candles")
    assert list(session.feed(nautilus("ws_ohlc_update"), NOW)) == []
    assert list(session.feed(bar_frame(close="106041"), NOW + 1)) == []
    assert list(session.feed(bar_frame(26), NOW + 2)) == [replace(BAR, close="106041", received_at=NOW + 1)]


def test_the_older_bars_of_a_snapshot_are_closed() -> None:
    session = open_session(BTC, channel="candles")
    out = [o for minute in (23, 24, 25) for o in session.feed(bar_frame(minute, kind="snapshot"), NOW)]
    assert [bar.time for bar in out] == [BEGIN - 2 * MINUTE, BEGIN - MINUTE]


def test_a_bar_followed_by_silence_is_closed_five_seconds_after_its_end() -> None:
    session = open_session(BTC, channel="candles")
    received_at = BEGIN + 30 * SECOND
    assert list(session.feed(bar_frame(), received_at)) == []
    end = BEGIN + MINUTE
    bars = [[o for o in session.tick(end + s * SECOND) if isinstance(o, Candle)] for s in (-1, 4, 5, 6)]
    assert bars == [[], [], [replace(BAR, received_at=received_at)], []]


def test_a_bar_whose_latest_state_is_malformed_is_not_emitted() -> None:
    """The state before the malformed one is not the last state of the bar."""
    for bad, reason in ((bar_frame(close='"up"'), "shape"), (bar_frame(close="-1"), "value")):
        session = open_session(BTC, channel="candles")
        session.feed(bar_frame(), NOW)
        assert kinds(list(session.feed(bad, NOW))) == [reason]
        assert [o for o in session.tick(NOW) if isinstance(o, Candle)] == []
        assert list(session.feed(bar_frame(26), NOW)) == []
        assert list(session.feed(bar_frame(27), NOW)) == [replace(BAR, time=BEGIN + MINUTE)]


def test_a_bar_that_changes_after_it_was_closed_is_emitted_again() -> None:
    session = open_session(BTC, channel="candles")
    session.feed(bar_frame(), NOW)
    assert BAR in session.tick(NOW)
    assert list(session.feed(bar_frame(close="106042"), NOW + 1)) == [replace(BAR, close="106042", received_at=NOW + 1)]
    assert list(session.feed(bar_frame(26), NOW)) == []  # its bar was emitted already
    assert list(session.feed(bar_frame(25, close="106043"), NOW + 2)) == [replace(BAR, close="106043", received_at=NOW + 2)]
    assert list(session.feed(bar_frame(27), NOW + 3)) == [replace(BAR, time=BEGIN + MINUTE)]


def test_bars_by_rest_have_the_same_key_and_leave_out_the_unfinished_bar() -> None:
    bars = kraken_parse.candles_from_rest(nautilus("http_ohlc"), BTC, NOW)
    rows = json.loads(nautilus("http_ohlc"))["result"]
    last = rows.pop("last")
    (rows,) = rows.values()
    assert [bar.time // SECOND for bar in bars] == [row[0] for row in rows if row[0] <= last]
    assert len(bars) == len(rows) - 1
    assert bars[3] == Candle(
        7, "1m", 1762777200 * SECOND, "106038.1", "106044.3", "106038.1", "106040.1", "0.08317981",
        None, 3, None, None, None, None, 1, "rest", NOW,
    )  # fmt: skip


# --- the connection --------------------------------------------------------------------------------------------------


def test_subscribing_names_every_symbol_once_and_each_channels_parameters() -> None:
    ether = replace(BTC, symbol="ETH/USD", id=8)
    subscriptions = [Subscription(i, channel) for i in (BTC, ether) for channel in kraken.CHANNELS]
    (connection,) = kraken.connections(subscriptions, OPTIONS)
    assert (connection.url, connection.subscriptions) == ("wss://test", tuple(subscriptions))
    symbols = ["BTC/USD", "ETH/USD"]
    assert [json.loads(send.text) for send in kraken.session(connection, OPTIONS).start(NOW)] == [
        {"method": "subscribe", "params": {"channel": "trade", "symbol": symbols}, "req_id": 1},
        {"method": "subscribe", "params": {"channel": "ohlc", "symbol": symbols, "interval": 1}, "req_id": 2},
        {"method": "subscribe", "params": {"channel": "book", "symbol": symbols, "depth": 25}, "req_id": 3},
        {"method": "subscribe", "params": {"channel": "ticker", "symbol": symbols, "event_trigger": "bbo"}, "req_id": 4},
    ]


def test_many_subscriptions_are_spread_over_connections() -> None:
    many = [Subscription(replace(BTC, symbol=f"X{i}/USD"), "trades") for i in range(450)]
    spread = kraken.connections(many, OPTIONS)
    assert [len(connection.subscriptions) for connection in spread] == [200, 200, 50]
    assert [s for connection in spread for s in connection.subscriptions] == many
    assert [len(json.loads(send.text)["params"]["symbol"]) for send in kraken.session(spread[0], OPTIONS).start(NOW)] == [100, 100]


def refusal(symbol: str, req_id: str) -> bytes:
    """An error response of https://docs.kraken.com/exchange/guides/websockets/introduction."""
    return (
        b'{"error":"Currency pair not supported FOO/USD","method":"subscribe","success":false,"symbol":"FOO/USD",'
        b'"time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"%b}' % req_id.encode()
    ).replace(b"FOO/USD", symbol.encode())


def test_a_refusal_names_the_symbol_and_the_reason() -> None:
    session = open_session(BTC, channel="quotes")
    assert list(session.feed(nautilus("ws_subscribe_response"), NOW)) == []
    assert session.feed(refusal("FOO/USD", ""), NOW) == (Refused("kraken: subscribe FOO/USD: Currency pair not supported FOO/USD"),)
    assert session.refused == {}


def test_a_refused_symbol_is_retried_alone_and_the_others_stay_subscribed() -> None:
    session = open_session(BTC, replace(BTC, symbol="FOO/USD", id=8), channel="quotes")
    text = "kraken: subscribe FOO/USD: Currency pair not supported FOO/USD"
    assert session.feed(refusal("FOO/USD", ',"req_id":1'), NOW) == (Refused(text),)
    assert session.feed(nautilus("ws_subscribe_response"), NOW) == ()
    assert session.refused == {1: text}
    (again,) = (json.loads(o.text) for o in session.tick(NOW + 60 * SECOND) if isinstance(o, Send) and "ticker" in o.text)
    assert again["params"]["symbol"] == ["FOO/USD"]


def test_a_rate_limit_refuses_no_symbol() -> None:
    session = open_session(BTC, replace(BTC, symbol="FOO/USD", id=8), channel="quotes")
    busy = b'{"error":"Exceeded msg rate","method":"subscribe","success":false,"req_id":1}'
    assert session.feed(busy, NOW) == (Refused("kraken: subscribe: Exceeded msg rate"),)
    assert session.refused == {}
    (again,) = (json.loads(o.text) for o in session.tick(NOW + 60 * SECOND) if isinstance(o, Send) and "ticker" in o.text)
    assert again["params"]["symbol"] == ["BTC/USD", "FOO/USD"]


def test_a_connection_without_any_message_for_ten_seconds_is_pinged() -> None:
    session = open_session(BTC, channel="trades")
    for quiet in (b'{"channel":"heartbeat"}', nautilus("ws_pong")):
        assert session.feed(quiet, NOW + 5 * SECOND) == ()
    assert session.tick(NOW + 14 * SECOND) == []
    assert session.tick(NOW + 15 * SECOND) == [Send('{"method":"ping"}', keepalive=True)]
    assert session.tick(NOW + 16 * SECOND) == []
    assert session.last_message_at == [0]


def kinds(outputs: list[Output]) -> list[str]:
    return [output.reason if isinstance(output, Malformed) else type(output).__name__ for output in outputs]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"garbage", "json"),
        (b'{"channel":"trade","data":"\xff"}', "shape"),
        (b"\xff", "json"),
        (b'{"channel":"trade","x":' + b"[" * 100_000, "json"),
        (b"[1,2]", "shape"),
        (b'{"channel":"weather","data":[]}', "unknown"),
        (b'{"channel":"trade"}', "shape"),
        (trade_frame(1, price='"abc"'), "shape"),
        (trade_frame(1, price='"NaN"'), "value"),
        (trade_frame(1, price="-1.5"), "value"),
        (trade_frame(1, price="1e400"), "value"),
        (trade_frame(1, price="null"), "shape"),
        (trade_frame(1, time="99.0Z"), "value"),
        (trade_frame(1).replace(b"BTC/USD", b"XYZ/USD"), "unknown"),
        (trade_frame(1).replace(b'"buy"', b'"both"'), "shape"),
    ],
)
def test_an_undocumented_frame_is_malformed_and_never_raises(frame: bytes, reason: str) -> None:
    session = open_session(BTC, channel="trades")
    assert kinds(list(session.feed(frame, NOW))) == [reason]
    assert kinds(list(session.feed(trade_frame(2), NOW))) == ["Trade"]


def test_a_bad_row_does_not_affect_the_other_rows() -> None:
    good = trade_frame(1)[:-2]
    frame = good + b"," + trade_frame(2, price="null").split(b"[")[1][:-2] + b"," + trade_frame(3).split(b"[")[1]
    assert kinds(list(open_session(BTC, channel="trades").feed(frame, NOW))) == ["Trade", "Gap", "Trade", "shape"]


def test_a_frame_of_several_symbols_is_divided() -> None:
    session = open_session(BTC, replace(BTC, symbol="ETH/USD", id=8), channel="trades")
    row = trade_frame(1).split(b"[")[1][:-2]
    rows = [row, row.replace(b"BTC/USD", b"ETH/USD"), row.replace(b"BTC/USD", b"XYZ/USD"), row.replace(b'"symbol":"BTC/USD",', b"")]
    out = list(session.feed(trade_frame(1).replace(row, b",".join([*rows, row.replace(b"105944.20", b"-1")])), NOW))
    assert kinds(out) == ["Trade", "value", "Trade", "unknown", "unknown"]
    assert [trade.instrument_id for trade in (out[0], out[2])] == [7, 8]
    assert session.last_message_at == [NOW, NOW]


# --- the listing -----------------------------------------------------------------------------------------------------


def listing(body: bytes) -> list[Instrument]:
    flow = kraken.listing(OPTIONS)
    assert next(flow).url == "https://test/0/public/AssetPairs"
    with pytest.raises(StopIteration) as done:
        flow.send(Response(200, body))
    return done.value.value


def test_the_listing_in_unified_spelling_with_the_decimals_of_the_checksum() -> None:
    assert listing(nautilus("http_asset_pairs")) == [
        Instrument("kraken", "BTC/USDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", "0.1", "0.00000001")
    ]
    recorded = {instrument.symbol: instrument for instrument in kraken_v1.listed()}
    assert recorded["DOGE/USD"] == Instrument(
        "kraken", "DOGE/USD", "DOGE/USD", "DOGE", "USD", "spot", "trading", "0.0000001", "0.00000001"
    )
    assert not any(".d" in symbol or not symbol for symbol in recorded)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ("EGeneral:Too many requests", Retry),
        ("EService:Unavailable", Retry),
        ("EAPI:Rate limit exceeded", Retry),
        ("EQuery:Unknown asset pair", Reject),
        ("EGeneral:Invalid arguments", Reject),
    ],
)
def test_errors_in_a_200_body(error: str, raised: type[Exception]) -> None:
    with pytest.raises(raised, match=error):
        kraken_parse.trades_from_rest(json.dumps({"error": [error]}).encode(), BTC, NOW)


def test_a_body_of_another_shape_is_rejected() -> None:
    with pytest.raises(Reject, match="unexpected REST response"):
        kraken_parse.candles_from_rest(b"<html>", BTC, NOW)
    with pytest.raises(Reject, match="unexpected REST response: maximum recursion depth"):
        kraken_parse.candles_from_rest(b'{"error":[],"result":' + b"[" * 100_000, BTC, NOW)


def test_a_bad_row_of_rest_is_rejected_alone() -> None:
    body = nautilus("http_trades").replace(b"105433.60000", b"NaN", 1)
    trades = kraken_parse.trades_from_rest(body, BTC, NOW)
    assert (len(trades), [bad.reason for bad in trades.rejected]) == (999, ["value"])
