"""The roles of schema/roles.sql on a private cluster, because roles belong to the whole cluster."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from installation import find_binaries

from ingest.store.schema_files import find


def run_roles(dsn: str) -> None:
    """Run schema/roles.sql as the superuser of `dsn`."""
    command = [str(find_binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", str(find() / "roles.sql")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def as_role(dsn: str, role: str) -> str:
    """The DSN with another user, without a password."""
    return urlsplit(dsn)._replace(netloc=f"{role}@{urlsplit(dsn).netloc.rpartition('@')[2]}").geturl()


@asynccontextmanager
async def login(dsn: str, role: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(as_role(dsn, role), statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()
