"""What `ingest check` asks the database about the daemon: its privileges, its instruments, and the leases under its name.

https://www.postgresql.org/docs/current/ddl-priv.html. An INSERT without rows checks the privilege as one with rows does.
"""

from __future__ import annotations

import asyncpg

from ingest.store.pool import Connection
from ingest.tables import TABLES, Table

_PLAIN = {
    "INSERT": ("rejects", "native_ids"),
    "SELECT, INSERT, UPDATE": (
        "instruments",
        "coverage",
        "rollup_dirty",
        "sentiment_dirty",
        "indicators_dirty",
        "assets",
        "poll_cursors",
    ),
    "SELECT, INSERT, UPDATE, DELETE": ("leases",),
    "SELECT": ("schema_migrations", "jobs", "job_chunks"),
}

_MAY = "SELECT bool_and(has_table_privilege($1, privilege)) FROM unnest(string_to_array($2, ', ')) AS privilege"

_HOLDERS = """
    SELECT DISTINCT holder FROM leases
     WHERE expires_at > clock_timestamp() AND holder ~ '^.* [0-9a-f]{8}$' AND left(holder, -9) = $1 ORDER BY holder"""


_EXCESS = """
    SELECT bool_or(has_function_privilege('public', p.oid, 'EXECUTE')) FROM pg_proc p
      JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
      JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'timescaledb'
     WHERE p.proname = 'add_job'"""


async def everyone_adds_jobs(connection: Connection) -> bool:
    """Whether every role may add jobs of TimescaleDB, as before schema/roles.sql and after an upgrade of the extension."""
    return bool(await connection.fetchval(_EXCESS))


async def missing_rights(connection: Connection) -> list[str]:
    """A line for each privilege that the role of this connection lacks. What is tried is rolled back."""
    lines = []
    for table in TABLES:
        attempt = connection.transaction()
        await attempt.start()
        try:
            await connection.execute(_insert_nothing(table))
            if table.revise is not None:
                await connection.execute(f"UPDATE {table.name} SET {table.columns[0].name} = {table.columns[0].name} WHERE false")
        except asyncpg.PostgresError as error:
            lines.append(f"writing into {table.name}: {error.sqlstate}: {error}")
        finally:
            await attempt.rollback()
    for privileges, names in _PLAIN.items():
        lines += [f"needs {privileges} on {name}" for name in names if not await connection.fetchval(_MAY, name, privileges)]
    if not await connection.fetchval("SELECT has_database_privilege(current_database(), 'TEMPORARY')"):
        lines.append("needs TEMPORARY on the database, for the table in which duplicates are found")
    return lines


def _insert_nothing(table: Table) -> str:
    names = ", ".join(column.name for column in table.columns)
    nothing = ", ".join(f"NULL::{column.type}" for column in table.columns)
    return f"INSERT INTO {table.name} ({names}) SELECT {nothing} WHERE false"


async def stored_names(connection: Connection) -> dict[str, set[str]]:
    """The stored instruments, by exchange."""
    rows = await connection.fetch("SELECT exchange, array_agg(instrument) AS names FROM instruments GROUP BY exchange")
    return {row["exchange"]: set(row["names"]) for row in rows}


async def lease_holders(connection: Connection, name: str) -> list[str]:
    """The running daemons of this name that hold a lease. Each start of a daemon adds eight digits of its own to the name."""
    return [row["holder"] for row in await connection.fetch(_HOLDERS, name)]
