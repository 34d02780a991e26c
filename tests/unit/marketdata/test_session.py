"""A session reads the whole recording of its exchange. Mutated frames are in tests/fuzz."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import pytest

from ingest import registry
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Output, Session, Subscription
from ingest.records import SECOND, Record
from tests.support.recordings.files import Line
from tests.support.recordings.frames import RECORDED, frames, instruments, snapshots
from tests.support.row_checks import refusal

KINDS_OF_OUTPUT = get_args(Output)
EXCHANGES = sorted(registry.exchanges())


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


def check(outputs: Any) -> list[Output]:
    out = list(outputs)
    for output in out:
        assert isinstance(output, KINDS_OF_OUTPUT), output
        if isinstance(output, Malformed):
            assert output.reason in ("json", "shape", "value", "unknown", "checksum")
    return out


@pytest.mark.parametrize("name", EXCHANGES)
def test_recorded_frames_raise_nothing(name: str) -> None:
    lines, subscriptions, responses = recorded(name)
    sessions = open_sessions(registry.exchanges()[name], subscriptions, lines[0].time)
    out = [output for session in sessions for output in play(session, lines, responses)]
    records = [output for output in out if isinstance(output, Record)]
    assert len(records) > 10
    assert {why for record in records if (why := refusal(record, record.received_at))} == set()


def play(session: Session, lines: list[Line], responses: dict[str, str]) -> list[Output]:
    out: list[Output] = []
    for number, line in enumerate(lines):
        outputs = check(session.feed(line.frame, line.time))
        for request in [output for output in outputs if isinstance(output, Request)]:
            body = responses.get(request.tag)
            if body is None or number % 7 == 0:
                outputs += check(session.failed(request, line.time))
            else:
                outputs += check(session.answer(request, Response(200, body.encode()), line.time))
        out += outputs
        if number % 100 == 0:
            out += check(session.tick(line.time))
    return out + check(session.tick(lines[-1].time + 3600 * SECOND))
