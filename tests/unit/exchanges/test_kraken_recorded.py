"""Kraken's recorded v1 traffic, translated to v2, value by value."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from msgspec.structs import replace

from ingest.protocol.session import Gap, Send
from ingest.records import SECOND, BookSnapshot, Instrument, Quote, Trade
from tests.support.exchanges.kraken import BTC, NOW, OPTIONS, open_session
from tests.support.recordings import kraken_v1
from tests.support.recordings.files import Line, recording


def with_numbers_as_text(frame: bytes) -> dict:
    return json.loads(frame, parse_float=str, parse_int=str)


def recorded_instruments(frames: list[Line]) -> dict[str, Instrument]:
    """The instruments of the frames by symbol, with ids from 1."""
    listed = {instrument.symbol: instrument for instrument in kraken_v1.listed()}
    symbols = {json.loads(line.text)["data"][0]["symbol"] for line in frames}
    return {symbol: replace(listed[symbol], id=number) for number, symbol in enumerate(sorted(symbols), 1)}


def with_frame_decimals(instruments: dict[str, Instrument], frames: list[Line]) -> dict[str, Instrument]:
    out = dict(instruments)
    for line in frames:
        message = with_numbers_as_text(line.frame)
        if message["type"] == "snapshot":
            row = message["data"][0]
            places = [len(row["asks"][0][name].partition(".")[2]) for name in ("price", "qty")]
            steps = [f"{Decimal(1).scaleb(-n):f}" for n in places]
            out[row["symbol"]] = replace(out[row["symbol"]], price_step=steps[0], size_step=steps[1])
    return out


DEEP = replace(OPTIONS, book_depth=1000)


def expected_books(frames: list[Line], instruments: dict[str, Instrument]) -> list[BookSnapshot]:
    """The expected rows, from plain dictionaries: the last state before each tick of a second."""
    sides: dict[str, dict[str, dict[Decimal, tuple[str, str]]]] = defaultdict(lambda: {"bids": {}, "asks": {}})
    states: dict[str, list[BookSnapshot]] = defaultdict(list)
    for line in frames:
        row = with_numbers_as_text(line.frame)["data"][0]
        symbol, book = row["symbol"], sides[row["symbol"]]
        for name, descending in (("bids", True), ("asks", False)):
            for level in row[name]:
                book[name][Decimal(level["price"])] = (level["price"], level["qty"])
            remaining = {price: level for price, level in book[name].items() if Decimal(level[1])}
            book[name] = {price: remaining[price] for price in sorted(remaining, reverse=descending)[:1000]}
        bids, asks = ([*zip(*book[name].values(), strict=True)] for name in ("bids", "asks"))
        time = micros(row["timestamp"])
        tick = (time // SECOND + 1) * SECOND
        states[symbol].append(BookSnapshot(instruments[symbol].id, tick, "", *bids, *asks, None, line.time))
        assert len(states[symbol]) < 2 or states[symbol][-2].time <= tick
    return [
        state
        for of_symbol in states.values()
        for state, after in [*pairwise(of_symbol), (of_symbol[-1], None)]
        if after is None or after.time > state.time
    ]


def row_key(row: BookSnapshot) -> tuple[int, int]:
    return (row.instrument_id, row.time)


def micros(rfc3339: str) -> int:
    whole, fraction = rfc3339.rstrip("Z").split(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * SECOND + int(fraction)


@pytest.mark.parametrize("trim", [False, True], ids=["digits as recorded", "without trailing zeros"])
def test_every_recorded_book_message_matches_its_checksum(trim: bool) -> None:
    frames = kraken_v1.frames("KRAKEN.ws.50.0", trim=trim)
    instruments = recorded_instruments(frames)
    if trim:
        instruments = with_frame_decimals(instruments, kraken_v1.frames("KRAKEN.ws.50.0"))
    session = open_session(*instruments.values(), channel="book", options=DEEP)
    out = [output for line in frames for output in session.feed(line.frame, line.time)]
    ping, *last = session.tick(frames[-1].time + 3600 * SECOND)
    assert ping == Send('{"method":"ping"}', keepalive=True)
    assert sum('"update"' in line.text for line in frames) == 4269
    assert sorted(out + last, key=row_key) == sorted(expected_books(frames, instruments), key=row_key)


def changed(frames: list[Line], symbol: str) -> list[int]:
    """The indexes of the symbol's messages whose checksum differs from the one before: a level near the top changed."""
    rows = [(index, json.loads(line.text)["data"][0]) for index, line in enumerate(frames)]
    own = [(index, row["checksum"]) for index, row in rows if row["symbol"] == symbol]
    return [index for (_, before), (index, after) in pairwise(own) if before != after]


