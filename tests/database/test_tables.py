"""The tables of the database are those of `ingest/tables.py`, and their checks refuse invalid values."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from ingest.tables import TABLES, Table
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
SPELT = {"timestamptz": "timestamp with time zone"}  # as format_type prints it
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


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def insert(connection: asyncpg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    values = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})", *row.values())


async def test_columns_with_their_types_and_order_are_those_of_the_records(connection: Any) -> None:
    query = """
        SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
    """
    for table in TABLES:
        found = await connection.fetch(query, table.name)
        declared = [(column.name, SPELT.get(column.type, column.type), column.nullable) for column in table.columns]
        assert [tuple(row) for row in found] == declared


async def test_the_indexes_are_the_primary_key_and_what_is_declared(connection: Any) -> None:
    query = """
        SELECT indisprimary, replace(split_part(pg_get_indexdef(indexrelid), ' USING ', 2), '"', '') FROM pg_index
        WHERE indrelid = $1::text::regclass ORDER BY 1 DESC, 2
    """
    for table in TABLES:
        found = [tuple(row) for row in await connection.fetch(query, table.name)]
        key = f"btree ({', '.join(table.key)})"
        assert found == [(True, key), *((False, index) for index in sorted(table.indexes))], table.name


async def test_chunks_are_as_long_as_declared(connection: Any) -> None:
    query = "SELECT hypertable_name::text, column_name::text, time_interval FROM timescaledb_information.dimensions"
    rows = await connection.fetch(query)
    lengths = {name: (column, length) for name, column, length in rows}
    assert {table.name: lengths[table.name] for table in TABLES} == {table.name: ("time", table.chunk) for table in TABLES}


async def test_compression_is_as_declared(connection: Any, edition: str) -> None:
    if edition != "community":
        pytest.skip("there is no compression on the apache edition")
    query = "SELECT hypertable::text, segmentby, orderby FROM timescaledb_information.hypertable_columnstore_settings"
    rows = await connection.fetch(f"{query} WHERE segmentby IS NOT NULL")  # those of continuous aggregates are NULL
    assert {name: (_names(segmentby), _names(orderby)) for name, segmentby, orderby in rows} == {
        table.name: (table.segmentby, table.orderby) for table in TABLES
    }


def _names(text: str) -> tuple[str, ...]:
    """`"time" DESC,trade_id` -> (time, trade_id)."""
    return tuple(part.strip().replace('"', "").split(" ")[0] for part in text.split(","))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_a_valid_row_is_stored_unchanged(connection: Any, table: Table) -> None:
    await insert(connection, table.name, ROWS[table.name])
    assert [dict(row) for row in await connection.fetch(f"SELECT * FROM {table.name}")] == [ROWS[table.name]]


async def test_every_bad_value_is_refused_by_a_check(connection: Any) -> None:
    accepted = []
    for table, column, value in bad_rows():
        try:
            await insert(connection, table, ROWS[table] | {column: value})
        except asyncpg.CheckViolationError:
            continue
        accepted.append((table, column, value))
    assert accepted == []


async def test_prices_at_both_ends_are_kept_digit_by_digit(connection: Any) -> None:
    """The smallest price step of an exchange's listing is 1e-8 or less; volumes in the base coin reach 1e15."""
    row = ROWS["trades"] | {"price": Decimal("0.000000000001230"), "size": Decimal("1234567890123456.12345678")}
    await insert(connection, "trades", row)
    assert await connection.fetchval("SELECT price || ' ' || size FROM trades") == "0.000000000001230 1234567890123456.12345678"


def test_every_declared_table_has_a_row_here() -> None:
    assert tuple(ROWS) == tuple(table.name for table in TABLES)
