"""Messages as the exchanges send them since their changes of 2025 and 2026."""

from __future__ import annotations

import json

import pytest

from ingest import registry
from ingest.records import SECOND, BookSnapshot, Trade
from tests.support.exchanges.documented import EXCHANGES, NOW, message, open_session, trade

NAMED = "币安人生USDT"


def test_numbers_of_deribit_may_have_exponents_and_other_keys() -> None:
    """https://docs.deribit.com/changelogs/starbase, 2026-07-20"""
    form = (
        '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms","data":['
        '{"timestamp":MS,"price":6.25e4,"direction":"buy","starbase_match_id":"x","starbase_timestamp":1,"trade_seq":5,"trade_id":"9",'
        '"amount":1.0e3},{"timestamp":MS,"price":1e-05,"direction":"buy","trade_seq":6,"trade_id":"10","amount":10}]}}'
    )
    trades = open_session("deribit", "trades").feed(message(form, TIME=NOW), NOW)
    assert [(row.price, row.size, row.native_id) for row in trades if isinstance(row, Trade)] == [
        *(("62500", "1000", "9"), ("0.00001", "10", "10"))
    ]
    book = (
        '{"method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"type":"snapshot","timestamp":MS,"change_id":1,'
        '"bids":[["new",6.2e4,1.0e3]],"asks":[["new",6.3e4,1e1]]}}}'
    )
    session = open_session("deribit", "book")
    session.feed(message(book, TIME=NOW), NOW)
    (state,) = [output for output in session.tick(NOW + 9 * SECOND) if isinstance(output, BookSnapshot)]
    assert (state.bid_prices, state.bid_sizes, state.ask_prices, state.ask_sizes) == (("62000",), ("1000",), ("63000",), ("10",))


def test_a_trade_of_a_unified_book_of_gate() -> None:
    """Since 2026-08-31 a trade names the exchanged assets; they are not stored."""
    frame = trade("gate").replace(b'"side":"buy"', b'"side":"buy","stock":"BTC","money":"USDC","trade_mode":1')
    (row,) = open_session("gate", "trades").feed(frame, NOW)
    assert isinstance(row, Trade)


@pytest.mark.parametrize("escaped", [False, True])
def test_a_symbol_of_binance_may_have_other_characters(escaped: bool) -> None:
    """Since 2025-12-15."""
    session = open_session("binance", "trades", symbols=(NAMED,))
    frame = trade("binance").replace(b"btcusdt", NAMED.lower().encode())
    if escaped:
        frame = json.dumps(json.loads(frame), ensure_ascii=True).encode()
    (row,) = session.feed(frame, NOW)
    assert isinstance(row, Trade)


@pytest.mark.parametrize("name", EXCHANGES)
def test_no_address_names_a_port_or_path_that_is_closed(name: str) -> None:
    limits = registry.exchanges()[name].LIMITS
    addresses = f"{limits.ws_url} {limits.rest_url} {limits.alternative}"
    assert ":8443" not in addresses
    assert "/api/v1" not in addresses
    assert limits.ws_url.startswith("wss://")
    assert limits.rest_url.startswith("https://")
