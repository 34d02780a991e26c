"""Whether a stored table still has the columns that we write: types, names, NULLs.

A column that was altered by hand may refuse every row, or take it and lose digits without a word. Either way it is the schema that
is wrong, not the rows.
"""

from __future__ import annotations

from ingest.errors import Hold
from ingest.store.pool import Connection
from ingest.tables import Table

_SHAPE = """
    SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull, atthasdef OR attidentity <> '' AS has_default
      FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"""

_SPELLING = {"timestamp with time zone": "timestamptz"}


async def verify(connection: Connection, table: Table) -> None:
    """Raise Hold, naming the column and both types, unless `table` can take what we write."""
    found = {row["attname"]: row for row in await connection.fetch(_SHAPE, table.name)}
    if not found:
        raise Hold(f"table {table.name} is not there: run `ingest migrate`", code="42P01")
    for column in table.columns:
        row = found.pop(column.name, None)
        if row is None:
            raise Hold(
                f"column {table.name}.{column.name} is not there; expected {column.type}: run `ingest migrate`", code="42703"
            )
        type_ = _SPELLING.get(row["type"], row["type"])
        if type_ != column.type:
            raise Hold(f"column {table.name}.{column.name} is {type_}; expected {column.type}: alter it back", code="42804")
    for name, row in found.items():
        if row["attnotnull"] and not row["has_default"]:
            raise Hold(f"column {table.name}.{name} is not ours, NOT NULL and without a default: no row fits", code="23502")
