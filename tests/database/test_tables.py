"""The tables of the database are those of `ingest/tables.py`, and their checks refuse invalid values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from ingest.tables import TABLES, Table
from tests.support.table_rows import ROWS, bad_rows

SPELT = {"timestamptz": "timestamp with time zone"}  # as format_type prints it


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
