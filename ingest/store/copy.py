"""Inserts rows: by one COPY, or by COPY into a temporary table and INSERT ... ON CONFLICT from there, sorted by the key.

Two writers that insert the same rows in different orders deadlock (measured without the sort: 15 deadlocks, 24 times slower).
https://www.postgresql.org/docs/15/sql-insert.html#SQL-ON-CONFLICT
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from decimal import Decimal

from msgspec import Struct

from ingest.store.native_ids import resolve_native_ids
from ingest.store.pool import Connection
from ingest.tables import Table, odd


class Statements(Struct, frozen=True):
    """The SQL to write some columns of one table, made from its declaration."""

    columns: tuple[str, ...]
    create_stage: str
    resolve_native_ids: tuple[str, ...]
    insert: str

    @staticmethod
    def of(table: Table, names: tuple[str, ...] = (), *, force: bool = False) -> Statements:
        """The statements for rows with the columns `names`, in this order; default: all columns of the table.

        `force` replaces a stored row by any row with other values, but no row by one that contradicts itself.
        """
        declared = {column.name: column.type for column in table.columns}
        names = names or tuple(declared)
        types = ", ".join(f'"{name}" {declared[name]}' for name in names)
        return Statements(
            columns=names,
            # names and types of the columns: LIKE would need SELECT on the table. `line` tells which of two rows is the later one.
            create_stage=f"CREATE TEMP TABLE stage ({types}{', line bigserial' if table.revise else ''}) ON COMMIT DROP",
            resolve_native_ids=resolve_native_ids(table),
            insert=_merge(table, names, _forced(table) if force else table.revise) if table.revise else _insert(table, names),
        )


def _list(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _insert(table: Table, names: tuple[str, ...]) -> str:
    # no conflict target: it would need SELECT on the table
    columns, key = _list(names), _list(table.key)
    # ctid: of two rows with one key the first is stored, as of two batches
    return f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM stage ORDER BY {key}, ctid ON CONFLICT DO NOTHING"


def _forced(table: Table) -> str:
    return (
        f"{table.changed} AND ({odd(table.within, 't')} OR NOT {odd(table.within, 'EXCLUDED')})" if table.within else table.changed
    )


def _merge(table: Table, names: tuple[str, ...], revise: str) -> str:
    key = _list(table.key)
    values = {name: f'COALESCE(EXCLUDED."{name}", t."{name}")' if name in table.kept else f'EXCLUDED."{name}"' for name in names}
    changes = ", ".join(f'"{name}" = {value}' for name, value in values.items() if name not in table.key)
    return f"""
        WITH merged AS (
            INSERT INTO {table.name} AS t ({_list(names)})
            SELECT DISTINCT ON ({key}) {_list(names)} FROM stage ORDER BY {key}, {table.prefer}, line DESC
            ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE {revise}
            RETURNING xmax = 0 AS inserted{_flagged_columns(table)}
        ){_flag(table)}
        SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged"""


def _flagged_columns(table: Table) -> str:
    """The source and the values of a row that contradicts itself."""
    if not table.within:
        return ""
    exchange = "(SELECT exchange FROM instruments i WHERE i.id = t.instrument_id)"
    source = "t.source" if any(column.name == "source" for column in table.columns) else f"coalesce({exchange}, '')"
    is_odd = odd(table.within, "t")
    return f", CASE WHEN {is_odd} THEN {source} END AS source, CASE WHEN {is_odd} THEN row_to_json(t)::text END AS odd_row"


def _flag(table: Table) -> str:
    if not table.within:
        return ""
    message = "stored; not between low and high: " + ", ".join(dict.fromkeys(value for value, _, _ in table.within))
    return f""", flagged AS (
            INSERT INTO rejects (source, table_name, stage, reason, message, payload)
            SELECT source, '{table.name}', 'flag', 'contradiction', '{message}', odd_row FROM merged WHERE odd_row IS NOT NULL
        )"""


def has_odd_row(table: Table, columns: tuple[str, ...], data: bytes) -> bool:
    """Whether a row of `data` (COPY text of `columns`) contradicts itself or has a value that is no number."""
    places = [tuple(columns.index(name) for name in names) for names in table.within if set(names) <= set(columns)]
    try:
        for line in data.decode("utf-8", "replace").split("\n")[:-1] if places else ():
            cells = line.split("\t")
            for value, low, high in places:
                bar = (cells[low], cells[value], cells[high])
                if r"\N" not in bar and not Decimal(bar[0]) <= Decimal(bar[1]) <= Decimal(bar[2]):
                    return True
    except (ArithmeticError, IndexError):
        return True
    return False


async def copy_in(connection: Connection, table: str, columns: tuple[str, ...], data: bytes) -> int:
    """COPY text into a table, inside the caller's transaction. Returns the server's row count."""
    tag = await connection.copy_to_table(table, source=_once(data), columns=columns, format="text")
    return _count(tag)


async def stage_in(connection: Connection, table: Table, statements: Statements, data: bytes) -> tuple[int, int]:
    """COPY into a temporary table and merge it into `table`, inside the caller's transaction. Returns (written, revised)."""
    await connection.execute(statements.create_stage)
    await copy_in(connection, "stage", statements.columns, data)
    for statement in statements.resolve_native_ids:
        await connection.execute(statement)
    if table.revise:
        row = await connection.fetchrow(statements.insert)
        assert row is not None  # an aggregate returns one row
        return row[0], row[1]
    return _count(await connection.execute(statements.insert)), 0


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _count(tag: str) -> int:
    """The row count of a command tag: `COPY 5000`, `INSERT 0 4999`."""
    return int(tag.rsplit(" ", 1)[1])
