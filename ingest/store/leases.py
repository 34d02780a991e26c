"""Leases: of several daemons on one database, the holder of a lease does the work that must happen once.

The database's clock decides when a lease expires, never the clock of a daemon.
"""

from __future__ import annotations

from datetime import timedelta

from ingest.store.pool import Connection

_ACQUIRE = """
    INSERT INTO leases AS l (name, holder, expires_at) VALUES ($1, $2, clock_timestamp() + $3)
    ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
    WHERE l.holder = EXCLUDED.holder OR l.expires_at <= clock_timestamp()
    RETURNING true
"""


async def acquire(connection: Connection, name: str, holder: str, seconds: float) -> bool:
    """Take or extend the lease for `seconds` from now. False while another holder has it."""
    return await connection.fetchval(_ACQUIRE, name, holder, timedelta(seconds=seconds)) is True


async def release(connection: Connection, name: str, holder: str) -> None:
    """Release the lease if `holder` has it, so that the next holder need not wait for its end."""
    await connection.execute("DELETE FROM leases WHERE name = $1 AND holder = $2", name, holder)
