"""Binance: recorded traffic through a session, compared with the raw frames.

Payloads that no recording has are examples of the official documentation, named beside each:
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

import json

import pytest

from ingest.errors import Reject
from ingest.exchanges.binance import exchange as binance
from ingest.protocol.decode import MAX_PAYLOAD, Malformed
from ingest.protocol.http import Response
from ingest.protocol.session import ChannelName, Connection, Gap, Reconnect, Refused, Send, Subscription
from ingest.records import MINUTE, SECOND, Candle, Instrument, Quote, Trade
from tests.support.exchanges.binance import (
    IDS,
    NOW,
    a_session,
    an_instrument,
    bnb_trades,
    data,
    depth_event,
    frames,
    kline_frame,
    listed,
    options,
    play,
    trade_frame,
)
from tests.support.recordings.files import read, recording


def test_recorded_trades_equal_the_frames() -> None:
    expected = [
        Trade(
            instrument_id=IDS[event["s"]],
            time=event["T"] * 1000,
            trade_id=event["a"],
            price=event["p"],
            size=event["q"],
            side="sell" if event["m"] else "buy",
            received_at=line.time,
        )
        for line in frames()
        for stream, event in [data(line)]
        if stream.endswith("@aggTrade")
    ]
    assert expected
    assert play(a_session("trades"), [line for line in frames() if "@aggTrade" in line.text], {}) == expected


def test_recorded_candles_are_yielded_only_when_closed() -> None:
    lines = [line for line in frames() if "@kline_1m" in line.text]
    assert lines
    session = a_session("candles")
    assert play(session, lines, {}) == []  # the recording ends before a minute does
    for line in lines:
        _, event = data(line)
        bar = event["k"]
        closed = line.text.replace('"x":false', '"x":true').encode()
        assert session.feed(closed, line.time) == (
            Candle(
                instrument_id=IDS[event["s"]],
                interval="1m",
                time=bar["t"] * 1000,
                open=bar["o"],
                high=bar["h"],
                low=bar["l"],
                close=bar["c"],
                volume=bar["v"],
                quote_volume=bar["q"],
                trades_count=bar["n"],
                taker_buy_volume=bar["V"],
                taker_buy_quote_volume=bar["Q"],
                first_trade_id=bar["f"],
                last_trade_id=bar["L"],
                parts=1,
                origin="ws",
                received_at=line.time,
            ),
        )


def test_recorded_quotes_are_the_last_before_each_tick() -> None:
    lines = [line for line in frames() if "@bookTicker" in line.text]
    latest: dict[tuple[str, int], Quote] = {}
    for line in lines:
        _, event = data(line)
        tick = (line.time // SECOND + 1) * SECOND
        latest[event["s"], tick] = Quote(
            IDS[event["s"]], tick, "here", event["b"], event["B"], event["a"], event["A"], event["u"], line.time
        )
    session = a_session("quotes")
    out = [*play(session, lines, {}), *session.tick(lines[-1].time + 10 * SECOND)]
    assert latest
    assert sorted(out, key=lambda q: (q.instrument_id, q.time)) == sorted(latest.values(), key=lambda q: (q.instrument_id, q.time))


def test_an_empty_side_of_a_quote_is_none() -> None:
    session = a_session("quotes", symbols=["BNBUSDT"])
    # documentation, "Individual Symbol Book Ticker Streams", with an empty bid
    session.feed(
        b'{"stream":"bnbusdt@bookTicker","data":{"u":4,"s":"BNBUSDT","b":"0.00000000","B":"0.00000000","a":"25.36520000","A":"40.66"}}',
        NOW + 1,
    )
    assert session.tick(NOW + 10 * SECOND) == [Quote(1, NOW + SECOND, "here", None, None, "25.36520000", "40.66", 4, NOW + 1)]


@pytest.mark.parametrize(("name", "kind"), [("ws_spot_trade", "trade"), ("ws_spot_agg_trade", "aggTrade")])
def test_frames_with_other_whitespace_are_read(name: str, kind: str) -> None:
    frame = read(f"nautilus/binance/{name}.json")
    event = json.loads(frame)["data"]
    session = a_session("trades", symbols=["ETHUSDT"], given=options(kind))
    side = "sell" if event["m"] else "buy"
    trade = Trade(1, event["T"] * 1000, event["t" if kind == "trade" else "a"], event["p"], event["q"], side, NOW)
    assert session.feed(frame, NOW) == (trade,)
    assert session.last_message_at == [NOW]


def test_a_jump_of_ids_is_a_gap_and_an_old_id_is_not() -> None:
    session = bnb_trades()
    time = 1672515782136000
    assert session.last_message_at == [0]

    def trade(trade_id: int, later: int = 0) -> Trade:
        return Trade(1, time + later, trade_id, "0.001", "100", "sell", NOW)

    assert session.feed(trade_frame(10), NOW) == (trade(10),)
    assert session.feed(trade_frame(11), NOW) == (trade(11),)
    jump = session.feed(trade_frame(15, time=1672515782137), NOW)
    assert jump == (Gap(1, "trades", "sequence", time, time + 1000, 12, 14), trade(15, 1000))
    assert session.feed(trade_frame(13), NOW) == (trade(13),)
    assert session.feed(trade_frame(15), NOW) == (trade(15),)
    assert session.feed(trade_frame(16), NOW) == (trade(16),)
    assert session.last_message_at == [NOW]


def test_a_missing_minute_is_a_gap_and_an_empty_one_has_no_ids() -> None:
    session = a_session("candles", symbols=["BNBBTC"])
    start = 1672515780000
    (first,) = session.feed(kline_frame(start), NOW)
    assert (first.first_trade_id, first.last_trade_id) == (100, 200)
    (second,) = session.feed(kline_frame(start + 60_000, count=0), NOW)
    assert (second.first_trade_id, second.last_trade_id, second.trades_count) == (None, None, 0)
    gap, fourth = session.feed(kline_frame(start + 180_000), NOW)
    assert gap == Gap(1, "candles", "sequence", start * 1000 + 2 * MINUTE, start * 1000 + 3 * MINUTE)
    assert fourth.time == start * 1000 + 3 * MINUTE
    (again,) = session.feed(kline_frame(start), NOW)  # sent again: the key of the row makes it a duplicate
    assert again.time == first.time


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "json"),
        (b"{", "json"),
        (b"\xff\xfe", "json"),
        (b'{"stream":"\xff"}', "json"),
        (b"null", "shape"),
        (b"[]", "shape"),
        (b'{"stream":5}', "shape"),
        (b"{}", "unknown"),
        (b'{"x":' + b"[" * 200_000, "json"),
        (b'{"stream":"bnbbtc@trade"}', "shape"),
        (b'{"stream":"bnbbtc@trade","data":{}}', "shape"),
        (b'{"stream":"bnbbtc@trade","data":{"t":', "json"),
        (trade_frame(1, price=5), "shape"),
        (trade_frame(1, time="1"), "shape"),
        (trade_frame(1, price="NaN"), "value"),
        (trade_frame(1, price=""), "value"),
        (trade_frame(1, size="abc"), "value"),
        (trade_frame(1, size="-1"), "value"),
        (trade_frame(1, size="1e500"), "value"),
        (trade_frame(1, time=1), "value"),
        (trade_frame(1, size="٣"), "value"),
        (b'{"stream":"ethusdt@trade","data":{}}', "unknown"),
    ],
)
def test_a_bad_frame_is_malformed_and_the_next_frame_is_read(frame: bytes, reason: str) -> None:
    session = bnb_trades()
    (bad,) = session.feed(frame, NOW)
    assert isinstance(bad, Malformed)
    assert (bad.payload, bad.reason) == (frame[:MAX_PAYLOAD], reason)
    assert bad.message
    assert session.feed(trade_frame(1), NOW) == (Trade(1, 1672515782136000, 1, "0.001", "100", "sell", NOW),)


@pytest.mark.parametrize("channel", ["candles", "quotes", "book"])
def test_a_value_that_is_no_number_is_malformed_on_every_channel(channel: ChannelName) -> None:
    session = a_session(channel, symbols=["NKNUSDT"])
    bodies = {
        "candles": kline_frame(1672515780000).replace(b"bnbbtc@", b"nknusdt@").replace(b'"0.0010"', b'"NaN"'),
        "quotes": b'{"stream":"nknusdt@bookTicker","data":{"u":4,"b":"1","B":"x","a":"2","A":"3"}}',
        "book": depth_event(1, 1, 1, [["1", "Infinity"]], []),
    }
    (bad,) = session.feed(bodies[channel], NOW)
    assert isinstance(bad, Malformed)
    assert bad.reason == "value"


def test_an_acknowledgement_yields_nothing() -> None:
    assert bnb_trades().feed(b'{"result":null,"id":1}', NOW) == ()


@pytest.mark.parametrize(
    "frame",
    [
        b'{"code": 2, "msg": "Invalid request: too many parameters", "id": 1}',  # documentation, "Error Messages"
        b'{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":1}',  # as the server sends it
    ],
)
def test_an_error_is_a_refusal(frame: bytes) -> None:
    assert bnb_trades().feed(frame, NOW) == (
        Refused("binance: request 1 refused with code 2: Invalid request: too many parameters"),
    )


@pytest.mark.parametrize(
    "frame",
    [
        b'{"e":"serverShutdown","E":1770123456789}',
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
    ],
)
def test_a_shutdown_is_a_planned_reconnection(frame: bytes) -> None:
    assert bnb_trades().feed(frame, NOW) == (Reconnect("serverShutdown", planned=True),)


def test_subscriptions_go_out_in_messages_of_200() -> None:
    subscriptions = tuple(Subscription(an_instrument(f"S{n}USDT", n), "trades") for n in range(450))
    session = binance.session(Connection("wss://example/stream", subscriptions), options("trade"))
    sent = list(session.start(0))
    names = [f"s{n}usdt@trade" for n in range(450)]
    assert all(isinstance(message, Send) for message in sent)
    assert [json.loads(message.text) for message in sent] == [
        {"method": "SUBSCRIBE", "params": names[:200], "id": 1},
        {"method": "SUBSCRIBE", "params": names[200:400], "id": 2},
        {"method": "SUBSCRIBE", "params": names[400:], "id": 3},
    ]


def test_every_channel_has_its_stream() -> None:
    instrument = an_instrument("BTCUSDT")
    subscriptions = [Subscription(instrument, channel) for channel in binance.CHANNELS]

    def streams(trade_kind: str) -> list[str]:
        (connection,) = binance.connections(subscriptions, options(trade_kind))
        (sent,) = binance.session(connection, options(trade_kind)).start(NOW)
        return json.loads(sent.text)["params"]

    assert streams("trade") == ["btcusdt@trade", "btcusdt@kline_1m", "btcusdt@depth@100ms", "btcusdt@bookTicker"]
    assert streams("aggTrade")[0] == "btcusdt@aggTrade"


def test_a_connection_holds_1024_streams() -> None:
    subscriptions = [Subscription(an_instrument(f"S{n}USDT", n), "trades") for n in range(1030)]
    assert binance.connections(subscriptions, options()) == [
        Connection("wss://example/stream", tuple(subscriptions[:1024])),
        Connection("wss://example/stream", tuple(subscriptions[1024:])),
    ]


def test_the_recorded_listing() -> None:
    body = next(line.text for line in recording("BINANCE.0") if line.kind == "answer")
    symbols = json.loads(body)["symbols"]
    expected = []
    for symbol in symbols:
        filters = {entry["filterType"]: entry for entry in symbol["filters"]}
        expected.append(
            Instrument(
                exchange="binance",
                symbol=symbol["symbol"],
                instrument=f"{symbol['baseAsset']}/{symbol['quoteAsset']}",
                base=symbol["baseAsset"],
                quote=symbol["quoteAsset"],
                kind="spot",
                status={"TRADING": "trading", "BREAK": "halted"}[symbol["status"]],
                price_step=filters["PRICE_FILTER"]["tickSize"],
                size_step=filters["LOT_SIZE"]["stepSize"],
            )
        )
    assert listed(body.encode()) == expected
    assert {"trading", "halted"} == {instrument.status for instrument in expected}


def test_a_response_that_is_no_listing_is_rejected() -> None:
    flow = binance.listing(options())
    next(flow)
    with pytest.raises(Reject, match="unexpected REST response"):
        flow.send(Response(200, b"<html>"))
