"""A lease that a source holds while it works, so that only one of several daemons on a database does the work."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ingest.store import sqlstate
from ingest.store.leases import acquire, release
from ingest.store.pool import Connection, Pool

LEASE_SECONDS = 60.0  # how long other daemons wait after the holder has died
RENEW_SECONDS = 20.0  # how often a lease is renewed, or requested where another daemon holds it
RELEASE_SECONDS = 1.0


class HeldLease:
    """The lease `name` of one `holder`."""

    def __init__(self, pool: Pool, name: str, holder: str) -> None:
        self._pool = pool
        self._name = name
        self._holder = holder

    async def acquire(self, connection: Connection | None = None) -> bool:
        """Take or renew the lease; False while another holder has it. Raises the driver's errors, untranslated."""
        if connection is not None:
            return await acquire(connection, self._name, self._holder, LEASE_SECONDS)
        async with self._pool.acquire() as own:
            return await acquire(own, self._name, self._holder, LEASE_SECONDS)

    async def release(self) -> None:
        """Release the lease if it is held. Errors are ignored: a lease expires by itself."""
        with suppress(TimeoutError, *sqlstate.FOREIGN):
            async with asyncio.timeout(RELEASE_SECONDS), self._pool.acquire() as connection:
                await release(connection, self._name, self._holder)
