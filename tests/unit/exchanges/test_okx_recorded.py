"""OKX's recorded traffic, value by value. The recording is of 2022: trades are merged, books have a checksum and no sequence."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

from msgspec.structs import replace

from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Gap, Output, Send
from ingest.records import SECOND, BookSnapshot, Instrument, Quote, Trade
from tests.support.exchanges.okx import BTC, MERGED, OPTIONS, open_session
from tests.support.recordings.files import Line, received

RECORDED = ("BTC-USDT", "BTC-USD-220527", "UNI-USD-SWAP")
INSTRUMENTS = {symbol: replace(BTC, symbol=symbol, id=number) for number, symbol in enumerate(RECORDED, 1)}


def recorded(channel: str) -> list[Line]:
    return [line for line in received("OKX.ws.1.0") if f'"channel":"{channel}"' in line.text and '"event"' not in line.text]


def rows(lines: list[Line]) -> list[tuple[Line, dict, Instrument, dict]]:
    messages = [(line, json.loads(line.text)) for line in lines]
    return [(line, message, INSTRUMENTS[message["arg"]["instId"]], row) for line, message in messages for row in message["data"]]


def micros(row: dict) -> int:
    return int(row["ts"]) * 1000


def replay(lines: list[Line], channel: str, options: ExchangeOptions) -> list[Output]:
    """All outputs of the lines and of a tick an hour later, without its ping."""
    session = open_session(*INSTRUMENTS.values(), channel=channel, options=options)
    out = [output for line in lines for output in session.feed(line.frame, line.time)]
    ping, *last = session.tick(lines[-1].time + 3600 * SECOND)
    assert ping == Send("ping", keepalive=True)
    return out + last


def row_key(row: BookSnapshot | Quote) -> tuple[int, int]:
    return (row.instrument_id, row.time)


def at_ticks(states: list) -> list:
    """The last state before each tick; `time` of a state is the next tick."""
    by_instrument = defaultdict(list)
    for state in states:
        by_instrument[state.instrument_id].append(state)
    return sorted(
        (
            state
            for own in by_instrument.values()
            for state, after in [*pairwise(own), (own[-1], None)]
            if after is None or after.time > state.time
        ),
        key=row_key,
    )


def tick_after(row: dict) -> int:
    return (micros(row) // SECOND + 1) * SECOND


def test_recorded_trades_are_yielded_value_by_value() -> None:
    lines = recorded("trades")
    expected = [
        Trade(instrument.id, micros(row), int(row["tradeId"]), row["px"], row["sz"], row["side"], line.time)
        for line, _, instrument, row in rows(lines)
    ]
    assert len(expected) == 74
    assert replay(lines, "trades", MERGED) == expected


def test_recorded_tickers_are_yielded_value_by_value() -> None:
    lines = recorded("tickers")
    states = [
        Quote(instrument.id, tick_after(row), "", row["bidPx"], row["bidSz"], row["askPx"], row["askSz"], None, line.time)
        for line, _, instrument, row in rows(lines)
    ]
    assert len(states) == 28
    assert sorted(replay(lines, "quotes", OPTIONS), key=row_key) == at_ticks(states)


def expected_books(lines: list[Line]) -> list[BookSnapshot]:
    """The expected rows, from plain dictionaries, at the ticks of a second."""
    sides: dict[int, dict[str, dict[Decimal, tuple[str, str]]]] = {}
    states = []
    for line, message, instrument, row in rows(lines):
        if message["action"] == "snapshot":
            sides[instrument.id] = {"bids": {}, "asks": {}}
        book = sides[instrument.id]
        for name in ("bids", "asks"):
            for price, size, *_ in row[name]:
                book[name][Decimal(price)] = (price, size)
        ordered = {
            name: [book[name][price] for price in sorted(book[name], reverse=name == "bids") if Decimal(book[name][price][1])]
            for name in ("bids", "asks")
        }
        bids, asks = ([*zip(*ordered[name], strict=True)] for name in ("bids", "asks"))
        states.append(BookSnapshot(instrument.id, tick_after(row), "", *bids, *asks, None, line.time))
    return at_ticks(states)


def test_every_recorded_book_message_matches_its_checksum() -> None:
    lines = recorded("books")
    assert len(lines) == 290
    assert all(row["checksum"] and "seqId" not in row for *_, row in rows(lines))
    books = replay(lines, "book", replace(OPTIONS, book_depth=500))
    assert sorted(books, key=row_key) == expected_books(lines)


def test_a_lost_message_breaks_the_checksum_until_the_next_snapshot() -> None:
    lines = [line for line in recorded("books") if '"BTC-USDT"' in line.text]
    messages = [json.loads(line.text)["data"][0] for line in lines]
    session = open_session(BTC, channel="book")
    before = [output for line in lines[:20] for output in session.feed(line.frame, line.time)]
    assert {type(output) for output in before} == {BookSnapshot}
    gap, *sends = [output for line in lines[21:] for output in session.feed(line.frame, line.time)]
    assert gap == Gap(3, "book", "checksum", micros(messages[19]))
    assert [json.loads(send.text) for send in sends] == [
        {"id": number, "op": operation, "args": [{"channel": "books", "instId": "BTC-USDT"}]}
        for number, operation in (("0", "unsubscribe"), ("2", "subscribe"))
    ]
