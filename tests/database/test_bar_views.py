"""Refreshes of one continuous aggregate that collide wait for each other."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from ingest.store import bar_views
from ingest.store.batch_writer import BatchWriter
from ingest.store.coverage import to_datetime
from ingest.store.pool import open_pool
from ingest.tables import TRADES
from tests.support.write_rows import NOW, batch_of, trade

SINCE, UNTIL = to_datetime(NOW) - timedelta(days=1), to_datetime(NOW) + timedelta(days=1)


@pytest.fixture
async def trades(market: str, edition: str) -> str:
    if edition != "community":
        pytest.skip("there are no continuous aggregates on the apache edition")
    pool = await open_pool(market, 1)
    await BatchWriter(TRADES, pool).write(await batch_of([trade(number) for number in range(2000)]))
    await pool.close()
    return market


async def test_refreshes_at_the_same_time_all_succeed(trades: str) -> None:
    connections = [await asyncpg.connect(trades) for _ in range(4)]
    await asyncio.gather(*(bar_views.refresh(connection, "trades", SINCE, UNTIL) for connection in connections))
    assert await connections[0].fetchval("SELECT sum(trades_count) FROM bars_1m_cagg") == 2000
    for connection in connections:
        await connection.close()


async def test_a_refresh_that_stays_blocked_fails_after_a_time(trades: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session holds the locks that a refresh takes, and this one gives up after a lock_timeout each time."""
    monkeypatch.setattr(bar_views, "BUSY_SECONDS", 0.5)
    holder, connection = await asyncpg.connect(trades), await asyncpg.connect(trades)
    await connection.execute("SET lock_timeout = '100ms'")
    async with holder.transaction():
        await holder.execute("LOCK TABLE _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await bar_views.refresh(connection, "trades", SINCE, UNTIL)
        monkeypatch.setattr(bar_views, "BUSY_SECONDS", 30.0)
        waiting = asyncio.create_task(bar_views.refresh(connection, "trades", SINCE, UNTIL))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    await waiting
    assert await connection.fetchval("SELECT sum(trades_count) FROM bars_1m_cagg") == 2000
    await holder.close()
    await connection.close()
