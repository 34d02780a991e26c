"""The websocket of Coinbase's books: connections, subscriptions, refusals, and messages of great length."""

from __future__ import annotations

import json
import time

import pytest

from ingest.exchanges.coinbase import exchange as coinbase
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Connection, Gap, Refused, Send, Subscription
from ingest.records import SECOND, BookSnapshot
from tests.support.exchanges.coinbase import PRODUCTS, a_session, an_instrument, frame, options
from tests.support.exchanges.coinbase_advanced import (
    BTC,
    ETH,
    HEARTBEATS,
    NOW,
    begun,
    fed,
    request,
    second,
    snapshot,
    subscriptions,
)
from tests.support.recordings.coinbase_level2 import envelope, event

# --- subscriptions -----------------------------------------------------------------------------------------------------------


def test_the_heartbeats_are_subscribed_before_the_books() -> None:
    assert list(a_session("book", products=[BTC, ETH]).start(NOW)) == [HEARTBEATS, request("subscribe", BTC, ETH)]


def test_a_product_of_usdc_has_the_book_of_usd() -> None:
    """The documentation names two products that are not the same as those of USD."""
    products = ["BTC-USDC", "ETH-USDC", ETH, "USDT-USDC", "EURC-USDC"]
    session = a_session("book", products=products)
    canonical = [BTC, ETH, "USDT-USDC", "EURC-USDC"]
    assert list(session.start(NOW)) == [HEARTBEATS, request("subscribe", *canonical)]
    assert fed(session, subscriptions(0, *canonical), NOW) == []
    for number, product in enumerate(canonical, 1):
        assert fed(session, snapshot(number, product=product, bid=str(number)), NOW) == []
    out = session.tick(NOW + 60 * SECOND)
    assert [(book.instrument_id, book.bid_prices) for book in out if isinstance(book, BookSnapshot)] == [
        (1, ("1",)),
        (2, ("2",)),
        (3, ("2",)),
        (4, ("3",)),
        (5, ("4",)),
    ]


def test_a_refused_product_that_the_error_names_is_taken_out() -> None:
    session = a_session("book", products=[BTC, "OLD-USD", ETH])
    session.start(NOW)
    error = frame({"type": "error", "message": "OLD-USD is not a valid product"})
    refused = Refused("coinbase: OLD-USD is not a valid product")
    assert fed(session, error, NOW + 1) == [refused, request("subscribe", BTC, ETH)]
    assert session.refused == {1: refused.message}
    assert fed(session, subscriptions(0, BTC, ETH), NOW + 2) == []
    assert session.tick(NOW + 61 * SECOND) == [request("subscribe", "OLD-USD")]


def test_a_refused_product_that_the_error_does_not_name_is_found_by_halving() -> None:
    """The text is one that this feed sends for any refusal."""
    products = [BTC, "OLD-USD", ETH]
    session = a_session("book", products=products)
    queue = [output for output in session.start(NOW) if output != HEARTBEATS]
    accepted: list[str] = []
    number = 0
    while queue:
        ids = json.loads(queue.pop(0).text)["product_ids"]
        if "OLD-USD" in ids:
            out = fed(session, frame({"type": "error", "message": "authentication failure"}), NOW + 1)
        else:
            accepted += ids
            out = fed(session, subscriptions(number, *accepted), NOW + 1)
            number += 1
        queue += [output for output in out if isinstance(output, Send)]
    assert session.refused == {1: "coinbase: authentication failure"}
    assert sorted(accepted) == [BTC, ETH]


def test_books_have_connections_of_their_own() -> None:
    trades = [Subscription(an_instrument(product, number), "trades") for number, product in enumerate(PRODUCTS)]
    wanted = [Subscription(an_instrument(f"P{number}-USD", number), "book") for number in range(21)]
    own = options()
    exchange, *advanced = coinbase.connections([*wanted, *trades], own)
    assert exchange == Connection("wss://example", tuple(trades))
    assert advanced == [
        Connection("wss://example/advanced", tuple(wanted[:20])),
        Connection("wss://example/advanced", tuple(wanted[20:])),
    ]
    usual = type(own)(ws_url=coinbase.LIMITS.ws_url, rest_url="", trade_kind="match")
    assert [each.url for each in coinbase.connections(wanted[:1], usual)] == ["wss://advanced-trade-ws.coinbase.com"]


@pytest.mark.parametrize("kind", ["snapshot", "update"])
def test_a_message_of_a_megabyte_is_read_within_half_a_second(kind: str) -> None:
    """The levels are ordered from the best to the worst, as the exchange sends them."""
    session = begun(BTC)
    levels = [("buy", f"{10_000 - index / 100:.2f}", "1.25000000") for index in range(5_000)]
    levels += [("sell", f"{10_200 + index / 100:.2f}", "1.25000000") for index in range(5_000)]
    text = frame(envelope(1, second(1), event(kind, BTC, second(1), levels)))
    assert len(text) > 1_000_000
    began = time.process_time()
    fed(session, text, NOW + 1)
    assert time.process_time() - began < 0.5
    (book,) = session.tick(NOW + 60 * SECOND)
    assert isinstance(book, BookSnapshot)
    assert len(book.bid_prices) == 20


@pytest.mark.parametrize("odd", [b"{}", b"1", b"[]", b'{"side":"bid"}'])
@pytest.mark.parametrize("kind", [b"snapshot", b"update"])
def test_a_megabyte_of_odd_levels_or_events_is_refused_within_half_a_second(kind: bytes, odd: bytes) -> None:
    many = b",".join([odd] * (1_000_000 // (len(odd) + 1)))
    levels = b'{"type":"%b","product_id":"BTC-USD","updates":[%b]}' % (kind, many)
    for events in (levels, many):
        session = begun(BTC)
        text = b'{"channel":"l2_data","sequence_num":1,"timestamp":"%b","events":[%b]}' % (second(1).encode(), events)
        began = time.process_time()
        out = fed(session, text, NOW + 1)
        assert time.process_time() - began < 0.5
        assert [type(output) for output in out if not isinstance(output, Gap | Send)] == [Malformed]
