"""Database servers for tests, and databases on them.

A database is cloned from a template that is made once. A template can be cloned only while no session is connected to it, those of
TimescaleDB's own workers included. https://www.postgresql.org/docs/current/manage-ag-templatedbs.html

Private servers keep their data in memory where enough of it is available. Each test creates and drops a database of 350 files. A
file system without a journal examines every recently deleted inode before it reuses one, which costs 0.5 s of CPU for one database;
in memory it is 0.03 s.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from cluster import Cluster
from installation import EDITIONS, Installed

from tests.support.paths import ROOT

T = TypeVar("T")
NUMBERS = itertools.count()  # in the names of databases; shared, because two `Server`s may use one cluster
MEMORY = Path("/dev/shm")
GIGABYTE = 1 << 30
SETTINGS = {
    "fsync": "off",  # the kernel keeps what a killed server wrote; only a power cut would lose it
    "max_wal_size": "512MB",
}


def root() -> Path | None:
    """A folder in memory for the data of private servers; None, which means the disk, below 6 GB available or 4 GB free there."""
    available = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    if not available or int(available[1]) * 1024 < 6 * GIGABYTE:
        return None
    if not MEMORY.is_mount() or shutil.disk_usage(MEMORY).free < 4 * GIGABYTE:
        return None
    folder = MEMORY / f"ingest-{os.geteuid()}-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


def private(edition: str, version: Installed | None, *, seed: Path | None = None, **settings: str) -> Cluster:
    """A private server, not started yet; `seed` is the data folder of a stopped server to copy."""
    return Cluster(EDITIONS[edition], root=root(), seed=seed, settings=SETTINGS | settings, version=version)


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new thread with its own event loop, because a test's loop may be running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def execute(dsn: str, *statements: str) -> str:
    """Run the statements one by one; returns the first value of the last."""
    connection = await asyncpg.connect(dsn, server_settings={"client_min_messages": "error"})
    try:
        return [str(await connection.fetchval(statement)) for statement in statements][-1]
    finally:
        await connection.close()


async def add_nothing(dsn: str) -> None:
    """Prepare nothing: every database has the extension."""


async def add_schema(dsn: str) -> None:
    """Apply all migrations."""
    from ingest.store.migrate import migrate  # noqa: PLC0415 - tests of pure code must not need it

    connection = await asyncpg.connect(dsn)
    try:
        await migrate(connection)
    finally:
        await connection.close()


class Seeds:
    """The data of stopped servers, one for each edition and version, with a database `market` that has all migrations.

    A copy of it starts in 0.2 s; making a server and migrating takes 2 s of CPU.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, Installed | None], Cluster] = {}

    def __call__(self, edition: str, version: Installed | None) -> Path:
        key = (edition, version)
        if key not in self._made:
            cluster = private(edition, version)
            cluster.start()
            wait_for(add_schema(cluster.create("market")))
            cluster.stop()
            self._made[key] = cluster
        return self._made[key].data

    def close(self) -> None:
        for cluster in self._made.values():
            cluster.close()


class Server:
    """A server on which the tests create and drop databases of their own; it touches no other database.

    The databases have the extension in the version `timescaledb`, or in the server's default version.
    """

    def __init__(self, dsn: str, timescaledb: str = "") -> None:
        self._dsn = dsn
        self._version = timescaledb
        self._templates: dict[Callable[[str], Awaitable[None]], str] = {}
        self._mine: set[str] = set()

    def query(self, query: str) -> str:
        return wait_for(execute(self._dsn, query))

    def versions(self) -> str:
        """The versions of TimescaleDB and PostgreSQL, as text."""
        timescaledb = self._version or self.query("SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'")
        return f"TimescaleDB {timescaledb}, PostgreSQL {self.query('SHOW server_version').split()[0]}"

    def create(self, prepare: Callable[[str], Awaitable[None]]) -> str:
        """The DSN of a new database, a clone of one that `prepare` has prepared."""
        if prepare not in self._templates:
            self._templates[prepare] = wait_for(self._make_template(prepare))
        name = self._name()
        wait_for(execute(self._dsn, f"CREATE DATABASE {name} TEMPLATE {self._templates[prepare]}"))
        return self._address(name)

    def drop(self, dsn: str) -> None:
        """Drop a database. TimescaleDB ends its workers there, and the server ends the other sessions."""
        name = urlsplit(dsn).path[1:]
        wait_for(execute(self._dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        self._mine.discard(name)

    def close(self) -> None:
        for name in sorted(self._mine):
            self.drop(self._address(name))

    async def _make_template(self, prepare: Callable[[str], Awaitable[None]]) -> str:
        name = self._name()
        await execute(self._dsn, f"CREATE DATABASE {name} TEMPLATE template0")
        extension = "CREATE EXTENSION timescaledb" + (f" VERSION '{self._version}'" if self._version else "")
        await execute(self._address(name), extension)
        await prepare(self._address(name))
        await execute(self._address(name), "SELECT _timescaledb_functions.stop_background_workers()")
        await execute(self._dsn, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        return name

    def _name(self) -> str:
        name = f"ingest_test_{os.getpid()}_{next(NUMBERS)}"
        self._mine.add(name)
        return name

    def _address(self, database: str) -> str:
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{database}"))
