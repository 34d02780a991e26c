"""The database servers: a primary for all runs, and a second one during a failover.

https://www.postgresql.org/docs/current/warm-standby.html. A former primary is discarded after a failover, because its
timeline differs from that of the new one.
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
SETTINGS = {"fsync": "off"}  # the kernel keeps the writes of a killed process; only a power failure would lose them


class Servers:
    """Two servers: `primary` accepts writes; `other` is a standby or not started."""

    def __init__(self) -> None:
        self.edition = "community" if installed("community") else "apache"
        self.primary, self.other = (Cluster(EDITIONS[self.edition], settings=SETTINGS) for _ in range(2))

    def close(self) -> None:
        for cluster in (self.primary, self.other):
            cluster.close()

    async def start(self) -> None:
        """Start the primary and create a template database with the schema."""
        await asyncio.to_thread(self.primary.start)
        dsn = await asyncio.to_thread(self.primary.create, TEMPLATE)
        connection = await asyncpg.connect(dsn)
        try:
            await migrate(connection)
        finally:
            await connection.close()
        # a template can be cloned only while nothing is connected to it, TimescaleDB's workers included
        await self.sql("SELECT _timescaledb_functions.stop_background_workers()", TEMPLATE)
        await self.sql(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")

    @property
    def dsn(self) -> str:
        """The run's database on the current primary."""
        return self.primary.dsn(MARKET)

    async def sql(self, statement: str, database: str = "postgres") -> str:
        return await asyncio.to_thread(self.primary.sql, statement, database)

    @asynccontextmanager
    async def market(self, tablespace: Path | None = None) -> AsyncIterator[None]:
        """Creates a database with the schema, in `tablespace` if given, and drops it when the block is left."""
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
        """Make the other server a standby. `synchronous`: no commit is acknowledged before the standby has it."""
        await asyncio.to_thread(self.other.follow, self.primary)
        if synchronous:
            await self.set("synchronous_standby_names", "*")
        state = "sync" if synchronous else "async"
        query = f"SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '{state}'"

        async def streams() -> bool:
            return bool(await self.sql(query))

        await until(streams, STREAMING_SECONDS, f"the standby streams ({state})")

    async def set(self, name: str, value: str, *, on_standby: bool = False) -> None:
        """Change a setting that needs no restart."""
        server = self.other if on_standby else self.primary
        for statement in (f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()"):
            await asyncio.to_thread(server.sql, statement)

    async def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        await asyncio.to_thread(self.primary.kill)
        self.primary, self.other = self.other, self.primary
        await self.sql("SELECT pg_promote(true, 30)")


async def fetch(dsn: str, query: str, *values: object) -> list[asyncpg.Record]:
    """Run one query on a new connection."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetch(query, *values)
    finally:
        await connection.close()
