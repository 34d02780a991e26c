"""Whether the database can be worked with: it answers on both addresses, and its schema is current."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from ingest.config.sections import Database
from ingest.errors import Hold, Stop
from ingest.store import sqlstate
from ingest.store.migrate import check, migrate
from ingest.store.pool import Connection, connect, without_credentials
from ingest.store.ts_edition import DatabaseInfo


async def look(database: Database, *, bring_up: bool = False) -> DatabaseInfo:
    """Its edition and versions. `bring_up` applies pending migrations first.

    Raises Retry while it does not answer, Hold where a person must do something (migrations are pending, a password is wrong, a
    database is missing), Stop for an address that cannot be read.
    """
    async with _connected(database.admin_dsn or database.dsn, "admin_dsn" if database.admin_dsn else "dsn") as connection:
        if bring_up:
            await migrate(connection)
        report = await check(connection)
    if not report.current:
        raise Hold(f"schema: {len(report.steps)} migrations are pending: run `ingest migrate`")
    if database.admin_dsn:  # else the writers' address has just answered
        async with _connected(database.dsn, "dsn") as connection:
            await connection.execute("SELECT 1")
    return report.database


@asynccontextmanager
async def admin(database: Database) -> AsyncIterator[Connection]:
    """A direct connection for a command, as the owner's member where there is one. Raises Stop where it cannot be had."""
    dsn = (database.admin_dsn or database.dsn).get_secret_value()
    try:
        connection = await connect(dsn, "ingest cli")
    except sqlstate.FOREIGN as error:
        raise Stop(str(sqlstate.translate(error, "database.admin_dsn" if database.admin_dsn else "database.dsn"))) from error
    try:
        yield connection
    except sqlstate.FOREIGN as error:
        raise sqlstate.translate(error, "asking the database") from error
    finally:
        connection.terminate()


@asynccontextmanager
async def _connected(dsn: SecretStr, setting: str) -> AsyncIterator[Connection]:
    address = dsn.get_secret_value()
    try:
        connection = await connect(address)
        try:
            yield connection
        finally:
            connection.terminate()
    except sqlstate.FOREIGN as error:
        raise sqlstate.translate(
            error, f"connecting to the database at {without_credentials(address)} (database.{setting})"
        ) from error
