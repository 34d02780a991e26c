"""The databases that the tests run on: a private cluster for each edition, or the server that DATABASE_URL names.

A database is cloned from a template that is made once, so that it costs a few hundredths of a second. A template can be cloned only
while nobody is connected to it, TimescaleDB's own workers included.
https://www.postgresql.org/docs/current/manage-ag-templatedbs.html
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from cluster import Cluster
from installation import EDITIONS, Installed, installed

from tests.support.paths import REAL
from tests.support.versions import usual

pytest_plugins = ["tests.support.daemon"]

T = TypeVar("T")
NO_SUCH_EDITION = "has no {} edition"
NUMBERS = itertools.count()  # of the databases, whose names two servers of one cluster share
RAN_ON = pytest.StashKey[set[str]]()  # edition and versions, for the summary


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a loop and a thread of its own: a test may be inside its loop when it asks for a database."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def _execute(dsn: str, *statements: str) -> str:
    """Run the statements one by one; returns the first value of the last."""
    connection = await asyncpg.connect(dsn, server_settings={"client_min_messages": "error"})
    try:
        return [str(await connection.fetchval(statement)) for statement in statements][-1]
    finally:
        await connection.close()


async def _add_nothing(dsn: str) -> None:
    """The extension is in every database."""


async def _add_schema(dsn: str) -> None:
    from ingest.store.migrate import migrate  # noqa: PLC0415 - tests of pure code must not need it

    connection = await asyncpg.connect(dsn)
    try:
        await migrate(connection)
    finally:
        await connection.close()


class Server:
    """A server on which databases of our own are made and dropped; no other database of it is ever touched.

    They have the extension, in the version that is given, by default the server's default.
    """

    def __init__(self, dsn: str, timescaledb: str = "") -> None:
        self._dsn = dsn
        self._version = timescaledb
        self._templates: dict[Callable[[str], Awaitable[None]], str] = {}
        self._mine: set[str] = set()

    def ask(self, query: str) -> str:
        return wait_for(_execute(self._dsn, query))

    def versions(self) -> str:
        """Of TimescaleDB and PostgreSQL."""
        timescaledb = self._version or self.ask("SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'")
        return f"TimescaleDB {timescaledb}, PostgreSQL {self.ask('SHOW server_version').split()[0]}"

    def create(self, prepare: Callable[[str], Awaitable[None]]) -> str:
        """The DSN of a new database that is as `prepare` leaves it."""
        if prepare not in self._templates:
            self._templates[prepare] = wait_for(self._make_template(prepare))
        name = self._name()
        wait_for(_execute(self._dsn, f"CREATE DATABASE {name} TEMPLATE {self._templates[prepare]}"))
        return self._address(name)

    def drop(self, dsn: str) -> None:
        """Drop a database; TimescaleDB ends its workers there and the server whoever else is still connected."""
        name = urlsplit(dsn).path[1:]
        wait_for(_execute(self._dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        self._mine.discard(name)

    def close(self) -> None:
        for name in sorted(self._mine):
            self.drop(self._address(name))

    async def _make_template(self, prepare: Callable[[str], Awaitable[None]]) -> str:
        name = self._name()
        await _execute(self._dsn, f"CREATE DATABASE {name} TEMPLATE template0")
        extension = "CREATE EXTENSION timescaledb" + (f" VERSION '{self._version}'" if self._version else "")
        await _execute(self._address(name), extension)
        await prepare(self._address(name))
        await _execute(self._address(name), "SELECT _timescaledb_functions.stop_background_workers()")
        await _execute(self._dsn, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        return name

    def _name(self) -> str:
        name = f"ingest_test_{os.getpid()}_{next(NUMBERS)}"
        self._mine.add(name)
        return name

    def _address(self, database: str) -> str:
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Iterator[Callable[[str, Installed | None], Server]]:
    """The server of an edition and version, started when it is first asked for; skips where there is none."""
    clusters: dict[tuple[str, Path], Cluster] = {}
    made: dict[tuple[str, Installed | None], Server] = {}
    ran_on = pytestconfig.stash.setdefault(RAN_ON, set())

    def server(edition: str, version: Installed | None) -> Server:
        key = (edition, version)
        if key not in made:
            made[key] = _private(edition, version, clusters) if version else _given(edition)
            ran_on.add(f"{edition} edition, {made[key].versions()}")
        return made[key]

    yield server
    for one in made.values():
        one.close()
    for cluster in clusters.values():
        cluster.close()


def _given(edition: str) -> Server:
    if "DATABASE_URL" not in os.environ:
        pytest.skip(f"the installed TimescaleDB {NO_SUCH_EDITION.format(edition)}")
    server = Server(os.environ["DATABASE_URL"])
    if server.ask("SELECT current_setting('timescaledb.license', true)") != EDITIONS[edition]:
        pytest.skip(f"the server of DATABASE_URL {NO_SUCH_EDITION.format(edition)}")
    return server


def _private(edition: str, version: Installed, clusters: dict[tuple[str, Path], Cluster]) -> Server:
    """The versions of TimescaleDB that are installed for one PostgreSQL share a cluster."""
    key = (edition, version.binaries)
    if key not in clusters:
        clusters[key] = Cluster(EDITIONS[edition], version=version)
        clusters[key].start()
    return Server(clusters[key].dsn(), version.timescaledb)


@pytest.fixture(scope="session", params=list(EDITIONS))
def edition(request: pytest.FixtureRequest) -> str:
    """`apache`, then `community`: whoever asks for a database is run on both."""
    edition: str = request.param
    return edition


@pytest.fixture(scope="session")
def version(request: pytest.FixtureRequest, edition: str) -> Installed | None:
    """The version of TimescaleDB and PostgreSQL; None: the one that DATABASE_URL's server has."""
    version: Installed | None = request.param if hasattr(request, "param") else usual(edition)
    return version


