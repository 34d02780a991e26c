"""Names the sessions that hold a lock, for the message of an error: a lock_timeout does not say for whom it waited.

https://www.postgresql.org/docs/current/view-pg-locks.html
"""

from __future__ import annotations

from msgspec import Struct

from ingest.store.pool import Connection


class Holder(Struct, frozen=True):
    """A session. `trusted` means that its role may act as the role of the connection that asks."""

    pid: int
    role: str
    application: str
    trusted: bool

    def __str__(self) -> str:
        return f"{self.role}, {self.application or 'no application name'}, pid {self.pid}"


_SESSIONS = """
    SELECT DISTINCT a.pid, a.usename::text AS role, a.application_name AS application,
           pg_has_role(a.usesysid, current_user, 'MEMBER') AS trusted
      FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE l.granted AND a.pid <> pg_backend_pid() AND a.usename IS NOT NULL
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_OF_KEY = f"{_SESSIONS} AND l.locktype = 'advisory' AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = $1"
_OF_TABLES = f"""{_SESSIONS} AND l.locktype = 'relation' AND l.relation IN (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('public', 'market', '_timescaledb_internal') AND c.relkind IN ('r', 'v', 'p'))
    ORDER BY a.pid LIMIT 5"""


async def holder_of_key(connection: Connection, key: int) -> Holder | None:
    """The session that holds the advisory lock `key`; None if it is free by now."""
    row = await connection.fetchrow(_OF_KEY, key)
    return Holder(*row) if row else None


async def holders_of_tables(connection: Connection) -> list[Holder]:
    """At most five sessions that hold a lock on a table or view of the schema."""
    return [Holder(*row) for row in await connection.fetch(_OF_TABLES)]
