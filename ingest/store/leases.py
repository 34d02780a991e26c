"""Leases: of several daemons on one database, the holder does the work that must happen once.

The rule one would get wrong: whether a lease is over is decided by the database's clock, never by a daemon's own.
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
    """Take or prolong the lease for `seconds` from now. False while it is another holder's."""
    return await connection.fetchval(_ACQUIRE, name, holder, timedelta(seconds=seconds)) is True


async def release(connection: Connection, name: str, holder: str) -> None:
    """Give the lease back, if it is ours, so that another need not wait for its end."""
    await connection.execute("DELETE FROM leases WHERE name = $1 AND holder = $2", name, holder)
