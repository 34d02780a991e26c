"""Detects TimescaleDB's edition and version, PostgreSQL's version, and the version of the schema.

The setting `timescaledb.license` does not prove the Community edition: a server without the Community library may have any value,
and the extension's comment in `\\dx` says "Community" on an Apache server too. So a Community function is called.
https://docs.timescale.com/about/latest/timescaledb-editions/
"""

from __future__ import annotations

import re
from typing import Literal

import asyncpg
from msgspec import Struct

from ingest.errors import Stop
from ingest.store.pool import Connection, transaction

Edition = Literal["apache", "community"]
OLDEST = (2, 19)  # 2.18.1 fixed an ON CONFLICT that lost rows on compressed chunks; Debian 13 ships 2.19.3


class DatabaseInfo(Struct, frozen=True):
    """The versions of one database. `schema_version` is the newest migration that was applied or skipped, 0 for none."""

    edition: Edition
    timescaledb: str
    postgres: str
    schema_version: int

    def __str__(self) -> str:
        return f"TimescaleDB {self.timescaledb} ({self.edition} edition), PostgreSQL {self.postgres}"


VERSION = "SELECT max(version) FROM public.schema_migrations WHERE status <> 'rolled_back'"


async def detect(connection: Connection) -> DatabaseInfo:
    """Query the database. Raises Stop if TimescaleDB is missing or older than 2.19."""
    row = await connection.fetchrow(
        "SELECT current_database(), current_setting('server_version'),"
        " (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), to_regclass('public.schema_migrations') IS NOT NULL"
    )
    assert row is not None  # a SELECT without FROM has one row
    database, postgres, timescaledb, ledger = row
    if timescaledb is None:
        raise Stop(f"database {database!r} has no TimescaleDB: its owner or a superuser runs CREATE EXTENSION timescaledb")
    require(timescaledb)
    version = await connection.fetchval(VERSION) if ledger else None
    return DatabaseInfo(await _edition(connection), timescaledb, postgres.split()[0], version or 0)


def require(timescaledb: str) -> None:
    """Raises Stop if this version of TimescaleDB is older than OLDEST."""
    found = tuple(int(part) for part in re.findall(r"\d+", timescaledb)[:2])
    if found < OLDEST:
        raise Stop(f"TimescaleDB {timescaledb} is too old: at least {OLDEST[0]}.{OLDEST[1]} is needed, 2.29.1 or later is advised")


async def _edition(connection: Connection) -> Edition:
    if await connection.fetchval("SELECT current_setting('timescaledb.license', true)") == "apache":
        return "apache"
    try:
        async with transaction(connection):  # a savepoint if the caller is in a transaction
            await connection.execute("SELECT alter_job(-1, if_exists => true)")
    except asyncpg.FeatureNotSupportedError:
        return "apache"
    return "community"
