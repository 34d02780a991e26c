"""Kraken's recorded v1 traffic as v2 frames, which test the v2 module: a book's checksum has the same rule in both versions.

https://docs.kraken.com/exchange/guides/websockets/book-checksum-v1 and .../book-checksum-v2

Fields that v1 does not have are added: trades get consecutive ids; a snapshot gets the checksum of its own levels; a message's time
is the latest of its levels. A string of digits becomes a JSON number with the same digits, or with `trim`, without trailing zeros.
"""

from __future__ import annotations

import json
from binascii import crc32
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

from ingest.exchanges.kraken import exchange as kraken
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Response
from ingest.records import Instrument
from tests.support.recordings.files import Line, received, recording

OPTIONS = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind="trade")
_NEW_NAMES = {"XBT": "BTC", "XDG": "DOGE"}


def listed() -> list[Instrument]:
    """The instruments of the listing that was recorded with the frames."""
    flow = kraken.listing(OPTIONS)
    next(flow)
    answer = next(line for line in recording("KRAKEN.0") if line.kind == "answer")
    try:
        flow.send(Response(200, answer.frame))
    except StopIteration as done:
        instruments: list[Instrument] = done.value
        return instruments
    raise AssertionError("the listing requests more than one page")


def frames(name: str, *, trim: bool = False) -> list[Line]:
    """The received frames of one recording, as v2; messages that v2 does not have are left out."""
    ids: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))
    texts = ((line, json.loads(line.text)) for line in received(name))
    return [line._replace(text=_frame(message, ids, trim)) for line, message in texts if isinstance(message, list)]


def _frame(message: list, ids: dict[str, Iterator[int]], trim: bool) -> str:
    _, *parts, channel, pair = message
    symbol = "/".join(_NEW_NAMES.get(name, name) for name in pair.split("/"))
    if channel == "trade":
        return _wrap("trade", "update", [_trade(row, symbol, next(ids[symbol]), trim) for row in parts[0]])
    if channel == "ticker":
        return _wrap("ticker", "update", [_ticker(parts[0], symbol, trim)])
    body = {key: value for part in parts for key, value in part.items()}
    if "as" in body:
        return _wrap("book", "snapshot", [_book(symbol, body["bs"], body["as"], _checksum(body["as"], body["bs"]), trim)])
    return _wrap("book", "update", [_book(symbol, body.get("b", []), body.get("a", []), int(body["c"]), trim)])


def _wrap(channel: str, kind: str, rows: list[str]) -> str:
    return f'{{"channel":"{channel}","type":"{kind}","data":[{",".join(rows)}]}}'


def _trade(row: list[str], symbol: str, trade_id: int, trim: bool) -> str:
    price, size, time, side = row[:4]
    return (
        f'{{"symbol":"{symbol}","side":"{"buy" if side == "b" else "sell"}","price":{_number(price, trim)},'
        f'"qty":{_number(size, trim)},"ord_type":"limit","trade_id":{trade_id},"timestamp":"{_rfc3339(time)}"}}'
    )


def _ticker(body: dict[str, list[str]], symbol: str, trim: bool) -> str:
    (bid, _, bid_size), (ask, _, ask_size) = body["b"], body["a"]
    return (
        f'{{"symbol":"{symbol}","bid":{_number(bid, trim)},"bid_qty":{_number(bid_size, trim)},'
        f'"ask":{_number(ask, trim)},"ask_qty":{_number(ask_size, trim)}}}'
    )


def _book(symbol: str, bids: list[list[str]], asks: list[list[str]], checksum: int, trim: bool) -> str:
    time = _rfc3339(max(level[2] for level in bids + asks))
    return (
        f'{{"symbol":"{symbol}","bids":[{_levels(bids, trim)}],"asks":[{_levels(asks, trim)}],'
        f'"checksum":{checksum},"timestamp":"{time}"}}'
    )


def _levels(levels: list[list[str]], trim: bool) -> str:
    return ",".join(f'{{"price":{_number(price, trim)},"qty":{_number(size, trim)}}}' for price, size, *_ in levels)


def _number(digits: str, trim: bool) -> str:
    return digits.rstrip("0").rstrip(".") or "0" if trim and "." in digits else digits


def _checksum(asks: list[list[str]], bids: list[list[str]]) -> int:
    levels = asks[:10] + bids[:10]
    return crc32("".join(digits.replace(".", "").lstrip("0") for level in levels for digits in level[:2]).encode())


def _rfc3339(seconds: str) -> str:
    whole, _, fraction = seconds.partition(".")
    return f"{datetime.fromtimestamp(int(whole), UTC):%Y-%m-%dT%H:%M:%S}.{fraction}Z"
