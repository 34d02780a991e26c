"""Checks that the database can be used: both DSNs connect, and the schema is current."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from ingest.config.sections import Database
from ingest.errors import Hold, Stop
from ingest.sources.run_state import RunState, State
from ingest.store import sqlstate
from ingest.store.migrate import check, migrate
from ingest.store.pool import Connection, connect, without_credentials
from ingest.store.ts_edition import DatabaseInfo


class DatabaseReadiness:
    """The state of the database as the daemon last saw it. The writers, the status and /readyz read it."""

    def __init__(self) -> None:
        self.info: DatabaseInfo | None = None  # None until the first successful check; nothing is written before
        self.state = RunState(State.WAITING, "starting")


async def check_database(database: Database, *, migrate_first: bool = False) -> DatabaseInfo:
    """Connects to both DSNs and checks the schema. Returns edition and versions. `migrate_first` applies pending migrations.

    Raises Retry if the database does not answer, Hold if a person must act (migrations are pending, a password is wrong, a
    database is missing), Stop for a DSN that cannot be parsed.
    """
    async with _connected(database.admin_dsn or database.dsn, "admin_dsn" if database.admin_dsn else "dsn") as connection:
        if migrate_first:
            await migrate(connection)
        report = await check(connection)
    if not report.current:
        raise Hold(f"schema: {len(report.steps)} migrations are pending: run `ingest migrate`")
    if database.admin_dsn:  # else the connection above was the writers'
        async with _connected(database.dsn, "dsn") as connection:
            await connection.execute("SELECT 1")
    return report.database


@asynccontextmanager
async def admin(database: Database) -> AsyncIterator[Connection]:
    """A connection for a command, to `admin_dsn` if it is set, else to `dsn`. Raises Stop if it cannot be opened."""
    dsn = (database.admin_dsn or database.dsn).get_secret_value()
    try:
        connection = await connect(dsn, "ingest cli")
    except sqlstate.FOREIGN as error:
        raise Stop(str(sqlstate.translate(error, "database.admin_dsn" if database.admin_dsn else "database.dsn"))) from error
    try:
        yield connection
    except sqlstate.FOREIGN as error:
        raise sqlstate.translate(error, "querying the database") from error
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
