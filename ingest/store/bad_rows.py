"""Finds the rows of a batch that the server does not accept, each with the error that it gives.

The rows are staged as text, and a block of PL/pgSQL tries each in a subtransaction: the casts to the columns' types, NOT NULL, and
every CHECK of the table, all as expressions. A subtransaction that writes nothing takes no transaction id, so many of them do not
slow other sessions (https://www.postgresql.org/docs/current/subxacts.html). To try the rows in the hypertable itself takes a
hundred times as long, because a chunk is created and rolled back for each.

A row whose key is longer than WIDE_KEY bytes may not fit an index (54000). Only such a row is inserted, into a temporary table with
the index of the longest key. What only the table itself can refuse, such as a constraint that one chunk has, is not found here.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ingest.store.copy import copy_in
from ingest.store.pool import Connection, rolled_back
from ingest.tables import Table

WIDE_KEY = 2_000  # bytes; an entry of a B-tree has at most 2,704

# ORDER BY in the subqueries: the first failing constraint is named, and it is the same one each time
_CONSTRAINTS = """
    SELECT array(SELECT conname::text FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'c' ORDER BY conname),
           array(SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint
                  WHERE conrelid = to_regclass($1) AND contype = 'c' ORDER BY conname)"""
_COLUMNS = """
    SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS required,
           (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum) AS initial
      FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""


class RowError(Struct, frozen=True):
    """The reason why one row cannot be stored: a metric label, the SQLSTATE, and a message for people."""

    reason: str
    sqlstate: str
    message: str

    @staticmethod
    def of(code: str, message: str) -> RowError:
        return RowError({"23502": "null", "23514": "check", "23503": "reference"}.get(code, "value"), code, message)


async def find_bad_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], lines: Sequence[bytes]
) -> dict[int, RowError]:
    """The bad rows by their index in `lines`, which are COPY text of `columns`. Changes nothing in the database.

    Raises asyncpg's errors unchanged, for example if the encoding of the database is not UTF-8 and lacks a character.
    """
    bad = {index: error for index, line in enumerate(lines) if (error := _unreadable(line, len(columns)))}
    rest = [index for index in range(len(lines)) if index not in bad]
    async with rolled_back(connection):
        await connection.execute(_tables(table, columns))
        block = await _block(connection, table, columns)
        await copy_in(connection, "raw_rows", _cells(columns), b"".join(lines[index] for index in rest))
        await connection.execute(block)
        for number, code, message in await connection.fetch("SELECT * FROM bad_rows"):
            bad[rest[number - 1]] = RowError.of(code, message)
    return bad


def _unreadable(line: bytes, columns: int) -> RowError | None:
    """What COPY would refuse of a line whatever the types of its columns are."""
    if b"\0" in line:
        return RowError.of("22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    values = line.count(b"\t") + 1
    if values != columns:
        return RowError.of("22P04", f"a row of {columns} columns has {values} values")
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return RowError.of("22021", f'invalid byte sequence for encoding "UTF8": {line[error.start : error.end].hex(" ")}')
    return None


def _cells(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"c{number}" for number in range(len(columns)))


def _tables(table: Table, columns: tuple[str, ...]) -> str:
    types = {column.name: column.type for column in table.columns}
    key = ", ".join(f'"{name}" {types[name]}' for name in table.key)
    names = ", ".join(f'"{name}"' for name in table.key)
    return f"""
        CREATE TEMP TABLE raw_rows ({", ".join(f"{cell} text" for cell in _cells(columns))}) ON COMMIT DROP;
        CREATE TEMP TABLE bad_rows (number int, code text, message text) ON COMMIT DROP;
        CREATE TEMP TABLE wide_keys (table_name text, native_id text[], {key}) ON COMMIT DROP;
        CREATE INDEX ON wide_keys ({"table_name, native_id" if table.native else names})"""


async def _block(connection: Connection, table: Table, columns: tuple[str, ...]) -> str:
    """The block that fills `bad_rows` from `raw_rows`."""
    names, checks = await connection.fetchrow(_CONSTRAINTS, table.name) or ((), ())
    found = await connection.fetch(_COLUMNS, table.name)
    cells = {name: f"r.{cell}" for name, cell in zip(columns, _cells(columns), strict=True)}
    # a column that the batch lacks has its default, which a CHECK may read
    values = [cells.get(name, initial or "NULL") for name, _, _, initial in found]
    casts = [f'{value}::{type_} AS "{name}"' for value, (name, type_, _, _) in zip(values, found, strict=True)]
    arms = [f'WHEN "{name}" IS NULL THEN {_null(table, name)}' for name, _, required, _ in found if required]
    arms += [f"WHEN NOT ({check}) THEN {_violated(table, name)}" for name, check in zip(names, checks, strict=True)]
    key = ", ".join(f't."{name}"' for name in table.key)
    own = ", ".join(f't."{name}"::text' for name in table.key if name != "time")
    # OFFSET 0: each cast is evaluated once, also that of a column that no constraint reads
    return f"""
DO $block$
#variable_conflict use_column
DECLARE r record; t record; n int := 0; failed text;
BEGIN
    FOR r IN SELECT * FROM raw_rows LOOP
        n := n + 1;
        BEGIN
            SELECT v.*, CASE {" ".join(arms)} END AS failed_constraint INTO t FROM (SELECT {", ".join(casts)} OFFSET 0) AS v;
            failed := t.failed_constraint;
            IF failed IS NULL AND octet_length(concat({own})) > {WIDE_KEY} THEN
                INSERT INTO wide_keys VALUES ('{table.name}', ARRAY[{own}], {key});
            END IF;
        EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
            failed := SQLSTATE || ' ' || SQLERRM;
        END;
        IF failed IS NOT NULL THEN  -- not in the subtransaction, which would take a transaction id
            INSERT INTO bad_rows VALUES (n, left(failed, 5), substr(failed, 7));
        END IF;
    END LOOP;
END
$block$"""


def _null(table: Table, column: str) -> str:
    return _quoted(f'23502 null value in column "{column}" of relation "{table.name}" violates not-null constraint')


def _violated(table: Table, constraint: str) -> str:
    return _quoted(f'23514 new row for relation "{table.name}" violates check constraint "{constraint}"')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
