"""Connections for the writers.

They may pass through PgBouncer in transaction mode: no prepared statement is kept (`statement_cache_size=0`), nothing is SET for a
session, and a temporary table lives in one transaction. https://www.pgbouncer.org/features.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from ingest.store.sqlstate import CONNECTION_ERRORS

CONNECT_SECONDS = 10.0
UNDO_SECONDS = 5.0  # a server that does not even roll back has lost this line
STATEMENT_SECONDS = 60.0  # longer than any lock or slow commit we wish to sit through; a black-holed line ends here

if TYPE_CHECKING:  # generic for the type checker only
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


def without_credentials(dsn: str) -> str:
    """Where a DSN leads, without the user and the password."""
    parts = urlsplit(dsn)
    return parts.netloc.rpartition("@")[2] + parts.path


async def connect(dsn: str, application: str = "ingest") -> asyncpg.Connection[asyncpg.Record]:
    """One direct connection, for maintenance and the command line. Raises asyncpg's errors as they are."""
    return await asyncpg.connect(
        dsn, timeout=CONNECT_SECONDS, statement_cache_size=0, server_settings={"application_name": application}
    )


async def open_pool(dsn: str, size: int) -> Pool:
    """A pool that opens its connections when they are first needed, so that the daemon starts while the database is away."""
    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=STATEMENT_SECONDS,
        statement_cache_size=0,
        server_settings={"application_name": "ingest"},
        reset=_no_reset,
    )
    assert pool is not None  # create_pool is typed as optional, awaited it never is
    return pool


async def _no_reset(_connection: object) -> None:
    """Nothing outlives our transactions, so there is nothing to reset: saves a round trip a batch."""


@asynccontextmanager
async def committed(connection: Connection) -> AsyncIterator[None]:
    """One transaction that is on disk when it ends, whatever the role's default of synchronous_commit is."""
    try:
        # one round trip; SET LOCAL, because a plain SET would leak to other clients of a pooler
        await connection.execute("BEGIN; SET LOCAL synchronous_commit = on")
        yield
    except BaseException:
        await undo(connection, lambda: connection.execute("ROLLBACK"))
        raise
    await connection.execute("COMMIT")


@asynccontextmanager
async def transaction(connection: Connection, isolation: Literal["read_committed"] | None = None) -> AsyncIterator[None]:
    """One transaction, or a savepoint within one: asyncpg's own, but that its rollback has an end.

    asyncpg waits for a rollback as long as the server likes, so a cancelled task would stay with a server that answers no more.
    """
    begun = connection.transaction(isolation=isolation)
    await begun.start()
    try:
        yield
    except BaseException:
        await undo(connection, begun.rollback)
        raise
    await begun.commit()


@asynccontextmanager
async def rolled_back(connection: Connection) -> AsyncIterator[None]:
    """One transaction that is always rolled back: for trying."""
    try:
        await connection.execute("BEGIN")
        yield
    finally:
        await undo(connection, lambda: connection.execute("ROLLBACK"))


async def undo(connection: Connection, ask: Callable[[], Awaitable[object]]) -> None:
    """Wait for what gives something back to the server; one that does not answer has lost this connection and it."""
    try:
        async with asyncio.timeout(UNDO_SECONDS):
            await ask()
    except (asyncpg.PostgresError, *CONNECTION_ERRORS):
        # the first error is the one to hear about; the line is of no use any more, and the pool may have taken it back already
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
