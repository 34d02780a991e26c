"""The databases that the tests run on: a private cluster for each edition, or the server that DATABASE_URL names.

A database is cloned from a template that is made once, so that it costs a few hundredths of a second.
https://www.postgresql.org/docs/current/manage-ag-templatedbs.html
The rule one would get wrong: a template can be cloned only while nobody is connected to it, TimescaleDB's own workers included.
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
from cluster import EDITIONS, Cluster, community_available

pytest_plugins = ["daemon"]
pytest.register_assert_rewrite("tests.recordings.whole")  # what differs is shown, as in a test

T = TypeVar("T")
REAL = Path(__file__).parent.parent.parent / "shared" / "real"
NO_SUCH_EDITION = "has no {} edition"
RAN_ON = pytest.StashKey[dict[str, str]]()  # edition -> the server's versions, for the summary


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


async def _add_extension(dsn: str) -> None:
    await _execute(dsn, "CREATE EXTENSION timescaledb")


async def _add_schema(dsn: str) -> None:
    from ingest.store.migrate import migrate  # noqa: PLC0415 - tests of pure code must not need it

    await _add_extension(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        await migrate(connection)
    finally:
        await connection.close()


class Server:
    """A server on which databases of our own are made and dropped; no other database of it is ever touched."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._numbers = itertools.count()
        self._templates: dict[Callable[[str], Awaitable[None]], str] = {}
        self._mine: set[str] = set()

    def ask(self, query: str) -> str:
        return wait_for(_execute(self._dsn, query))

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
        await prepare(self._address(name))
        await _execute(self._address(name), "SELECT _timescaledb_functions.stop_background_workers()")
        await _execute(self._dsn, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        return name

    def _name(self) -> str:
        name = f"ingest_test_{os.getpid()}_{next(self._numbers)}"
        self._mine.add(name)
        return name

    def _address(self, database: str) -> str:
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Iterator[Callable[[str], Server]]:
    """The server of an edition, started when it is first asked for; skips where there is none."""
    made: dict[str, Server] = {}
    clusters: list[Cluster] = []
    versions = pytestconfig.stash.setdefault(RAN_ON, {})

    def server(edition: str) -> Server:
        if edition not in made:
            made[edition] = _given(edition) if "DATABASE_URL" in os.environ else _private(edition, clusters)
            asked = "SELECT current_setting('server_version') || ', TimescaleDB ' || default_version"
            versions[edition] = made[edition].ask(f"{asked} FROM pg_available_extensions WHERE name = 'timescaledb'")
        return made[edition]

    yield server
    for one in made.values():
        one.close()
    for cluster in clusters:
        cluster.close()


def _given(edition: str) -> Server:
    server = Server(os.environ["DATABASE_URL"])
    if server.ask("SELECT current_setting('timescaledb.license', true)") != EDITIONS[edition]:
        pytest.skip(f"the server of DATABASE_URL {NO_SUCH_EDITION.format(edition)}")
    return server


def _private(edition: str, clusters: list[Cluster], **settings: str) -> Server:
    """A cluster; its `close` is the caller's, who finds it at the end of `clusters`."""
    if edition == "community" and not community_available():
        pytest.skip(f"the installed TimescaleDB {NO_SUCH_EDITION.format(edition)}")
    cluster = Cluster(EDITIONS[edition], settings=settings)
    clusters.append(cluster)
    cluster.start()
    return Server(cluster.dsn())


@pytest.fixture(scope="session", params=list(EDITIONS))
def edition(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> str:
    """`apache`, then `community`: whoever asks for a database is run on both."""
    edition: str = request.param
    servers(edition)
    return edition


@pytest.fixture
def database(edition: str, servers: Callable[[str], Server]) -> Iterator[str]:
    """The DSN of an empty database with the extension."""
    dsn = servers(edition).create(_add_extension)
    yield dsn
    servers(edition).drop(dsn)


@pytest.fixture
def market(edition: str, servers: Callable[[str], Server]) -> Iterator[str]:
    """The DSN of a database with all migrations applied."""
    dsn = servers(edition).create(_add_schema)
    yield dsn
    servers(edition).drop(dsn)


@pytest.fixture
def other_market(edition: str, servers: Callable[[str], Server]) -> Iterator[str]:
    """The DSN of a second such database."""
    dsn = servers(edition).create(_add_schema)
    yield dsn
    servers(edition).drop(dsn)


@pytest.fixture
def private_cluster() -> Iterator[Callable[..., Cluster]]:
    """Make clusters that the test may kill: `private_cluster("apache", work_mem="1MB").dsn("market")` has all migrations."""
    clusters: list[Cluster] = []

    def make(edition: str = "apache", **settings: str) -> Cluster:
        _private(edition, clusters, **settings)
        wait_for(_add_schema_to(clusters[-1]))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()


async def _add_schema_to(cluster: Cluster) -> None:
    await _execute(cluster.dsn(), "CREATE DATABASE market")
    await _add_schema(cluster.dsn("market"))


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real payloads, which is beside the checkout and not part of it."""
    if not REAL.is_dir():
        pytest.skip(f"real payloads are absent: {REAL}")
    return REAL


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say on what the tests ran, and which edition's were skipped for want of it."""
    for edition, versions in config.stash.get(RAN_ON, {}).items():
        terminalreporter.write_line(f"{edition} edition: tested on PostgreSQL {versions}")
    for edition in EDITIONS:
        missing = NO_SUCH_EDITION.format(edition)
        skipped = [report for report in terminalreporter.stats.get("skipped", []) if missing in str(report.longrepr)]
        if skipped:
            terminalreporter.write_line(
                f"{edition} edition: {len(skipped)} tests SKIPPED, {skipped[0].longrepr[2].removeprefix('Skipped: ')}"
            )
