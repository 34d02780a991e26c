"""The database servers of the runs: a primary that goes on from run to run, and a second one for as long as a failover takes.

https://www.postgresql.org/docs/current/warm-standby.html. A server that was killed after the other was promoted is thrown away: its
history has parted from that of the new primary.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from cluster import Cluster
from installation import EDITIONS, installed

from chaos.waiting import until
from ingest.store.migrate import migrate

STREAMING_SECONDS = 20.0
TEMPLATE = "template_market"
MARKET = "market"
SETTINGS = {"fsync": "off"}  # what a killed process wrote the kernel still has; only the power would have to fail for a loss


class Servers:
    """`primary` takes the writes; `other` is a standby, or nothing at all."""

    def __init__(self) -> None:
        self.edition = "community" if installed("community") else "apache"
        self.primary, self.other = (Cluster(EDITIONS[self.edition], settings=SETTINGS) for _ in range(2))

    def close(self) -> None:
        for one in (self.primary, self.other):
            one.close()

    async def start(self) -> None:
        """The primary, with a template that has the schema."""
        await asyncio.to_thread(self.primary.start)
        dsn = await asyncio.to_thread(self.primary.create, TEMPLATE)
        connection = await asyncpg.connect(dsn)
        try:
            await migrate(connection)
        finally:
            await connection.close()
        # a template can be cloned only while nobody is connected to it, TimescaleDB's own workers included
        await self.sql("SELECT _timescaledb_functions.stop_background_workers()", TEMPLATE)
        await self.sql(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")

    @property
    def dsn(self) -> str:
        """The run's database, on whichever server takes the writes."""
        return self.primary.dsn(MARKET)

    async def sql(self, statement: str, database: str = "postgres") -> str:
        return await asyncio.to_thread(self.primary.sql, statement, database)

    @asynccontextmanager
    async def market(self, tablespace: Path | None = None) -> AsyncIterator[None]:
        """A database with the schema, gone at the end; on a disk of its own where `tablespace` says so."""
        place = "pg_default"
        if tablespace is not None:
            place = "small"
            await self.sql(f"CREATE TABLESPACE {place} LOCATION '{tablespace}'")
        await self.sql(f"CREATE DATABASE {MARKET} TEMPLATE {TEMPLATE} TABLESPACE {place}")
        yield
        # not in a `finally`: after a failure the servers themselves are replaced
        await self.sql(f"DROP DATABASE {MARKET} WITH (FORCE)")
        if tablespace is not None:
            await self.sql(f"DROP TABLESPACE {place}")

    # --- failover -----------------------------------------------------------------------------------------------------------

    async def follow(self, *, synchronous: bool) -> None:
        """The other server becomes a standby; `synchronous`: no commit is acknowledged before the standby has it."""
        await asyncio.to_thread(self.other.follow, self.primary)
        if synchronous:
            await self.set("synchronous_standby_names", "*")
        state = "sync" if synchronous else "async"
        query = f"SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '{state}'"

        async def streams() -> bool:
            return bool(await self.sql(query))

        await until(streams, STREAMING_SECONDS, f"the standby streams ({state})")

    async def set(self, name: str, value: str, *, on_standby: bool = False) -> None:
        """A setting that needs no restart."""
        server = self.other if on_standby else self.primary
        for statement in (f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()"):
            await asyncio.to_thread(server.sql, statement)

    async def fail_over(self) -> None:
        """SIGKILL of the primary; the standby is promoted and takes its place."""
        await asyncio.to_thread(self.primary.kill)
        self.primary, self.other = self.other, self.primary
        await self.sql("SELECT pg_promote(true, 30)")


async def fetch(dsn: str, query: str, *values: object) -> list[asyncpg.Record]:
    """One query on a connection of its own."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetch(query, *values)
    finally:
        await connection.close()
