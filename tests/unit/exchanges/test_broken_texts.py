"""Half an emoji, or bytes that are no UTF-8, cost no neighbour: the message is read with U+FFFD in their place."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from ingest.protocol.decode import MAX_PAYLOAD, Malformed
from ingest.protocol.session import Output
from ingest.records import Record, Trade
from tests.support.exchanges.documented import EXCHANGES, NOW, listed, listing, open_session, trade

BROKEN = {"half": rb'"\ud83d and more"', "half again": rb'"\uDE00\\\uD83D"', "bytes": b'"\xff\xc3"'}
LISTS = ["deribit", "kraken", "okx"]  # their messages are lists of rows
MEGABYTE = 1 << 20


def trades(outputs: Sequence[Output]) -> list[str]:
    return [output.price for output in outputs if isinstance(output, Trade)]


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", EXCHANGES)
def test_a_broken_text_beside_the_fields_in_use_costs_nothing(name: str, text: bytes) -> None:
    session = open_session(name, "trades")
    place = trade(name).rindex(b"{") + 1
    frame = trade(name)[:place] + b'"note":' + text + b"," + trade(name)[place:]
    assert trades(session.feed(frame, NOW)) == ["62345.1"]


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", LISTS)
def test_a_broken_text_costs_its_row(name: str, text: bytes) -> None:
    session = open_session(name, "trades")
    good, odd = trade(name), trade(name).replace(b'"buy"', text)
    start, end = good.rindex(b'{"' if name != "deribit" else b'{"trade_seq'), good.rindex(b"]")
    out = session.feed(good[:start] + odd[start : odd.rindex(b"]")] + b"," + good[start:end] + good[end:], NOW)
    assert trades(out) == ["62345.1"]
    (bad,) = [output for output in out if isinstance(output, Malformed)]
    assert (bad.reason, bad.payload[:1], bad.payload.count(b"{")) == ("shape", b"{", 1)


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_market_with_half_an_emoji_costs_no_other(name: str) -> None:
    markets = listing(name, listed(name, r"ODD\ud83d"), listed(name))
    assert markets[-1].symbol.removesuffix("/USD") == "GOOD"


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("unit", [b"\xff", rb"\ud800", rb"\\", rb"\u", rb"\\\ud800", b"[", b'"', b'{"a":', "é".encode()])
def test_a_megabyte_of_garbage_costs_little_time(name: str, unit: bytes) -> None:
    session = open_session(name, "trades")
    whole = unit * (MEGABYTE // len(unit))
    text = trade(name).replace(b'"buy"', b'"' + whole + b'"')
    for frame in (whole, b'"' + whole + b'"', text):
        began = time.process_time()
        out = session.feed(frame, NOW)
        assert time.process_time() - began < 0.5
        bad = [output for output in out if isinstance(output, Malformed)]
        assert [output for output in out if isinstance(output, Record)] == [] or name == "binance"
        assert sum(len(each.payload) for each in bad) <= MAX_PAYLOAD
