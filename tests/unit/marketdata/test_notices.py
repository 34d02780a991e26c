"""What an exchange says about itself: an announced end is a planned reconnection, an unknown frame is kept once."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ingest import registry
from ingest.marketdata.notices import COUNTED_EVERY, MAX_KINDS, PAUSE
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Connection, Output, Reconnect, Session, Subscription
from ingest.records import SECOND, Trade
from tests.support.exchanges.documented import EXCHANGES, NOW, open_session, options, trade
from tests.support.exchanges.gate import BTC

ENDS = [
    ("binance", b'{"e":"serverShutdown","E":1}'),
    ("binance", b'{"e":"maintenance","E":1}'),
    ("coinbase", b'{"type":"maintenance","message":"going down"}'),
    ("deribit", b'{"jsonrpc":"2.0","method":"notice","params":{"type":"maintenance"}}'),
    ("gate", b'{"time":1785000123,"channel":"spot.system","event":"update","result":{"type":"upgrade","msg":"..."}}'),
    (
        "gate",
        b'{"time":1785000123,"channel":"spot.notice","event":"update","result":{"type":"maintenance","msg":"we close in 60 s"}}',
    ),
    (
        "kraken",
        b'{"channel":"status","type":"update","data":[{"system":"maintenance","api_version":"v2","connection_id":1,"version":"2.0.0"}]}',
    ),
    ("kraken", b'{"channel":"notice","type":"update","data":[{"msg":"Server is going down for Maintenance"}]}'),
    ("kucoin", b'{"type":"notice","topic":"/x","data":{"msg":"upgrade"}}'),
    ("kucoin", b'{"id":"x","type":"disconnect","message":"server will be replaced"}'),
    (
        "okx",
        b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect."}',
    ),
    ("okx", b'{"event":"notice","code":"64009","msg":"The servers restart in a minute"}'),
    ("okx", b'{"event":"maintenance","msg":"planned"}'),
]
OTHERS = [  # frame, whether it is evidence
    ("gate", b'{"time":1785000123,"channel":"spot.system","event":"update","result":{"type":"info","msg":"new market"}}', False),
    ("gate", b'{"time":1785000123,"channel":"spot.weather","event":"update","result":{"type":"info"}}', True),
    ("kraken", b'{"channel":"status","type":"update","data":[{"system":"online","api_version":"v2","version":"2.0.0"}]}', False),
    ("okx", b'{"event":"notice","code":"64010","msg":"A new market"}', False),
    ("okx", b'{"event":"weather"}', True),
    ("kucoin", b'{"type":"weather"}', True),
    ("coinbase", b'{"type":"weather"}', True),
    ("deribit", b'{"method":"weather"}', True),
    ("binance", b'{"e":"weather"}', True),
]


@pytest.mark.parametrize(("name", "frame"), ENDS)
def test_an_announced_end_is_a_planned_reconnection(name: str, frame: bytes) -> None:
    (end,) = open_session(name, "trades").feed(frame, NOW)
    assert isinstance(end, Reconnect)
    assert end.planned


@pytest.mark.parametrize(("name", "frame", "evidence"), OTHERS)
def test_another_message_is_none(name: str, frame: bytes, evidence: bool) -> None:
    assert [type(output) for output in open_session(name, "trades").feed(frame, NOW)] == [Malformed] * evidence


def reopened(name: str, heeded_at: int) -> Session:
    connection = Connection("wss://test", (Subscription(replace(BTC, symbol="BTC/USD"), "trades"),), heeded_at=heeded_at)
    return registry.exchanges()[name].session(connection, options(name))


def test_a_message_that_each_new_connection_gets_is_heeded_once_in_ten_minutes() -> None:
    status = next(frame for name, frame in ENDS if name == "kraken")
    session = open_session("kraken", "trades")
    assert [type(output) for _ in range(3) for output in session.feed(status, NOW)] == [Reconnect]
    assert session.heeded_at == NOW
    following = reopened("kraken", session.heeded_at)
    assert following.feed(status, NOW + SECOND) == ()
    assert following.heeded_at == NOW
    assert [type(output) for output in following.feed(status, NOW + PAUSE)] == [Reconnect]


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_thousand_unknown_frames_are_one_piece_of_evidence_and_a_number(name: str) -> None:
    frames = {other: frame for other, frame, evidence in OTHERS if evidence}
    frame = frames.get(name, b'{"channel":"weather","data":[]}')
    session = open_session(name, "trades")
    out = [output for _ in range(1000) for output in session.feed(frame, NOW)]
    assert [type(output) for output in out] == [Malformed]
    assert isinstance(session.feed(trade(name), NOW)[-1], Trade)
    told = numbers([*session.tick(NOW), *session.tick(NOW + COUNTED_EVERY)])
    assert [message.rpartition(": ")[2] for message in told] == ["999 more frames in an hour"]
    assert numbers(session.tick(NOW + 2 * COUNTED_EVERY)) == []


def numbers(outputs: list[Output]) -> list[str]:
    return [output.message for output in outputs if isinstance(output, Malformed)]


def test_a_thousand_kinds_of_frames_are_few_pieces_of_evidence() -> None:
    session = open_session("coinbase", "trades")
    out = [output for number in range(1000) for output in session.feed(b'{"type":"x%d"}' % number, NOW)]
    assert len(out) == MAX_KINDS
    session.tick(NOW)
    assert numbers(session.tick(NOW + COUNTED_EVERY))[-1] == "coinbase: other kinds: 980 more frames in an hour"


@pytest.mark.parametrize(
    "frame", [b'{"id":"x","type":"welcome","data":"welcome"}', b'{"id":"x","type":"welcome","message":"welcome"}']
)
def test_kucoin_welcomes_in_two_forms(frame: bytes) -> None:
    """Its change of 2026-08-27, from `message` to `data`, was announced and taken back on 2026-09-11."""
    session = registry.exchanges()["kucoin"].session(
        Connection("wss://test", (Subscription(replace(BTC, symbol="BTC-USDT"), "trades"),)), options("kucoin")
    )
    assert session.start(NOW) == ()
    (subscribe,) = session.feed(frame, NOW)
    assert "/market/match:BTC-USDT" in str(subscribe)
