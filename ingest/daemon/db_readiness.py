"""Checks that the database can be used: both DSNs connect, the schema is current, and the server answers."""

from __future__ import annotations

import asyncio
import logging
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

ANSWER_SECONDS = 5.0  # without an answer for so long, the database is unreachable
CHECK_SECONDS = 1.0

log = logging.getLogger(__name__)


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


async def watch_database(readiness: DatabaseReadiness, database: Database) -> None:
    """Check until cancelled that the database answers, because writers do not notice a failure while no row arrives.

    The connection is not one of the pool: on a server that is frozen those are busy until their statements time out, and a pool
    waits for a connection that it takes back.
    """
    connection: Connection | None = None
    try:
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    connection = connection or await connect(database.dsn.get_secret_value())
                    await connection.execute("SELECT 1")
                if readiness.state.state is not State.OK:
                    log.info("the database answers")
                readiness.state = RunState(State.OK)
            except sqlstate.FOREIGN as error:
                failure = str(sqlstate.translate(error, "querying the database"))
                if readiness.state.state is State.OK:
                    log.error("%s", failure)
                readiness.state = RunState(State.FAILING, failure)
                if connection is not None:
                    connection.terminate()
                connection = None
            await asyncio.sleep(CHECK_SECONDS)
    finally:
        if connection is not None:
            connection.terminate()


@asynccontextmanager
async def admin(database: Database) -> AsyncIterator[Connection]:
    """A connection for a command, to `admin_dsn` if it is set, else to `dsn`. Raises Stop if it cannot be opened."""
    setting = "admin_dsn" if database.admin_dsn else "dsn"
    async with _for_command(database.admin_dsn or database.dsn, setting) as connection:
        yield connection


@asynccontextmanager
async def writer(database: Database) -> AsyncIterator[Connection]:
    """As `admin`, to `dsn`."""
    async with _for_command(database.dsn, "dsn") as connection:
        yield connection


@asynccontextmanager
async def _for_command(dsn: SecretStr, setting: str) -> AsyncIterator[Connection]:
    try:
        connection = await connect(dsn.get_secret_value(), "ingest cli")
    except sqlstate.FOREIGN as error:
        raise Stop(str(sqlstate.translate(error, f"database.{setting}"))) from error
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
