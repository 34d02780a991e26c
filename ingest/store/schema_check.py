"""Checks that a table in the database has the columns that the daemon writes: names, types, NOT NULL.

A column that was altered by hand may refuse every row, or accept rows and silently lose digits. In both cases the schema is wrong,
not the rows.
"""

from __future__ import annotations

from ingest.errors import Hold
from ingest.store.pool import Connection
from ingest.tables import Table

_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull, atthasdef OR attidentity <> '' AS has_default
      FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"""

_ALIASES = {"timestamp with time zone": "timestamptz"}


async def verify(connection: Connection, table: Table) -> None:
    """Raises Hold, with the column and both types, if the rows of `table` do not fit the table in the database."""
    found = {row["attname"]: row for row in await connection.fetch(_COLUMNS, table.name)}
    if not found:
        raise Hold(f"table {table.name} does not exist: run `ingest migrate`", code="42P01")
    for column in table.columns:
        row = found.pop(column.name, None)
        if row is None:
            raise Hold(
                f"column {table.name}.{column.name} does not exist; expected {column.type}: run `ingest migrate`", code="42703"
            )
        type_ = _ALIASES.get(row["type"], row["type"])
        if type_ != column.type:
            raise Hold(f"column {table.name}.{column.name} is {type_}; expected {column.type}: restore its type", code="42804")
    for name, row in found.items():
        if row["attnotnull"] and not row["has_default"]:
            raise Hold(f"column {table.name}.{name} is unknown, NOT NULL and has no default: give it a default", code="23502")
