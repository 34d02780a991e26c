"""A valid row of every hypertable, and values each of which makes the row invalid."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.support import polled

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROWS: dict[str, dict[str, Any]] = {
    "trades": {
        "instrument_id": 1,
        "time": NOON,
        "trade_id": 7,
        "price": Decimal("0.10"),
        "size": Decimal(1),
        "side": "buy",
        "received_at": NOON,
        "native_id": None,
    },
    "candles": {
        "instrument_id": 1,
        "interval": "1m",
        "time": NOON,
        "open": Decimal(2),
        "high": Decimal(3),
        "low": Decimal(1),
        "close": Decimal(2),
        "volume": Decimal(0),
        "quote_volume": None,
        "trades_count": None,
        "taker_buy_volume": None,
        "taker_buy_quote_volume": None,
        "first_trade_id": None,
        "last_trade_id": None,
        "parts": 1,
        "origin": "ws",
        "received_at": NOON,
    },
    "quotes": {
        "instrument_id": 1,
        "time": NOON,
        "writer": "",
        "bid_price": Decimal(1),
        "bid_size": Decimal(0),
        "ask_price": None,
        "ask_size": None,
        "sequence": None,
        "received_at": NOON,
    },
    "order_books": {
        "instrument_id": 1,
        "time": NOON,
        "writer": "",
        "bid_prices": [Decimal(2), Decimal(1)],
        "bid_sizes": [Decimal(5), Decimal(0)],
        "ask_prices": [],
        "ask_sizes": [],
        "sequence": None,
        "received_at": NOON,
    },
} | polled.POLLED
NAN, INFINITY = Decimal("NaN"), Decimal("Infinity")
NOT_A_PRICE = (NAN, INFINITY, -INFINITY, Decimal(0), Decimal(-1), Decimal("1e18"))
NOT_A_SIZE = (NAN, INFINITY, -INFINITY, Decimal(-1), Decimal("1e24"))
NOT_A_TIME = (datetime(1970, 1, 21, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC))


def bad_rows() -> list[Any]:
    """(table, column, value): each value alone makes a valid row invalid."""
    bad = [(table, "time", time) for table in ROWS for time in NOT_A_TIME]
    bad += [("trades", "price", value) for value in NOT_A_PRICE]
    bad += [("trades", "size", value) for value in (*NOT_A_SIZE, Decimal(0))]
    bad += [("trades", "side", value) for value in ("BUY", "", "bid")]
    bad += [("candles", column, value) for column in ("open", "high", "low", "close") for value in NOT_A_PRICE]
    sums = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
    bad += [("candles", column, value) for column in sums for value in NOT_A_SIZE]
    bad += [("candles", "low", Decimal(4)), ("candles", "trades_count", -1), ("candles", "parts", 0), ("candles", "parts", 1441)]
    bad += [("candles", "interval", value) for value in ("1M", "2m", "")] + [("candles", "origin", value) for value in ("WS", "")]
    bad += [("quotes", "bid_price", value) for value in NOT_A_PRICE] + [("quotes", "bid_size", value) for value in NOT_A_SIZE]
    bad += [("quotes", "bid_price", None), ("quotes", "ask_size", Decimal(1))]
    for price, value in [("bid_prices", value) for value in NOT_A_PRICE] + [("bid_sizes", value) for value in NOT_A_SIZE]:
        bad.append(("order_books", price, [Decimal(2), value]))
    bad += [("order_books", column, [Decimal(2), None]) for column in ("bid_prices", "bid_sizes")]
    bad += [("order_books", "bid_sizes", [Decimal(1)]), ("order_books", "ask_prices", [Decimal(3)])]
    return bad + polled.BAD
