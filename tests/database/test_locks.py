"""A session of another role can hold locks that our statements wait for: they do not need them, or say who holds them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from cluster import Cluster

from ingest.errors import Retry
from ingest.indicators.names import parse
from ingest.records import SECOND
from ingest.store import bar_views, migrate, migration_log
from ingest.store.indicators import Selection, compute
from ingest.store.jobs import Job, claim, open_job
from ingest.store.migration_log import LOCK
from tests.support.daemon import on_apache
from tests.support.write_rows import NOW

JOB = Job(source="binance", instrument_id=1, channel="trades", trade_kind="trade", via="rest", since=NOW, until=NOW + SECOND)
ROLE = "locks_reader"
CHUNK_KEY = "SELECT pg_advisory_lock(hashtextextended('ingest chunk ' || $1::bigint || ' ' || $2::bigint, 0))"


@pytest_asyncio.fixture
async def connection(market: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def other(market: str, connection: asyncpg.Connection[Any]) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session of a role without any privilege but to read."""
    await connection.execute(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE}; GRANT SELECT ON candles TO {ROLE}")
    other = await asyncpg.connect(market, server_settings={"application_name": "a notebook"})
    await other.execute(f"SET SESSION AUTHORIZATION {ROLE}")
    yield other
    await other.close()
    await connection.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


@on_apache
async def test_a_schema_change_names_the_session_that_holds_its_lock(
    connection: asyncpg.Connection[Any], other: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_log, "WAIT_SECONDS", 0.2)
    await other.execute(f"SELECT pg_advisory_lock({LOCK})")
    for change in (migrate.migrate(connection), bar_views.switch(connection)):
        with pytest.raises(Retry, match=f"waiting for another schema change: .*pid {other.get_server_pid()} holds the lock"):
            await change
    await other.execute(f"SELECT pg_advisory_unlock({LOCK})")
    assert (await migrate.migrate(connection)).steps == ()


@on_apache
async def test_two_migrations_at_once_wait_for_each_other(connection: asyncpg.Connection[Any], market: str) -> None:
    second = await asyncpg.connect(market)
    async with migration_log.alone(connection):
        waiting = asyncio.create_task(migrate.migrate(second))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    assert (await waiting).steps == ()
    await second.close()


@on_apache
async def test_a_migration_that_waits_for_a_table_names_the_sessions_with_locks(
    connection: asyncpg.Connection[Any], other: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "200ms")
    await other.execute("BEGIN; SELECT FROM candles")
    with pytest.raises(Retry, match=rf"roll back .* \(sessions with locks: .*pid {other.get_server_pid()}\): 55P03"):
        await migrate.migrate(connection, rollback=0)
    await other.execute("ROLLBACK")


@on_apache
async def test_a_chunk_that_another_role_claims_is_not_taken_for_another_process(
    edition: str, private_cluster: Callable[..., Cluster]
) -> None:
    market = private_cluster(edition).dsn("market")
    connection, process = await asyncpg.connect(market), await asyncpg.connect(market)
    await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
    other = await asyncpg.connect(market.replace("postgres@", f"{ROLE}@"), server_settings={"application_name": "a notebook"})
    (chunk,) = await open_job(connection, JOB, [(NOW, NOW + SECOND)])
    await other.execute(CHUNK_KEY, chunk.job_id, chunk.since)
    holder = f"{ROLE}, a notebook, pid {other.get_server_pid()}"
    with pytest.raises(Retry, match=rf"is claimed by a session that runs no backfill \({holder}\): end that session"):
        await claim(connection, chunk)
    await other.execute("SELECT pg_advisory_unlock_all()")
    assert await claim(process, chunk)
    assert not await claim(connection, chunk), "another process of our own has it"
    for each in (connection, process, other):
        await each.close()


@on_apache
async def test_no_advisory_lock_stops_writers_or_indicators(
    connection: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    """The keys are those that the triggers used: any role can compute them."""
    await other.execute("SELECT pg_advisory_lock(hashtext('platform_instruments'))")
    await other.execute("SELECT pg_advisory_lock(hashtext('bitcoin'), hashtext('ab'))")
    await other.execute(f"SELECT pg_advisory_lock({0x696E64696361})")
    async with asyncio.timeout(5):
        await connection.execute(
            "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status)"
            " VALUES ('binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')"
        )
        await connection.execute(
            "INSERT INTO whale_transactions VALUES ('bitcoin', 'ab', 'BTC', 0, now(), 'a', NULL, 'b', NULL, 1, 1e6, 'low', 1, NULL,"
            " 'mempool', now())"
        )
        await compute(connection, Selection((parse("VWAP"),), ("1m",)))
    assert await connection.fetchval("SELECT count(*) FROM platform_instruments") == 2
    assert await connection.fetchval("SELECT count(*) FROM whale_totals") == 1


@on_apache
async def test_a_role_that_reads_cannot_lock_the_rows_of_locks(
    connection: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    await connection.execute(f"GRANT SELECT ON locks TO {ROLE}")
    for strength in ("FOR UPDATE", "FOR SHARE", "FOR KEY SHARE"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await other.execute(f"SELECT FROM locks {strength}")
