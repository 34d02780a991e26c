"""Checks that a table in the database has the columns that the daemon writes (names, types, NOT NULL), and that its role may write.

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

_LACKING = """
    SELECT relation, privilege FROM unnest($1::text[], $2::text[]) AS needed (relation, privilege)
     WHERE NOT has_table_privilege(relation, privilege)"""

_ALIASES = {"timestamp with time zone": "timestamptz"}


async def verify(connection: Connection, table: Table) -> None:
    """Raises Hold, with the cause, if the rows of `table` do not fit the table in the database, or the role may not write them."""
    await _verify_columns(connection, table)
    await _verify_privileges(connection, table)


async def _verify_privileges(connection: Connection, table: Table) -> None:
    needed = [(table.name, "INSERT"), ("rejects", "INSERT")]
    if table.revise:
        needed += [(table.name, "SELECT"), (table.name, "UPDATE")]
    if table.native:
        needed += [("native_ids", "SELECT"), ("native_ids", "INSERT")]
    lacking = await connection.fetch(_LACKING, *zip(*needed, strict=True))
    if lacking:
        names = ", ".join(f"{row['privilege']} ON {row['relation']}" for row in lacking)
        role = await connection.fetchval("SELECT current_user::text")
        raise Hold(f"the role {role} lacks {names}: run `ingest migrate`, or grant it", code="42501")


async def _verify_columns(connection: Connection, table: Table) -> None:
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
