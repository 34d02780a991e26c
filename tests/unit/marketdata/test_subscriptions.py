"""A refused symbol among valid ones is found by name or by halving, reported once and retried alone; the others are subscribed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.exchanges.gate import exchange as gate
from ingest.exchanges.kucoin import exchange as kucoin
from ingest.marketdata.subscriptions import Accepted, Batch, Member, Rejected, Resubscriber, Subscriptions
from ingest.protocol.session import Output, Refused, Send, Subscription
from ingest.records import SECOND
from tests.support.exchanges import deribit as deribit_session
from tests.support.exchanges import documented
from tests.support.exchanges import gate as gate_session
from tests.support.exchanges import kucoin as kucoin_session
from tests.support.exchanges import okx as okx_session

NOW = 1_790_000_000 * SECOND
MINUTE = 60 * SECOND


def gate_reply(send: Send) -> bytes:
    """The documented response to an accepted subscription."""
    request = json.loads(send.text)
    reply = {"time": 1, "id": request["id"], "channel": request["channel"], "event": "subscribe", "error": None}
    return json.dumps(reply | {"result": {"status": "success"}}).encode()


def subscribes(outputs: list[Output]) -> list[Send]:
    return [output for output in outputs if isinstance(output, Send) and '"subscribe"' in output.text]


@pytest.mark.parametrize("number", [b'"id":1,', b""])
def test_gate_names_the_pair(number: bytes) -> None:
    """As in a public bug report: of three pairs one was not tradable, and none was streamed."""
    pairs = [gate_session.named(name, index) for index, name in enumerate(("BTC_USDT", "LENS_USDT", "ETH_USDT"), 1)]
    session = gate_session.open_session(*pairs, channel="trades")
    frame = (
        b'{"time":1,%s"channel":"spot.trades","event":"subscribe","error":{"code":2,"message":"unknown currency pair: LENS_USDT"},'
        b'"result":{"status":"fail"}}' % number
    )
    refused, again = session.feed(frame, NOW)
    assert refused == Refused("gate: spot.trades: 2 unknown currency pair: LENS_USDT")
    assert json.loads(again.text)["payload"] == ["BTC_USDT", "ETH_USDT"]
    assert session.refused == {1: refused.message}
    assert session.feed(gate_reply(again), NOW) == ()
    assert subscribes(session.tick(NOW + MINUTE - 1)) == []
    (retry,) = subscribes(session.tick(NOW + MINUTE))
    assert json.loads(retry.text)["payload"] == ["LENS_USDT"]
    assert session.feed(gate_reply(retry), NOW + MINUTE) == ()
    assert session.refused == {}


def test_kucoin_names_the_topic() -> None:
    names = [kucoin_session.named(name, index) for index, name in enumerate(("BTC-USDT", "OLD-USDT", "WOLD-USDT"), 1)]
    (connection,) = kucoin.connections([Subscription(instrument, "trades") for instrument in names], kucoin_session.OPTIONS)
    session = kucoin.session(connection, kucoin_session.OPTIONS)
    (sent,) = session.feed(kucoin_session.WELCOME, NOW)
    error = {
        "id": json.loads(sent.text)["id"],
        "type": "error",
        "code": 404,
        "data": "topic /market/match:OLD-USDT is not found",
    }
    refused, again = session.feed(json.dumps(error).encode(), NOW)
    assert isinstance(refused, Refused)
    assert json.loads(again.text)["topic"] == "/market/match:BTC-USDT,WOLD-USDT"


def test_kucoin_is_busy() -> None:
    """Error 509, too many messages, is caused by no symbol, so the message is not halved."""
    names = [kucoin_session.named(f"X{index}-USDT", index) for index in range(9)]
    session = kucoin_session.open_session(*names, channel="trades")
    out = session.feed(b'{"id":"1","type":"error","code":509,"data":"exceed max subscription count limitation"}', NOW)
    assert [type(output) for output in out] == [Refused]
    assert session.refused == {}
    (_, retry) = session.tick(NOW + MINUTE)
    assert json.loads(retry.text)["topic"].count(",") == 8


def test_an_error_about_a_ping_concerns_no_subscription() -> None:
    session = kucoin_session.open_session(kucoin_session.BTC, channel="trades")
    (ping,) = session.tick(NOW + 18 * SECOND)
    error = {"id": json.loads(ping.text)["id"], "type": "error", "code": 415, "data": "type is not supported"}
    session.feed(b'{"id":"1","type":"ack"}', NOW)
    assert session.feed(json.dumps(error).encode(), NOW) == (Refused('kucoin: 415 "type is not supported"'),)
    assert session.refused == {}


def test_okx_responds_to_each_topic() -> None:
    names = [replace(okx_session.BTC, symbol=f"{name}-USDT", id=index) for index, name in enumerate(("A", "OLD", "B"))]
    session = okx_session.open_session(*names, channel="book")
    accepted = b'{"id":"1","event":"subscribe","arg":{"channel":"books","instId":"%s"},"connId":"a"}'
    assert session.feed(accepted % b"A-USDT", NOW) == ()
    error = b'{"id":"1","event":"error","code":"60018","msg":"Wrong URL or channel:books,instId:OLD-USDT doesn\'t exist."}'
    assert [type(output) for output in session.feed(error, NOW)] == [Refused]  # the others are not subscribed again
    assert session.feed(accepted % b"B-USDT", NOW) == ()
    assert list(session.refused) == [1]


def test_deribit_leaves_out_unknown_channels_and_can_be_busy() -> None:
    session = deribit_session.open_session(deribit_session.BTC, deribit_session.named("NEVER", 9), channel="trades")
    (refused,) = session.feed(b'{"jsonrpc":"2.0","id":1,"result":["trades.BTC-PERPETUAL.100ms"]}', NOW)
    assert session.refused == {1: refused.message}
    session = deribit_session.open_session(deribit_session.BTC, channel="trades")
    session.feed(b'{"jsonrpc":"2.0","id":1,"error":{"code":10028,"message":"too_many_requests"}}', NOW)
    assert session.refused == {}
    (again,) = session.tick(NOW + MINUTE)
    assert json.loads(again.text)["params"]["channels"] == ["trades.BTC-PERPETUAL.100ms"]


def test_a_symbol_that_an_earlier_connection_was_refused_waits_for_its_retry() -> None:
    pairs = [gate_session.named(name, index) for index, name in enumerate(("BTC_USDT", "LENS_USDT"), 1)]
    (connection,) = gate.connections([Subscription(instrument, "trades") for instrument in pairs], gate_session.OPTIONS)
    session = gate.session(replace(connection, refused={1: "no such pair"}), gate_session.OPTIONS)
    (sent,) = session.start(NOW)
    assert json.loads(sent.text)["payload"] == ["BTC_USDT"]
    assert session.refused == {1: "no such pair"}
    (retry,) = subscribes(session.tick(NOW + MINUTE))
    assert json.loads(retry.text)["payload"] == ["LENS_USDT"]


def test_a_refused_book_is_left_to_its_own_retry() -> None:
    session = deribit_session.open_session(deribit_session.BTC, channel="book")
    session.feed(deribit_session.nautilus("ws_book_snapshot"), NOW)
    session.feed(b'{"jsonrpc":"2.0","id":1,"result":[]}', NOW)
    out = session.feed(deribit_session.edited("ws_book_delta", prev_change_id=1), NOW)
    assert [output for output in out if isinstance(output, Send)] == []


# --- any exchange --------------------------------------------------------------------------------------------------------------


def subscriptions(size: int, *, batch: int = 100, single: bool = False, **more: Any) -> Subscriptions:
    members = [Member("trades", "t", f"S{index}-X", f"t:S{index}-X") for index in range(size)]

    def encode(message: Batch) -> str:
        return json.dumps([message.number, [member.symbol for member in message.members]])

    return Subscriptions(members, exchange="x", encode=encode, size=lambda member: batch, single=single, **more)


def index_of(symbol: str) -> int:
    return int(symbol[1:-2])


def play(state: Subscriptions, size: int, bad: set[int], message: Callable[[list[str]], str]) -> tuple[list[list[str]], list[str]]:
    """Simulate an exchange that refuses each message with a bad symbol. Returns the symbols of all messages, and all reports."""
    todo, sent, reports = list(state.subscribe(range(size), NOW)), [], []
    while todo:
        output = todo.pop(0)
        if isinstance(output, Refused):
            reports.append(output.message)
            continue
        assert isinstance(output, Send)
        number, symbols = json.loads(output.text)
        sent.append(symbols)
        refused = [symbol for symbol in symbols if index_of(symbol) in bad]
        todo += state.rejected(Rejected(message(refused), number), NOW) if refused else state.accepted(Accepted(number), NOW)
        assert len(sent) < 1000
    return sent, reports


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_exactly_the_bad_symbols_are_refused(seed: int, named: bool) -> None:
    rng = random.Random(seed)
    size = rng.randrange(1, 250)
    bad = set(rng.sample(range(size), rng.randrange(0, min(size, 9))))
    state = subscriptions(size)
    sent, reports = play(state, size, bad, lambda wrong: f"unknown: {wrong[0]}" if named else "Failed to subscribe")
    assert set(state.refused) == bad
    assert len(reports) == len(bad)
    accepted = {symbol for message in sent for symbol in message if not any(index_of(one) in bad for one in message)}
    assert accepted == {f"S{index}-X" for index in set(range(size)) - bad}
    assert len(sent) <= -(-size // 100) + len(bad) * (1 if named else 14)
    due = {symbol for one in state.tick(NOW + MINUTE) for symbol in json.loads(one.text)[1]}
    assert due == {f"S{index}-X" for index in bad}


@pytest.mark.parametrize("bad", range(100))
def test_one_unnamed_bad_symbol_in_a_hundred_takes_at_most_fifteen_messages(bad: int) -> None:
    sent, _ = play(subscriptions(100), 100, {bad}, lambda wrong: "Failed to subscribe")
    assert len(sent) <= 15


def test_an_error_that_names_every_symbol_isolates_none_of_them() -> None:
    state = subscriptions(8)
    play(state, 8, {5}, lambda wrong: "cannot subscribe to " + ", ".join(f"S{index}-X" for index in range(8)))
    assert set(state.refused) == {5}


def test_halving_ends_if_everything_is_refused() -> None:
    state = subscriptions(100)
    sent, reports = play(state, 100, set(range(100)), lambda wrong: "no")
    assert len(sent) < 80
    assert reports == ["no"]
    assert len(state.tick(NOW + MINUTE)) < 80


def test_the_pause_doubles_up_to_an_hour() -> None:
    state = subscriptions(1)
    (send,), now, waits = state.subscribe([0], NOW), NOW, []
    for _ in range(9):
        assert isinstance(send, Send)
        state.rejected(Rejected("no", json.loads(send.text)[0]), now)
        start = now
        while not (sends := state.tick(now)):
            now += SECOND
        (send,) = sends
        waits.append((now - start) // SECOND)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_reply_without_a_number_concerns_the_messages_that_name_its_topics() -> None:
    state = subscriptions(4, batch=2)
    state.subscribe(range(4), NOW)
    assert state.accepted(Accepted(None, ("t:S0-X", "t:S1-X", "t:S2-X")), NOW) == []
    assert state.accepted(Accepted(None), NOW) == []
    (refused,) = state.rejected(Rejected("Failed to subscribe"), NOW)  # the only message that is not accepted yet
    assert (state.refused, refused) == ({3: "Failed to subscribe"}, Refused("Failed to subscribe"))


def test_a_reply_that_comes_too_late_refuses_no_symbol() -> None:
    state = subscriptions(2)
    state.subscribe([0, 1], NOW)
    assert state.tick(NOW + 30 * SECOND) == []
    assert state.rejected(Rejected("no", 1), NOW + 31 * SECOND) == [Refused("no")]
    assert state.refused == {}


def test_a_message_without_a_reply_is_sent_once_more_and_then_each_member_alone() -> None:
    state = subscriptions(3)
    state.subscribe([0, 1, 2], NOW)
    sent: list[tuple[int, list[str]]] = []
    refused: list[tuple[int, str]] = []
    for second in range(1, 1000):
        for output in state.tick(NOW + second * SECOND):
            if isinstance(output, Send):
                sent.append((second, json.loads(output.text)[1]))
            else:
                assert isinstance(output, Refused)
                refused.append((second, output.message))
    # 30 s for each reply, pauses of 60, 120, 240 and 480 s
    names = ["S0-X", "S1-X", "S2-X"]
    assert sent == [(90, names), *((240, [name]) for name in names), *((510, [name]) for name in names)]
    assert refused == [(120, f"x: no reply to the subscription of t:{name}") for name in names]
    assert sorted(state.refused) == [0, 1, 2]


def test_a_member_that_sends_messages_needs_no_reply() -> None:
    state = subscriptions(2, spoke=lambda index, since: index == 0)
    state.subscribe([0, 1], NOW)
    sent = [json.loads(output.text)[1] for at in range(200) for output in state.tick(NOW + at * SECOND) if isinstance(output, Send)]
    assert sent == [["S1-X"]]
    assert list(state.refused) == [1]


def test_a_late_acceptance_ends_the_refusal() -> None:
    state = subscriptions(1)
    state.subscribe([0], NOW)
    for second in range(1, 250):
        state.tick(NOW + second * SECOND)
    assert list(state.refused) == [0]
    state.accepted(Accepted(3), NOW + 250 * SECOND)
    assert state.refused == {}


def test_a_rate_limit_of_one_symbol_puts_off_that_symbol() -> None:
    """Kraken replies for each symbol of a message."""
    session = documented.open_session("kraken", "trades", symbols=("BTC/USD", "ETH/USD", "SOL/USD"))
    reply = '{"method":"subscribe","success":true,"result":{"channel":"trade","symbol":"%s"},"req_id":1}'
    session.feed((reply % "BTC/USD").encode(), NOW)
    busy = b'{"method":"subscribe","success":false,"error":"Exceeded msg rate","symbol":"ETH/USD","req_id":1}'
    assert [type(output) for output in session.feed(busy, NOW)] == [Refused]
    session.feed((reply % "SOL/USD").encode(), NOW)
    sent = [output for at in range(150) for output in subscribes(list(session.tick(NOW + at * SECOND)))]
    assert [json.loads(send.text)["params"]["symbol"] for send in sent] == [["ETH/USD"]]


def test_books_that_are_due_share_messages_and_wait_longer_each_time() -> None:
    sent: list[tuple[int, list[int]]] = []

    def send(indices: list[int], now: int) -> list[Output]:
        sent.append((now // SECOND, indices))
        return []

    books = Resubscriber(send)
    books.add(1, 0)
    for index in (3, 2):
        books.add(index, SECOND)
    for second in range(2, 1500):
        books.due(second * SECOND)
    assert sent == [(0, [1]), (1, [3]), (1, [2]), (30, [1]), (31, [2, 3])] + [
        entry for second in (90, 210, 450, 930) for entry in ((second, [1]), (second + 1, [2, 3]))
    ]
    for index in (1, 2, 3):
        books.succeeded(index)
    books.due(2000 * SECOND)
    books.add(1, 2001 * SECOND)
    assert sent[-1] == (2001, [1])
    books.due(2031 * SECOND)  # the pause is short again
    assert sent[-1] == (2031, [1])
