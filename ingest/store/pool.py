"""Connections and transactions.

The writers' connections may pass through PgBouncer in transaction mode: no prepared statement is kept (`statement_cache_size=0`),
no setting applies to a session, and a temporary table lasts one transaction. https://www.pgbouncer.org/features.html
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
UNDO_SECONDS = 5.0  # a connection whose rollback takes longer is terminated
STATEMENT_SECONDS = 60.0  # longer than any lock or slow commit that is worth waiting for; ends a statement on a dead connection

if TYPE_CHECKING:  # generic for the type checker only
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


def without_credentials(dsn: str) -> str:
    """The host, port and database of a DSN, without user and password."""
    parts = urlsplit(dsn)
    return parts.netloc.rpartition("@")[2] + parts.path


async def connect(dsn: str, application: str = "ingest") -> asyncpg.Connection[asyncpg.Record]:
    """One direct connection, for maintenance and the command line. Raises asyncpg's errors unchanged."""
    return await asyncpg.connect(
        dsn, timeout=CONNECT_SECONDS, statement_cache_size=0, server_settings={"application_name": application}
    )


async def open_pool(dsn: str, size: int) -> Pool:
    """A pool that opens a connection when it is first needed, so that the daemon can start while the database is down."""
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
    assert pool is not None  # create_pool is typed as optional; awaited, it never returns None
    return pool


async def _no_reset(_connection: object) -> None:
    """Do nothing: no state outlives a transaction, and a reset would cost a round trip per batch."""


@asynccontextmanager
async def committed(connection: Connection) -> AsyncIterator[None]:
    """One transaction that is on disk when it ends, whatever the role's synchronous_commit is."""
    try:
        # one round trip; SET LOCAL, because SET would leak to other clients of a pooler
        await connection.execute("BEGIN; SET LOCAL synchronous_commit = on")
        yield
    except BaseException:
        await undo(connection, lambda: connection.execute("ROLLBACK"))
        raise
    await connection.execute("COMMIT")


@asynccontextmanager
async def transaction(connection: Connection, isolation: Literal["read_committed"] | None = None) -> AsyncIterator[None]:
    """asyncpg's transaction, or a savepoint inside one, with a time limit on its rollback.

    asyncpg waits for a rollback without limit, so a cancelled task would hang on a server that does not answer.
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
    """One transaction that is always rolled back, for trying statements."""
    try:
        await connection.execute("BEGIN")
        yield
    finally:
        await undo(connection, lambda: connection.execute("ROLLBACK"))


async def undo(connection: Connection, action: Callable[[], Awaitable[object]]) -> None:
    """Run a rollback or unlock; if it fails or takes longer than UNDO_SECONDS, terminate the connection instead."""
    try:
        async with asyncio.timeout(UNDO_SECONDS):
            await action()
    except (asyncpg.PostgresError, *CONNECTION_ERRORS):
        # not raised: the caller raises the error that led here. The pool may have taken the connection back already.
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
