"""The private cluster, on which the tests with a killed or paused server depend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from cluster import Cluster, ClusterError
from installation import NotInstalled, installed

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster("apache", settings={"work_mem": "7MB"}) as made:
        yield made


def alive(pid: int) -> bool:
    stat = Path("/proc", str(pid), "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_settings_reach_the_server(cluster: Cluster):
    names = ["timescaledb.license", "work_mem", "fsync", "timescaledb.telemetry_level", "shared_buffers", "timezone"]
    assert [cluster.sql(f"SHOW {name}") for name in names] == ["apache", "7MB", "on", "off", "256MB", "UTC"]


def test_create_is_idempotent(cluster: Cluster):
    assert cluster.create("twice") == cluster.create("twice") == cluster.dsn("twice")
    assert cluster.sql("SELECT extname FROM pg_extension WHERE extname = 'timescaledb'", "twice") == "timescaledb"


def test_public_cannot_create_temporary_tables(cluster: Cluster):
    cluster.create("temporary")
    assert cluster.sql("SELECT has_database_privilege('public', 'temporary', 'TEMPORARY')") == "f"


def test_an_sql_error_names_the_statement_and_the_database(cluster: Cluster):
    with pytest.raises(ClusterError, match=r"'SELECT nought' on database 'postgres': .*column \"nought\" does not exist"):
        cluster.sql("SELECT nought")


async def test_kill_leaves_no_process_and_start_brings_the_committed_rows_back(cluster: Cluster):
    dsn = cluster.create("killed")
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1), (2)")
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    cluster.kill()
    assert (alive(backend), cluster.running) == (False, False)
    with pytest.raises((OSError, asyncpg.PostgresConnectionError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    cluster.start()
    assert cluster.sql("SELECT array_agg(n ORDER BY n) FROM kept", "killed") == "{1,2}"


async def test_a_paused_server_is_silent_and_a_resumed_one_answers(cluster: Cluster):
    connection = await asyncpg.connect(cluster.dsn())
    cluster.pause()
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT 1", timeout=0.3)
    cluster.resume()
    assert cluster.sql("SELECT 2") == "2"
    connection.terminate()


def test_close_removes_the_data():
    cluster = Cluster()
    cluster.start()
    home = cluster.home
    cluster.close()
    assert (home.exists(), cluster.running) == (False, False)


def test_a_server_does_not_survive_the_process_that_started_it():
    program = "from cluster import Cluster; c = Cluster(); c.start(); print(c._server.pid, c.home, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], cwd=DEPLOY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        pid, home = process.stdout.readline().decode().split()
        assert alive(int(pid))
        process.send_signal(signal.SIGKILL)
    assert until(lambda: not alive(int(pid)))
    with Cluster():  # the next cluster removes the data that the killed process left
        assert not Path(home).exists()


def test_run_gives_the_address_to_a_command_and_returns_its_status():
    run = [sys.executable, str(DEPLOY / "cluster.py"), "run", "--edition", "apache", "--", "bash", "-c"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INGEST__")}
    done = subprocess.run(
        [*run, "echo $INGEST__DATABASE__DSN; exit 3"], capture_output=True, text=True, env=environment, check=False
    )
    address, last_line = done.stdout.splitlines()
    assert address.startswith("postgresql://postgres@127.0.0.1:")
    assert address.endswith("/market")
    assert (done.returncode, last_line, done.stderr) == (3, "cluster: stopped and removed", "")


@pytest.mark.skipif(installed("community"), reason="the Community edition is installed")
def test_without_the_community_edition_its_licence_is_refused():
    with pytest.raises(NotInstalled, match=r"license 'timescale': .* has only the Apache edition"):
        Cluster("timescale")
