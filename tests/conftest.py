"""The databases that the tests run on: a private server for each edition, or the server that DATABASE_URL names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from installation import EDITIONS, Installed, installed

from tests.support.paths import REAL
from tests.support.report import NO_SUCH_EDITION, RAN_ON
from tests.support.servers import Seeds, Server, add_nothing, add_schema, private
from tests.support.versions import usual

pytest_plugins = ["tests.support.daemon", "tests.support.report"]


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Iterator[Callable[[str, Installed | None], Server]]:
    """The server of an edition and version. It is started at its first use; without such a server the test is skipped."""
    clusters: dict[tuple[str, Path], Cluster] = {}
    made: dict[tuple[str, Installed | None], Server] = {}

    def server(edition: str, version: Installed | None) -> Server:
        key = (edition, version)
        if key not in made:
            made[key] = _private(edition, version, clusters) if version else _given(edition)
            pytestconfig.stash[RAN_ON].add(f"{edition} edition, {made[key].versions()}")
        return made[key]

    yield server
    for used in made.values():
        used.close()
    for cluster in clusters.values():
        cluster.close()


def _given(edition: str) -> Server:
    if "DATABASE_URL" not in os.environ:
        pytest.skip(f"the installed TimescaleDB {NO_SUCH_EDITION.format(edition)}")
    server = Server(os.environ["DATABASE_URL"])
    if server.query("SELECT current_setting('timescaledb.license', true)") != EDITIONS[edition]:
        pytest.skip(f"the server of DATABASE_URL {NO_SUCH_EDITION.format(edition)}")
    return server


def _private(edition: str, version: Installed, clusters: dict[tuple[str, Path], Cluster]) -> Server:
    """A server of our own. The versions of TimescaleDB that are installed for one PostgreSQL share a cluster."""
    key = (edition, version.binaries)
    if key not in clusters:
        clusters[key] = private(edition, version)
        clusters[key].start()
    return Server(clusters[key].dsn(), version.timescaledb)


@pytest.fixture(scope="session", params=list(EDITIONS))
def edition(request: pytest.FixtureRequest) -> str:
    """`apache`, then `community`: a test that uses a database runs on both."""
    edition: str = request.param
    return edition


@pytest.fixture(scope="session")
def version(request: pytest.FixtureRequest, edition: str) -> Installed | None:
    """The version of TimescaleDB and PostgreSQL; None is the version of DATABASE_URL's server."""
    version: Installed | None = request.param if hasattr(request, "param") else usual(edition)
    return version


@pytest.fixture(scope="session")
def server(edition: str, version: Installed | None, servers: Callable[[str, Installed | None], Server]) -> Server:
    return servers(edition, version)


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The DSN of an empty database with the extension."""
    dsn = server.create(add_nothing)
    yield dsn
    server.drop(dsn)


@pytest.fixture
def market(server: Server) -> Iterator[str]:
    """The DSN of a database with all migrations applied."""
    dsn = server.create(add_schema)
    yield dsn
    server.drop(dsn)


@pytest.fixture
def other_market(server: Server) -> Iterator[str]:
    """The DSN of a second database with all migrations applied."""
    dsn = server.create(add_schema)
    yield dsn
    server.drop(dsn)


@pytest.fixture(scope="session")
def seeds() -> Iterator[Seeds]:
    made = Seeds()
    yield made
    made.close()


@pytest.fixture
def private_cluster(seeds: Seeds) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters that the test may kill: `private_cluster("apache", work_mem="1MB").dsn("market")` has all migrations."""
    clusters: list[Cluster] = []

    def make(edition: str = "apache", **settings: str) -> Cluster:
        if not installed(edition):
            pytest.skip(f"the installed TimescaleDB {NO_SUCH_EDITION.format(edition)}")
        version = usual(edition)
        cluster = private(edition, version, seed=seeds(edition, version), **settings)
        clusters.append(cluster)
        cluster.start()
        return cluster

    yield make
    for cluster in clusters:
        cluster.close()


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real payloads beside the checkout."""
    if not REAL.is_dir():
        pytest.skip(f"real payloads are absent: {REAL}")
    return REAL
