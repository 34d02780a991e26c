"""Leases, with two holders on one database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from ingest.store.leases import acquire, release
from tests.support.daemon import on_apache

pytestmark = on_apache  # a lease is a row of a plain table


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def test_a_lease_has_one_holder_until_it_is_given_back(connection: Any) -> None:
    assert await acquire(connection, "polling", "one", 30)
    assert not await acquire(connection, "polling", "two", 30)
    assert await acquire(connection, "healing", "two", 30)
    await release(connection, "polling", "two")  # not its own: nothing happens
    assert not await acquire(connection, "polling", "two", 30)
    await release(connection, "polling", "one")
    assert await acquire(connection, "polling", "two", 30)


async def test_the_holder_prolongs_by_the_clock_of_the_database(connection: Any) -> None:
    await acquire(connection, "polling", "one", 10)
    assert await acquire(connection, "polling", "one", 60)
    left = await connection.fetchval("SELECT expires_at - clock_timestamp() FROM leases WHERE name = 'polling'")
    assert timedelta(seconds=50) < left <= timedelta(seconds=60)


async def test_an_expired_lease_is_taken_over_and_refused_to_the_old_holder(connection: Any) -> None:
    await acquire(connection, "polling", "one", 30)
    await connection.execute("UPDATE leases SET expires_at = clock_timestamp()")
    assert await acquire(connection, "polling", "two", 30)
    assert not await acquire(connection, "polling", "one", 30)
    assert [tuple(row) for row in await connection.fetch("SELECT name, holder FROM leases")] == [("polling", "two")]


async def test_of_two_requests_at_once_one_gets_the_lease(market: str, connection: Any) -> None:
    """The second waits for the end of the first one's transaction, and is refused."""
    other = await asyncpg.connect(market)
    transaction = connection.transaction()
    await transaction.start()
    assert await acquire(connection, "polling", "one", 30)
    await other.execute("SET lock_timeout = '50ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await acquire(other, "polling", "two", 30)
    await transaction.commit()
    assert not await acquire(other, "polling", "two", 30)
    await other.close()
