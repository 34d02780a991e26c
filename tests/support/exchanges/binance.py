"""Sessions of Binance for the tests, the recorded frames, and the documented frames with a test's own values."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from ingest.exchanges.binance import exchange as binance
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import ChannelName, Output, Session, Subscription
from ingest.records import SECOND, Instrument
from tests.support.recordings.files import Line, received, recording

SYMBOLS = ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")
IDS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}
REST = "https://api.binance.com"
NOW = 1_790_000_000 * SECOND


def an_instrument(symbol: str, number: int = 1) -> Instrument:
    return Instrument("binance", symbol, symbol, "", "", "spot", "trading", id=number)


def options(trade_kind: str = "aggTrade", depth: int = 500) -> ExchangeOptions:
    return ExchangeOptions(ws_url="wss://example", rest_url=REST, trade_kind=trade_kind, book_depth=depth, writer="here")


def a_session(*channels: ChannelName, symbols: Sequence[str] = SYMBOLS, given: ExchangeOptions | None = None) -> Session:
    given = given or options()
    subscriptions = tuple(
        Subscription(an_instrument(symbol, number), channel)
        for number, symbol in enumerate(symbols, start=1)
        for channel in channels
    )
    return binance.session(binance.connections(subscriptions, given)[0], given)


def frames() -> list[Line]:
    return received("BINANCE.ws.1.0")


def snapshots() -> dict[str, Line]:
    """The recorded REST answers, by the URL of the request."""
    return {line.url: line for line in recording("BINANCE.http.0.0")}


def play(session: Session, lines: Sequence[Line], answers: dict[str, Line]) -> list[Output]:
    """Feed the frames in order. The answer to a request is fed at its recorded time, or after the request where that is later."""
    out: list[Output] = []
    pending: list[Request] = []
    for line in lines:
        for request in [r for r in pending if r.url in answers and answers[r.url].time <= line.time]:
            pending.remove(request)
            answer = answers[request.url]
            out += session.answer(request, Response(200, answer.frame), answer.time)
        new = session.feed(line.frame, line.time)
        pending += [output for output in new if isinstance(output, Request)]
        out += new
    return out


def data(line: Line) -> tuple[str, dict[str, object]]:
    message = json.loads(line.text)
    return message["stream"], message["data"]


def rows(kind: type, outputs: Sequence[Output]) -> list[Output]:
    return [output for output in outputs if isinstance(output, kind)]


def url(symbol: str, limit: int = 1000) -> str:
    return f"{REST}/api/v3/depth?symbol={symbol}&limit={limit}"


def depth_event(first: int, last: int, time_ms: int, bids: list[list[str]], asks: list[list[str]]) -> bytes:
    """A `depthUpdate` in the documented shape, with the event time NOW + `time_ms`."""
    event = {"e": "depthUpdate", "E": NOW // 1000 + time_ms, "s": "NKNUSDT", "U": first, "u": last, "b": bids, "a": asks}
    return json.dumps({"stream": "nknusdt@depth@100ms", "data": event}, separators=(",", ":")).encode()


def trade_frame(trade_id: int, price: object = "0.001", size: object = "100", time: object = 1672515782136) -> bytes:
    """The example of the documentation, "Trade Streams", with these fields edited."""
    event = {"e": "trade", "E": 1672515782136, "s": "BNBBTC", "t": trade_id, "p": price, "q": size, "T": time, "m": True, "M": True}
    return json.dumps({"stream": "bnbbtc@trade", "data": event}, separators=(",", ":")).encode()


def bnb_trades() -> Session:
    return a_session("trades", symbols=["BNBBTC"], given=options("trade"))


def kline_frame(time: int, count: int = 100) -> bytes:
    """The example of the documentation, "Kline/Candlestick Streams", of a closed candle. `time` is milliseconds."""
    bar = {"t": time, "T": time + 59_999, "s": "BNBBTC", "i": "1m", "f": 100 if count else -1, "L": 200 if count else -1}
    bar |= {"o": "0.0010", "c": "0.0020", "h": "0.0025", "l": "0.0015", "v": "1000", "n": count, "x": True}
    bar |= {"q": "1.0000", "V": "500", "Q": "0.500", "B": "123456"}
    event = {"e": "kline", "E": time + 60_000, "s": "BNBBTC", "k": bar}
    return json.dumps({"stream": "bnbbtc@kline_1m", "data": event}, separators=(",", ":")).encode()


def listed(body: bytes) -> list[Instrument]:
    flow = binance.listing(options())
    assert next(flow) == Request(f"{REST}/api/v3/exchangeInfo", weight=20)
    with pytest.raises(StopIteration) as end:
        flow.send(Response(200, body))
    return end.value.value
