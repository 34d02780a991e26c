"""The maintenance tasks of a daemon, by lease: who runs them, their states, and what a change of settings does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from cluster import Cluster

from ingest.daemon.maintenance import Maintenance
from ingest.daemon.maintenance_spec import MaintenanceSpec
from ingest.metrics import Metrics
from ingest.sources.run_state import RunState, State
from ingest.store.leases import acquire
from ingest.store.policies import Desired
from ingest.tables import TABLES
from tests.support.daemon import until

OK = {"rollup": "ok", "sentiment": "ok", "indicators": "ok", "policies": "ok", "audit": "ok"}


def desired(**changes: timedelta | None) -> Desired:
    return Desired(
        retention={table.name: table.retention for table in TABLES} | changes,
        compress_after={table.name: table.compress_after for table in TABLES},
    )


def made(dsn: str | None, holder: str = "one") -> Maintenance:
    return Maintenance(dsn, holder, MaintenanceSpec(desired(), {}), Metrics())


def states(one: Maintenance) -> dict[str, str]:
    return {name: str(state.state) for name, state in one.states.items()}


def refused(state: RunState) -> bool:
    return state.state == State.FAILING and state.detail.startswith("database.admin_dsn: ConnectionRefused")


@asynccontextmanager
async def running(one: Maintenance) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(one.run())
    yield task
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def holders(connection: Any) -> dict[str, str]:
    rows = await connection.fetch("SELECT name, holder FROM leases WHERE expires_at > now()")
    return {row["name"]: row["holder"] for row in rows}


async def test_the_holder_runs_the_tasks_and_gives_the_leases_back(market: str, connection: Any) -> None:
    one = made(market)
    assert states(one) == dict.fromkeys(OK, "waiting")
    async with running(one):
        await until(lambda: states(one) == OK)
        assert await holders(connection) == dict.fromkeys(OK, "one")
    assert await holders(connection) == {}


async def test_another_daemon_holds_a_lease(market: str, connection: Any) -> None:
    await acquire(connection, "rollup", "two", 60)
    one = made(market)
    async with running(one):
        await until(lambda: states(one) == OK | {"rollup": "standby"})
        await connection.execute("DELETE FROM leases WHERE holder = 'two'")
        await until(lambda: states(one) == OK)
        assert await holders(connection) == dict.fromkeys(OK, "one")


async def test_without_admin_dsn_the_tasks_are_disabled_and_the_log_names_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    one = made(None)
    await one.run()
    disabled = {"state": "disabled", "detail": "database.admin_dsn is not set"}
    assert one.status() == dict.fromkeys(OK, disabled)
    assert "maintenance (rollup, sentiment, indicators, policies, audit) is disabled: database.admin_dsn is not set" in caplog.text


async def test_a_refused_connection_is_a_failing_state_with_its_reason() -> None:
    one = made("postgresql://nobody@127.0.0.1:1/nothing")
    async with running(one):
        await until(lambda: all(map(refused, one.states.values())))


async def test_the_tasks_recover_when_the_database_is_back(private_cluster: Callable[..., Cluster]) -> None:
    cluster = private_cluster()
    one = made(cluster.dsn("market"))
    async with running(one):
        await until(lambda: states(one) == OK)
        cluster.kill()
        await until(lambda: one.states["rollup"].state == State.FAILING)
        cluster.start()
        await until(lambda: one.states["rollup"].state == State.OK)


RETENTION = """
    SELECT config->>'drop_after' FROM timescaledb_information.jobs
     WHERE hypertable_name = 'quotes' AND proc_name = 'policy_retention'"""


async def test_a_change_of_policies_takes_effect_at_once(market: str, connection: Any, edition: str) -> None:
    """Each of several reloads in quick succession takes effect."""
    if edition == "apache":
        pytest.skip("has no policies: the daemon applies retention itself, every ten minutes")
    one = made(market)
    async with running(one):
        await until(lambda: states(one) == OK)
        for days in (7, 8, 9):
            one.reload(MaintenanceSpec(desired(quotes=timedelta(days=days)), {}))

            async def kept(text: str = f"{days} days") -> bool:
                return await connection.fetchval(RETENTION) == text

            await until(kept, 5)
