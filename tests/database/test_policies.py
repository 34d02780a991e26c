"""The policies of the database follow the settings, and a changed setting takes effect."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from ingest.errors import Stop
from ingest.store.policies import Desired, apply_retention, plan, reconcile
from ingest.store.rollup import buckets_of, mark
from ingest.tables import BARS, TABLES

DAY = timedelta(days=1)
DESIRED = Desired({table.name: table.retention for table in TABLES}, {table.name: table.compress_after for table in TABLES})
JOBS = """
    SELECT proc_name, hypertable_name, schedule_interval,
           (config->>'drop_after')::interval, (config->>'compress_after')::interval,
           (config->>'start_offset')::interval, (config->>'end_offset')::interval
    FROM timescaledb_information.jobs WHERE job_id >= 1000
"""
MINUTES = "SELECT instrument_id, floor(extract(epoch FROM time) / 60)::bigint FROM trades"


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


@pytest.fixture
def community(edition: str) -> None:
    if edition != "community":
        pytest.skip("there are no jobs on the apache edition")


async def jobs(connection: asyncpg.Connection[Any]) -> dict[tuple[str, str], tuple[timedelta | None, ...]]:
    """(policy, relation) -> (age,), and of a refresh (start offset, end offset, schedule interval)."""
    found = {}
    for proc, relation, every, drop, compress, start, end in await connection.fetch(JOBS):
        refresh = (end, every) if "refresh" in proc else ()
        found[proc.removeprefix("policy_"), relation] = (drop or compress or start, *refresh)
    return found


async def put_trades(connection: asyncpg.Connection[Any], *ages: int) -> None:
    """Insert one trade for each age in days; its id is the age."""
    now = datetime.now(UTC)
    rows = [(1, now - age * DAY, age, Decimal(1), Decimal(1), "buy", now, None) for age in ages]
    await connection.copy_records_to_table("trades", records=rows)


async def ages(connection: asyncpg.Connection[Any], relation: str = "trades", column: str = "trade_id") -> list[int]:
    return [row[0] for row in await connection.fetch(f"SELECT {column} FROM {relation} ORDER BY 1")]


@pytest.mark.usefixtures("community")
async def test_the_jobs_are_what_the_settings_say(connection: Any) -> None:
    await reconcile(connection, replace(DESIRED, retention={**DESIRED.retention, "bars_1m": 365 * DAY}))

    minutes, hours = timedelta(minutes=1), timedelta(hours=1)
    assert await jobs(connection) == {
        ("retention", "trades"): (90 * DAY,),
        ("retention", "candles"): (730 * DAY,),
        ("retention", "quotes"): (30 * DAY,),
        ("retention", "order_books"): (30 * DAY,),
        ("retention", "prices"): (1825 * DAY,),
        ("retention", "whale_transactions"): (365 * DAY,),
        ("retention", "onchain_metrics"): (365 * DAY,),
        ("retention", "sentiment_posts"): (90 * DAY,),
        ("retention", "sentiment_scores"): (1825 * DAY,),
        ("retention", "news"): (730 * DAY,),
        ("retention", "stock_indices"): (365 * DAY,),
        ("retention", "indicators"): (90 * DAY,),
        ("retention", "bars_1m_cagg"): (365 * DAY,),
        ("retention", "bars_1m_rollup"): (365 * DAY,),
        ("compression", "trades"): (2 * DAY,),
        ("compression", "candles"): (7 * DAY,),
        ("compression", "quotes"): (2 * DAY,),
        ("compression", "order_books"): (2 * DAY,),
        ("compression", "prices"): (7 * DAY,),
        ("compression", "whale_transactions"): (30 * DAY,),
        ("compression", "onchain_metrics"): (30 * DAY,),
        ("compression", "sentiment_posts"): (30 * DAY,),
        ("compression", "sentiment_scores"): (30 * DAY,),
        ("compression", "news"): (30 * DAY,),
        ("compression", "stock_indices"): (30 * DAY,),
        ("compression", "indicators"): (2 * DAY,),
        ("refresh_continuous_aggregate", "bars_1m_cagg"): (89 * DAY, minutes, 5 * minutes),
        ("refresh_continuous_aggregate", "bars_1h_cagg"): (89 * DAY, hours, 30 * minutes),
        ("refresh_continuous_aggregate", "daily_ohlcv_cagg"): (723 * DAY, DAY, hours),
        ("refresh_continuous_aggregate", "prices_daily_cagg"): (1818 * DAY, DAY, hours),
    }
    assert await reconcile(connection, replace(DESIRED, retention={**DESIRED.retention, "bars_1m": 365 * DAY})) == []


@pytest.mark.usefixtures("community")
async def test_a_changed_setting_replaces_its_job_and_none_removes_it(connection: Any) -> None:
    await reconcile(connection, DESIRED)
    before = await jobs(connection)
    changes = await reconcile(
        connection,
        Desired({**DESIRED.retention, "trades": 10 * DAY, "quotes": None}, {**DESIRED.compress_after, "candles": None}),
    )

    assert sorted(changes) == [
        "added refresh of bars_1h_cagg: 9 days, 0:00:00",
        "added refresh of bars_1m_cagg: 9 days, 0:00:00",
        "added retention of trades: 10 days, 0:00:00",
        "removed columnstore of candles: 7 days, 0:00:00",
        "removed refresh of bars_1h_cagg: 89 days, 0:00:00",
        "removed refresh of bars_1m_cagg: 89 days, 0:00:00",
        "removed retention of quotes: 30 days, 0:00:00",
        "removed retention of trades: 90 days, 0:00:00",
    ]
    after = await jobs(connection)
    gone = {("retention", "quotes"), ("compression", "candles")}
    assert after.keys() == before.keys() - gone
    assert after["retention", "trades"] == (10 * DAY,)


@pytest.mark.usefixtures("community")
async def test_jobs_of_other_people_stay(connection: Any) -> None:
    await connection.execute(
        "CREATE TABLE theirs (time timestamptz NOT NULL); SELECT create_hypertable('theirs', by_range('time'));"
        "SELECT add_retention_policy('theirs', interval '1 day')"
    )
    await reconcile(connection, DESIRED)
    assert (await jobs(connection))["retention", "theirs"] == (DAY,)


@pytest.mark.usefixtures("community")
async def test_a_shorter_retention_drops_chunks_and_the_bars_stay(connection: Any) -> None:
    await put_trades(connection, 1, 5, 20, 50)
    await reconcile(connection, DESIRED)
    await run_jobs(connection, "policy_retention", "trades")
    assert await ages(connection) == [1, 5, 20, 50]

    await reconcile(connection, replace(DESIRED, retention={**DESIRED.retention, "trades": 10 * DAY}))
    await run_jobs(connection, "policy_retention", "trades")
    await run_jobs(connection, "policy_refresh_continuous_aggregate", "bars_1m_cagg", "bars_1h_cagg")

    assert await ages(connection) == [1, 5]
    assert await ages(connection, "bars_1m", "first_trade_id") == [1, 5, 20, 50]
    assert await ages(connection, "bars_1h", "first_trade_id") == [1, 5, 20, 50]


@pytest.mark.usefixtures("community")
async def test_a_shorter_age_compresses_chunks(connection: Any) -> None:
    await put_trades(connection, 0, 3, 9)
    compressed = "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'trades' AND is_compressed"
    await reconcile(connection, replace(DESIRED, compress_after={"trades": 7 * DAY}))
    await run_jobs(connection, "policy_compression", "trades")
    assert await connection.fetchval(compressed) == 1
    await reconcile(connection, replace(DESIRED, compress_after={"trades": 1 * DAY}))
    await run_jobs(connection, "policy_compression", "trades")
    assert await connection.fetchval(compressed) == 2
    assert await ages(connection) == [0, 3, 9]


async def run_jobs(connection: asyncpg.Connection[Any], proc: str, *relations: str) -> None:
    for relation in relations:
        job = await connection.fetchval(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = $1 AND hypertable_name = $2", proc, relation
        )
        await connection.execute(f"CALL run_job({job})")


async def test_the_daemon_drops_chunks_itself_where_there_are_no_jobs(connection: Any, edition: str) -> None:
    """`apply_retention` works on both editions; the daemon uses it on Apache only."""
    await put_trades(connection, 1, 5, 20, 50)
    assert await apply_retention(connection, DESIRED) == []
    if edition == "apache":  # these are not rolled up yet when their trades are dropped
        await mark(connection, buckets_of(["bars_1m"], await connection.fetch(MINUTES)))
    dropped = await apply_retention(connection, replace(DESIRED, retention={**DESIRED.retention, "trades": 10 * DAY}))
    assert len(dropped) == 2
    assert await ages(connection) == [1, 5]
    if edition == "apache":
        assert await ages(connection, "bars_1m", "first_trade_id") == [1, 5, 20, 50]
    assert await apply_retention(connection, replace(DESIRED, retention={"trades": None})) == []
    assert await ages(connection) == [1, 5]


async def test_retention_and_writers_survive_a_deadlock(market: str, connection: Any) -> None:
    """The other transaction locks the chunks in the opposite order, as a reader or writer may."""
    await put_trades(connection, 20, 21)
    other = await asyncpg.connect(market)
    first, second = [row[0] for row in await connection.fetch("SELECT show_chunks('trades')::text ORDER BY 1")]

    async def lock_chunks() -> None:
        async with other.transaction():
            await other.execute(f"LOCK TABLE {second} IN ACCESS SHARE MODE")
            holding.set()
            await blocked(market, connection)
            await other.execute(f"LOCK TABLE {first} IN ACCESS SHARE MODE")

    holding = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        blocking = tasks.create_task(survives(lock_chunks()))
        await holding.wait()
        dropped = tasks.create_task(apply_retention(connection, replace(DESIRED, retention={"trades": 10 * DAY})))
    assert blocking.done()
    assert sorted(dropped.result()) == [first, second]
    assert await ages(connection) == []
    await other.close()


async def survives(work: Any) -> None:
    """Run `work`, which the server may choose to end because of the deadlock."""
    try:
        await work
    except asyncpg.DeadlockDetectedError:
        return


async def blocked(market: str, connection: asyncpg.Connection[Any]) -> None:
    watcher = await asyncpg.connect(market)
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(10):
        while not await watcher.fetchval(query, connection.get_server_pid()):  # noqa: ASYNC110 - the event is the server's
            await asyncio.sleep(0.01)
    await watcher.close()


async def test_chunk_lengths_follow_the_settings_on_both_editions(connection: Any) -> None:
    changes = await reconcile(connection, replace(DESIRED, chunk={**DESIRED.chunk, "quotes": timedelta(hours=6)}))
    assert "chunks of quotes: 1 day, 0:00:00 -> 6:00:00" in changes
    await connection.execute(
        "INSERT INTO quotes (instrument_id, time, writer, received_at)"
        " SELECT 1, '2026-11-20Z'::timestamptz + n * interval '6 hours', '', now() FROM generate_series(0, 3) n"
    )
    assert await connection.fetchval("SELECT count(*) FROM show_chunks('quotes')") == 4


def test_a_retention_shorter_than_the_bars_need_is_refused() -> None:
    with pytest.raises(Stop, match=r"retention\.trades is 1 day, 0:00:00; bars_1h.*at least 1 day, 3:00:00"):
        plan(replace(DESIRED, retention={"trades": DAY}, compress_after={}))
    with pytest.raises(Stop, match=r"retention\.candles is 8 days, 0:00:00; daily_ohlcv.*at least 10 days"):
        plan(replace(DESIRED, retention={"candles": 8 * DAY}, compress_after={}))
    with pytest.raises(Stop, match=r"retention\.bars_1m is 2 days, 0:00:00; bars_1h.*at least 10 days, 3:00:00"):
        plan(replace(DESIRED, retention={"bars_1m": 2 * DAY}, compress_after={}))


def test_without_retention_a_refresh_starts_at_the_first_row() -> None:
    refreshes = {policy.relation: policy.after for policy in plan(Desired({}, {}))}
    assert refreshes == {f"{name}_cagg": None for name in BARS}