@pytest.mark.parametrize("fault", ["dropped", "swapped"])
def test_a_lost_message_breaks_the_book_until_the_next_snapshot(fault: str) -> None:
    symbol = "ETH/CHF"
    frames = [f for f in kraken_v1.frames("KRAKEN.ws.50.0") if json.loads(f.text)["data"][0]["symbol"] == symbol]
    instrument = recorded_instruments(frames)[symbol]
    position = changed(frames, symbol)[10]
    last_good = micros(json.loads(frames[position - 1].text)["data"][0]["timestamp"])
    faulty = frames[position + 1 :] if fault == "dropped" else [frames[position + 1], frames[position], *frames[position + 2 :]]
    session = open_session(instrument, channel="book", options=DEEP)
    before = [output for line in frames[:position] for output in session.feed(line.frame, line.time)]
    assert before
    assert all(isinstance(output, BookSnapshot) for output in before)

    after = [output for line in faulty for output in session.feed(line.frame, line.time)]
    gap, *sends = after
    assert gap == Gap(instrument.id, "book", "checksum", last_good)
    params = {"channel": "book", "symbol": [symbol], "depth": 1000}
    assert sends[:2] == [
        Send(json.dumps({"method": "unsubscribe", "params": params, "req_id": 0}, separators=(",", ":"))),
        Send(json.dumps({"method": "subscribe", "params": params, "req_id": 2}, separators=(",", ":"))),
    ]
    assert sends[2:] == []

    row = json.loads(frames[0].text)["data"][0]
    later = frames[0].text.replace(row["timestamp"], "2021-04-17T17:00:00.500000Z")  # the first snapshot with a later time
    at = micros("2021-04-17T17:00:00.500000Z")
    assert session.feed(later.encode(), at) == [Gap(instrument.id, "book", "checksum", last_good, at)]
    (book,) = session.tick(at + 5 * SECOND)
    first = expected_books(frames[:1], {symbol: instrument})[0]
    assert book == replace(first, time=at + SECOND // 2, received_at=at)


def test_recorded_trades_are_yielded_value_by_value() -> None:
    frames = kraken_v1.frames("KRAKEN.ws.48.0")
    instruments = recorded_instruments(frames)
    session = open_session(*instruments.values(), channel="trades")
    expected, ids = [], defaultdict(int)
    for line in recording("KRAKEN.ws.48.0"):
        message = json.loads(line.text) if line.kind == "received" else {}
        if isinstance(message, list):
            for price, size, time, side, *_ in message[1]:
                symbol = message[3].replace("XBT", "BTC")
                ids[symbol] += 1
                at = int(Decimal(time) * SECOND)
                taker = {"b": "buy", "s": "sell"}[side]
                expected.append(Trade(instruments[symbol].id, at, ids[symbol], price, size, taker, line.time))
    assert len(expected) >= 8
    assert [output for line in frames for output in session.feed(line.frame, line.time)] == expected


def test_a_ticker_without_a_time_has_the_name_of_its_writer() -> None:
    (first, *_) = kraken_v1.frames("KRAKEN.ws.49.0")
    row = with_numbers_as_text(first.frame)["data"][0]
    instrument = replace(BTC, symbol=row["symbol"])
    session = open_session(instrument, channel="quotes", options=replace(OPTIONS, writer="north"))
    assert list(session.feed(first.frame, NOW + 250_000)) == []
    assert session.tick(NOW + 2 * SECOND) == []
    assert session.tick(NOW + 3 * SECOND) == [
        Quote(7, NOW + SECOND, "north", row["bid"], row["bid_qty"], row["ask"], row["ask_qty"], None, NOW + 250_000)
    ]
