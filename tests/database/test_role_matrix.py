"""Each role may do what the table in schema/README.md says, and nothing else: every statement is run as every role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from cluster import Cluster
from role_matrix import MATRIX, ROLES

from ingest.store.migrate import migrate
from tests.support.roles import login, run_roles


@pytest.mark.parametrize("order", ["roles first", "migrations first"])
async def test_every_statement_is_allowed_to_the_roles_of_the_table_only(
    edition: str, private_cluster: Callable[..., Cluster], order: str
) -> None:
    cluster = private_cluster(edition)
    dsn = cluster.dsn("market") if order == "migrations first" else cluster.create("fresh")
    run_roles(dsn)
    if order == "roles first":
        async with login(dsn, "ingest_migrate") as migrator:
            await migrate(migrator)
    for role in ROLES:
        async with login(dsn, role) as connection:
            allowed = [attempt.statement for attempt in MATRIX if await is_allowed(connection, attempt.statement)]
        assert allowed == [attempt.statement for attempt in MATRIX if role in attempt.may], role


async def is_allowed(connection: asyncpg.Connection[Any], statement: str) -> bool:
    """Whether the statement runs. Only a missing privilege may refuse it, or the Apache edition, which has no jobs."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError):
        return False
    finally:
        await transaction.rollback()
    return True
