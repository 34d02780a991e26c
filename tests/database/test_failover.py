"""Claims across a failover to a standby that was behind: rows that the new primary never had are a gap, despite the claims."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from cluster import Cluster
from line import CutLine

from ingest.errors import IngestError
from ingest.metrics import Metrics
from ingest.records import SECOND
from ingest.store.coverage import Claim, to_datetime
from ingest.store.coverage_buffer import CoverageBuffer
from ingest.store.pool import open_pool
from tests.support.daemon import until
from tests.support.servers import private

START = 1_790_000_000 * SECOND
LEDGER = "SELECT instrument_id, state, reason, since, until FROM coverage ORDER BY instrument_id, state, since"


@pytest.fixture
def primary(private_cluster: Callable[..., Cluster]) -> Cluster:
    return private_cluster("apache")


@pytest.fixture
def standby(primary: Cluster) -> Iterator[Cluster]:
    made = private("apache", primary.version)
    yield made
    made.close()


def claim(instrument_id: int, seconds: int) -> Claim:
    return Claim("binance", "one", instrument_id, "trades", "trade", START, START + seconds * SECOND)


async def followed(primary: Cluster, standby: Cluster) -> None:
    """Wait until the standby has replayed everything."""
    query = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()"

    async def caught_up() -> bool:
        return bool(await asyncio.to_thread(primary.sql, query))

    await until(caught_up)


async def test_what_a_promoted_standby_never_had_is_a_gap(primary: Cluster, standby: Cluster) -> None:
    async with CutLine(primary.dsn("market")) as line:
        pool = await open_pool(line.dsn, 2)
        metrics = Metrics()
        buffer = CoverageBuffer(pool, metrics.counters, "one")
        buffer.claim([claim(1, 10), claim(2, 10)])
        await buffer.flush()
        await asyncio.to_thread(standby.follow, primary)
        await followed(primary, standby)
        for statement in ("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"):
            standby.sql(statement)
        await until(lambda: not primary.sql("SELECT 1 FROM pg_stat_replication"))
        buffer.claim([claim(1, 20), claim(2, 20), claim(3, 20)])  # the standby never has the third claim
        await buffer.flush()
        await asyncio.to_thread(primary.kill)
        standby.sql("SELECT pg_promote()")
        line.redirect(standby.dsn("market"))

        async def flushed() -> bool:
            try:
                await buffer.flush()
            except IngestError:  # a connection to the old primary
                return False
            return True

        buffer.claim([claim(1, 30), claim(3, 30)])
        await until(flushed)
        buffer.claim([claim(1, 40), claim(2, 40), claim(3, 40)])  # the second made no claim while the failover was noticed
        await buffer.flush()
        await buffer.flush()
        rows = [tuple(row) for row in await pool.fetch(LEDGER)]
        pool.terminate()
    noticed = rows[1][4]
    assert noticed > to_datetime(START)
    since, until_time = to_datetime(START), to_datetime(START + 40 * SECOND)
    assert rows == [
        (1, "covered", "live", since, until_time),
        (1, "open", "failover", to_datetime(START + 10 * SECOND), noticed),
        (2, "covered", "live", since, until_time),
        (2, "open", "failover", to_datetime(START + 10 * SECOND), noticed),
        (3, "covered", "live", since, until_time),
        (3, "open", "failover", since, noticed),
    ]
    counted = {"source": "binance", "channel": "trades", "reason": "failover"}
    assert metrics.registry.get_sample_value("ingest_gaps_total", counted) == 3
