"""A session raises nothing, whatever an exchange sends: recorded frames and responses, unchanged and mutated.

The mutations of a seed are the same in each run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, get_args

import pytest

from ingest import registry
from ingest.marketdata.values import EARLIEST, LATEST
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Output, Session, Subscription
from ingest.records import SECOND, Record
from tests.support.recordings.files import Line
from tests.support.recordings.frames import RECORDED, frames, instruments, snapshots

FRAMES = 1500  # of an exchange, for each seed
KINDS_OF_OUTPUT = get_args(Output)
EXCHANGES = sorted(registry.exchanges())
NUMBER = re.compile(r"[0-9]*\.?[0-9]*")
DIGITS = {"price", "size", "open", "high", "low", "close", "volume", "quote_volume"}
DIGITS |= {"bid_price", "bid_size", "ask_price", "ask_size", "bid_prices", "bid_sizes", "ask_prices", "ask_sizes"}
VALUE = re.compile(rb'"[^"]*"|-?\d+(?:\.\d+)?|true|false|null')
ODD = [
    *(b"null", b"true", b"-1", b"0", b"1e400", b"1e-400", b"1.5", b'"NaN"', b'"-1"', b'""', b'"0"', b'"1e5"', b'"Infinity"'),
    *(b"[]", b"{}", b"[[]]", b'["1"]', b'"\xff"', b'"\\ud800"', b"9" * 5000, b'"' + b"9" * 5000 + b'"', b"[" * 5000, b'"\xd9\xa3"'),
    *(b"253402300799000", b"-62135596800000", b"9223372036854775808", b'"9999-12-31T23:59:59.999999Z"', b'"0001-01-01T00:00:00Z"'),
]
Change = Callable[[bytes, random.Random], bytes]


@cache
def recorded(name: str) -> tuple[list[Line], list[Subscription], dict[str, str]]:
    exchange = registry.exchanges()[name]
    markets = instruments(name, exchange)
    subscriptions = [Subscription(market, channel) for channel in exchange.CHANNELS for market in markets]
    return frames(name), subscriptions, snapshots(name)


def open_sessions(exchange: Exchange, subscriptions: list[Subscription], now: int) -> Iterator[Session]:
    """The sessions of the exchange's connections; each gets every recorded frame."""
    kind = RECORDED[exchange.NAME].trade_kind or exchange.TRADE_KINDS[0]
    options = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind=kind, writer="one")
    for connection in exchange.connections(subscriptions, options):
        session = exchange.session(connection, options)
        list(session.start(now))
        session.feed(b'{"id":"1","type":"welcome"}', now)  # KuCoin's welcome; malformed for the others
        yield session


def replace_value(frame: bytes, rng: random.Random) -> bytes:
    """Replace a random JSON value by an unusual one."""
    values = list(VALUE.finditer(frame))
    if not values:
        return frame
    chosen = rng.choice(values)
    return frame[: chosen.start()] + rng.choice(ODD) + frame[chosen.end() :]


def replace_byte(frame: bytes, rng: random.Random) -> bytes:
    position = rng.randrange(len(frame))
    return frame[:position] + bytes([rng.randrange(256)]) + frame[position + 1 :]


def cut_off(frame: bytes, rng: random.Random) -> bytes:
    return frame[: rng.randrange(len(frame))]


def remove_part(frame: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(frame))
    return frame[:start] + frame[start + rng.randrange(1, 60) :]


def insert_brackets(frame: bytes, rng: random.Random) -> bytes:
    position = rng.randrange(len(frame))
    return frame[:position] + b"[" * rng.choice([1, 3, 10_000]) + frame[position:]


CHANGES: list[Change] = [replace_value] * 5 + [replace_byte, cut_off, remove_part, insert_brackets]


def check(outputs: Any) -> list[Output]:
    out = list(outputs)
    for output in out:
        assert isinstance(output, KINDS_OF_OUTPUT), output
        if isinstance(output, Malformed):
            assert output.reason in ("json", "shape", "value", "unknown", "checksum")
    return out


def check_values(record: Any) -> None:
    """Check that a table accepts the digits and times of the record."""
    assert EARLIEST <= record.time < LATEST + 60 * SECOND  # a state has the time of the tick after it
    for field in record.__struct_fields__:
        value = getattr(record, field)
        for digits in value if isinstance(value, tuple) else (value,):
            if field in DIGITS and digits is not None:
                assert NUMBER.fullmatch(digits), (field, digits)


def play(name: str, change: Callable[[bytes], bytes]) -> list[Output]:
    """All outputs of the sessions for the recording, with `change` applied to each frame and response."""
    lines, subscriptions, responses = recorded(name)
    lines = lines[:FRAMES]
    sessions = open_sessions(registry.exchanges()[name], subscriptions, lines[0].time)
    out = [output for session in sessions for output in play_one(session, lines, responses, change)]
    for record in [output for output in out if isinstance(output, Record)]:
        check_values(record)
    return out


def play_one(session: Session, lines: list[Line], responses: dict[str, str], change: Callable[[bytes], bytes]) -> list[Output]:
    out: list[Output] = []
    for number, line in enumerate(lines):
        outputs = check(session.feed(change(line.frame), line.time))
        for request in [output for output in outputs if isinstance(output, Request)]:
            body = responses.get(request.tag)
            if body is None or number % 7 == 0:
                outputs += check(session.failed(request, line.time))
            else:
                outputs += check(session.answer(request, Response(200, change(body.encode())), line.time))
        out += outputs
        if number % 100 == 0:
            out += check(session.tick(line.time))
    return out + check(session.tick(lines[-1].time + 3600 * SECOND))


@pytest.mark.parametrize("name", EXCHANGES)
def test_recorded_frames_raise_nothing(name: str) -> None:
    out = play(name, lambda frame: frame)
    assert len([output for output in out if isinstance(output, Record)]) > 10


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", EXCHANGES)
def test_mutated_frames_raise_nothing(name: str, seed: int) -> None:
    rng = random.Random(f"{name} {seed}")

    def change(frame: bytes) -> bytes:
        return rng.choice(CHANGES)(frame, rng) if rng.random() < 0.5 else frame

    assert [output for output in play(name, change) if isinstance(output, Malformed)] != []
