"""The table `schema_migrations`: which files of schema/ a database has, and the hash of each.

A file that was skipped on the Apache edition is not applied: it is pending again when the database has the Community edition.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from msgspec import Struct

from ingest import __version__
from ingest.errors import Retry, Stop
from ingest.store.lock_holders import holder_of_key
from ingest.store.pool import Connection, undo
from ingest.store.schema_files import File, Schema
from ingest.store.ts_edition import Edition

LOCK = 0x696E67657374  # "ingest": the key of the advisory lock for every schema change
WAIT_SECONDS = 10.0
Status = Literal["applied", "skipped", "rolled_back"]

TABLE = """
CREATE TABLE public.schema_migrations (
    name        text        PRIMARY KEY,
    version     bigint      UNIQUE,      -- NULL: a repeatable file
    sha256      text        NOT NULL,
    edition     text        NOT NULL CHECK (edition IN ('apache', 'community')),
    status      text        NOT NULL CHECK (status IN ('applied', 'skipped', 'rolled_back')),
    applied_at  timestamptz NOT NULL DEFAULT now(),
    app_version text        NOT NULL
);
COMMENT ON TABLE public.schema_migrations IS 'the files that this database has, with their hashes'
"""


class Entry(Struct, frozen=True):
    """One row of `schema_migrations`."""

    name: str
    version: int | None
    sha256: str
    status: Status


@asynccontextmanager
async def alone(connection: Connection) -> AsyncIterator[None]:
    """Hold the lock for schema changes; may be nested. The connection must be direct: the lock belongs to the server session.

    Raises Retry, with the session that holds it, if it is not free within WAIT_SECONDS: any role may take an advisory lock.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        if time.monotonic() > deadline:
            holder = await holder_of_key(connection, LOCK)
            raise Retry(f"waiting for another schema change: {holder or 'another session'} holds the lock", code="55P03")
        await asyncio.sleep(0.1)
    try:
        yield
    finally:
        if not connection.is_closed():
            await undo(connection, lambda: connection.execute("SELECT pg_advisory_unlock($1)", LOCK))


async def create(connection: Connection) -> None:
    """Create the table if it does not exist. The caller holds the lock for schema changes."""
    if not await _exists(connection):
        await connection.execute(TABLE)


async def _exists(connection: Connection) -> bool:
    found: bool = await connection.fetchval("SELECT to_regclass('public.schema_migrations') IS NOT NULL")
    return found


async def read(connection: Connection) -> dict[str, Entry]:
    """All rows by file name; empty if the table does not exist yet."""
    if not await _exists(connection):
        return {}
    rows = await connection.fetch("SELECT name, version, sha256, status FROM public.schema_migrations ORDER BY version, name")
    return {row["name"]: Entry(*row) for row in rows}


async def write(connection: Connection, file: File, status: Status, edition: Edition) -> None:
    """Record the status of `file`, in the caller's transaction."""
    await connection.execute(
        "INSERT INTO public.schema_migrations (name, version, sha256, status, edition, app_version) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (name) DO UPDATE SET sha256 = EXCLUDED.sha256, status = EXCLUDED.status, edition = EXCLUDED.edition,"
        " applied_at = now(), app_version = EXCLUDED.app_version",
        file.name,
        file.version,
        file.sha256,
        status,
        edition,
        __version__,
    )


def verify(schema: Schema, ledger: Mapping[str, Entry]) -> None:
    """Raises Stop if files and rows contradict each other: a file was edited, is unknown, or comes before an applied one."""
    files = {file.name: file for file in schema.versioned}
    present = [entry for entry in ledger.values() if entry.version is not None and entry.status != "rolled_back"]
    for entry in present:
        _verify_entry(entry, files.get(entry.name))
    _verify_order(schema.versioned, {entry.name: entry.version or 0 for entry in present})


def _verify_entry(entry: Entry, file: File | None) -> None:
    if file is None:
        raise Stop(
            f"the database has {entry.name}, which this version of ingest ({__version__}) does not know: install a newer version"
        )
    if file.sha256 != entry.sha256:
        raise Stop(
            f"{file.name} was edited after it had been {entry.status}: its sha256 is {file.sha256}, recorded is {entry.sha256};"
            " restore its text and put the change into a new file"
        )


def _verify_order(files: Sequence[File], present: Mapping[str, int]) -> None:
    newest = max(present, key=lambda name: present[name], default=None)
    for file in files:
        if newest is not None and file.name not in present and (file.version or 0) < present[newest]:
            raise Stop(f"{file.name} is older than {newest}, which the database already has: give it the next free number")