@pytest.fixture(scope="session")
def server(edition: str, version: Installed | None, servers: Callable[[str, Installed | None], Server]) -> Server:
    return servers(edition, version)


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The DSN of an empty database with the extension."""
    dsn = server.create(_add_nothing)
    yield dsn
    server.drop(dsn)


@pytest.fixture
def market(server: Server) -> Iterator[str]:
    """The DSN of a database with all migrations applied."""
    dsn = server.create(_add_schema)
    yield dsn
    server.drop(dsn)


@pytest.fixture
def other_market(server: Server) -> Iterator[str]:
    """The DSN of a second such database."""
    dsn = server.create(_add_schema)
    yield dsn
    server.drop(dsn)


@pytest.fixture
def private_cluster() -> Iterator[Callable[..., Cluster]]:
    """Make clusters that the test may kill: `private_cluster("apache", work_mem="1MB").dsn("market")` has all migrations."""
    clusters: list[Cluster] = []

    def make(edition: str = "apache", **settings: str) -> Cluster:
        if not installed(edition):
            pytest.skip(f"the installed TimescaleDB {NO_SUCH_EDITION.format(edition)}")
        cluster = Cluster(EDITIONS[edition], settings=settings, version=usual(edition))
        clusters.append(cluster)
        cluster.start()
        wait_for(_add_schema(cluster.create("market")))
        return cluster

    yield make
    for cluster in clusters:
        cluster.close()


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real payloads, which is beside the checkout and not part of it."""
    if not REAL.is_dir():
        pytest.skip(f"real payloads are absent: {REAL}")
    return REAL


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say on what the tests ran, and which edition's were skipped for want of it."""
    for one in sorted(config.stash.get(RAN_ON, ())):
        terminalreporter.write_line(f"tested on: {one}")
    for edition in EDITIONS:
        missing = NO_SUCH_EDITION.format(edition)
        skipped = [report for report in terminalreporter.stats.get("skipped", []) if missing in str(report.longrepr)]
        if skipped:
            terminalreporter.write_line(
                f"{edition} edition: {len(skipped)} tests SKIPPED, {skipped[0].longrepr[2].removeprefix('Skipped: ')}"
            )
