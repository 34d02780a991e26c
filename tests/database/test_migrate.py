"""The migration runner on both editions: forward and back, refusals, interruptions, two at once, and a changed edition."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cluster import Cluster
from installation import EDITIONS, installed

from ingest.errors import Retry, Stop
from ingest.store import bar_views, migration_log
from ingest.store.migrate import check, migrate
from ingest.store.policies import Desired, reconcile
from ingest.store.rollup import buckets_of, mark, roll_up
from ingest.store.schema_files import Schema, find, read
from ingest.store.ts_edition import detect, require
from tests.support.servers import private

CATALOGUE = """
    SELECT c.oid::regclass::text AS relation, c.relkind::text, c.reloptions::text, obj_description(c.oid, 'pg_class'),
           CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END AS view,
           ARRAY(SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull::text || ' ' || attidentity::text
                 FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum) AS columns,
           ARRAY(SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = c.oid ORDER BY 1) AS constraints,
           ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid ORDER BY 1) AS indexes,
           ARRAY(SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal ORDER BY 1) AS triggers
    FROM pg_class c
    WHERE c.relnamespace::regnamespace::text !~ '^(pg_|information_schema|_?timescaledb)' AND c.relkind IN ('r', 'v', 'S', 'm')
    ORDER BY 1
"""
REST = """
    SELECT 'function ' || pg_get_functiondef(p.oid) FROM pg_proc p
    WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|_?timescaledb)'
    UNION ALL SELECT format('chunks of %s: %s by %s', hypertable_name, time_interval, column_name)
    FROM timescaledb_information.dimensions WHERE hypertable_schema = 'public'
    UNION ALL SELECT format('columnstore of %s: %s; %s', hypertable, segmentby, orderby)
    FROM timescaledb_information.hypertable_columnstore_settings WHERE segmentby IS NOT NULL
    ORDER BY 1
"""


@pytest.fixture
async def connection(database: str) -> Any:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def catalogue(connection: asyncpg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Everything in our schemas, as text; numbers that TimescaleDB counts up are replaced by *."""
    rows = [tuple(row) for row in await connection.fetch(CATALOGUE)] + [tuple(row) for row in await connection.fetch(REST)]
    return [tuple(re.sub(r"hypertable_\d+|cagg_watermark\(\d+\)", "*", str(value)) for value in row) for row in rows]


async def entries(connection: asyncpg.Connection[Any]) -> dict[str, str]:
    return {name: entry.status for name, entry in (await migration_log.read(connection)).items()}


def expected(edition: str) -> dict[str, str]:
    schema = read(find())
    skipped = edition == "apache"
    versioned = {file.name: "skipped" if skipped and file.community_only else "applied" for file in schema.versioned}
    return versioned | {file.name: "applied" for file in schema.repeatable}


# --- forward and back ---------------------------------------------------------------------------------------------------


async def test_every_file_is_applied_and_logged(connection: Any, edition: str) -> None:
    pending = await check(connection)
    report = await migrate(connection)

    assert [str(step) for step in pending.steps] == [str(step) for step in report.steps]
    assert not pending.current
    assert (await check(connection)).current
    assert await entries(connection) == expected(edition)
    assert report.database == await detect(connection)
    assert (report.database.edition, report.database.schema_version) == (edition, read(find()).version)


async def test_a_dry_run_changes_nothing(connection: Any) -> None:
    before = await catalogue(connection)
    report = await migrate(connection, dry_run=True)
    assert len(report.steps) == len(read(find()).versioned) + len(read(find()).repeatable)
    assert await catalogue(connection) == before


async def test_a_second_run_does_nothing(connection: Any) -> None:
    await migrate(connection)
    before = await catalogue(connection)
    assert (await migrate(connection)).current
    assert await catalogue(connection) == before


async def test_back_to_nothing_and_forward_again_is_the_same_catalogue(connection: Any, edition: str) -> None:
    empty = await catalogue(connection)
    await migrate(connection)
    full = await catalogue(connection)

    await migrate(connection, rollback=0)
    left = [row for row in await catalogue(connection) if row[0] != "schema_migrations"]
    assert left == empty
    assert set((await entries(connection)).values()) == {"rolled_back"}

    await migrate(connection)
    assert await catalogue(connection) == full
    assert await entries(connection) == expected(edition)


async def test_one_step_at_a_time(connection: Any) -> None:
    """Up to each version and back from it: no file depends on a later one."""
    schema = read(find())
    await migrate(connection, to=schema.versioned[0].version)
    for earlier, later in zip(schema.versioned, schema.versioned[1:], strict=False):
        before = await catalogue(connection)
        await migrate(connection, to=later.version)
        await migrate(connection, rollback=earlier.version)
        assert await catalogue(connection) == before, later.name
        await migrate(connection, to=later.version)


async def test_every_file_and_every_rollback_can_run_twice(connection: Any, edition: str) -> None:
    schema = read(find())
    files = [file for file in schema.versioned if edition == "community" or not file.community_only]
    await migrate(connection)
    before = await catalogue(connection)
    for file in files:
        await connection.execute(file.text)
    assert await catalogue(connection) == before

    for file in schema.repeatable:
        await connection.execute(file.rollback + file.rollback)
    await bar_views.remove(connection)
    await bar_views.remove(connection)
    for file in reversed(files):
        await connection.execute(file.rollback + file.rollback)
    assert [row[0] for row in await catalogue(connection) if row[0] != "schema_migrations"] == ["schema public"]


async def test_rows_survive_a_rollback_of_later_files(connection: Any) -> None:
    await migrate(connection)
    await connection.execute("INSERT INTO leases VALUES ('polling', 'one', now())")
    await migrate(connection, rollback=460)
    await migrate(connection)
    assert await connection.fetchval("SELECT holder FROM leases") == "one"


async def test_compressed_chunks_are_made_rows_again_by_the_rollback(connection: Any, edition: str) -> None:
    if edition != "community":
        pytest.skip("there is no compression on the apache edition")
    await migrate(connection)
    await put_trades(connection, edition, 0, 1)
    await connection.execute("SELECT compress_chunk(chunk) FROM show_chunks('trades') AS chunk")
    await migrate(connection, rollback=560)
    assert await connection.fetchval("SELECT array_agg(trade_id ORDER BY trade_id) FROM trades") == [0, 1]


# --- what is refused ----------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Schema:
    """A copy of the schema files, which a test may change."""
    return read(Path(shutil.copytree(find(), tmp_path / "schema")))


def rewrite(schema: Schema, name: str, text: str) -> Schema:
    path = schema.folder / name
    path.write_text(text)
    rollback = path.with_suffix(".rollback.sql")
    rollback.touch()
    return read(schema.folder)


async def test_an_edited_file_is_refused_with_both_hashes(connection: Any, copy: Schema) -> None:
    await migrate(connection, schema=copy)
    before = copy.versioned[1]
    edited = rewrite(copy, before.name, before.text + "-- one more word\n")
    with pytest.raises(Stop, match=f"{before.name} was edited.*{edited.versioned[1].sha256}.*{before.sha256}"):
        await migrate(connection, schema=edited)


async def test_a_database_that_is_ahead_is_refused(connection: Any, copy: Schema) -> None:
    newer = rewrite(copy, "migrations/9000_later.sql", "CREATE TABLE later ()")
    await migrate(connection, schema=newer)
    with pytest.raises(Stop, match=r"the database has migrations/9000_later.sql, which .* does not know"):
        await check(connection)


async def test_a_file_that_comes_too_late_is_refused(connection: Any, copy: Schema) -> None:
    await migrate(connection, schema=copy)
    late = rewrite(copy, "migrations/0101_late.sql", "CREATE TABLE late ()")
    with pytest.raises(Stop, match=f"0101_late.sql is older than {copy.versioned[-1].name}, which the database already has"):
        await migrate(connection, schema=late)


async def test_names_without_a_version_and_versions_used_twice_are_refused(copy: Schema) -> None:
    with pytest.raises(Stop, match=r"migrations/trades.sql: a migration is called NNNN_<noun>.sql"):
        rewrite(copy, "migrations/trades.sql", "")
    (copy.folder / "migrations/trades.sql").unlink()
    with pytest.raises(Stop, match="have the same version"):
        rewrite(copy, "community/0200_more.sql", "")


async def test_an_unknown_version_is_refused(connection: Any) -> None:
    with pytest.raises(Stop, match="there is no version 7; known: 100, "):
        await migrate(connection, to=7)


async def test_a_file_that_fails_changes_nothing_and_the_message_names_it(connection: Any, copy: Schema) -> None:
    broken = rewrite(copy, "migrations/9000_broken.sql", "CREATE TABLE half (); SELECT 1 / 0")
    with pytest.raises(Stop, match=r"apply migrations/9000_broken.sql: 22012: division by zero"):
        await migrate(connection, schema=broken)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert "migrations/9000_broken.sql" not in await entries(connection)


async def test_a_changed_repeatable_file_runs_again(connection: Any, copy: Schema) -> None:
    await migrate(connection, schema=copy)
    market = next(file for file in copy.repeatable if file.name == "repeatable/market.sql")
    changed = rewrite(copy, market.name, market.text.replace("i.exchange, i.instrument,", "i.exchange, i.symbol, i.instrument,"))
    report = await migrate(connection, schema=changed)
    assert [str(step) for step in report.steps] == ["apply repeatable/market.sql", "apply repeatable/grants.sql"]
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'market.trades'::regclass ORDER BY attnum LIMIT 3"
    assert [row[0] for row in await connection.fetch(columns)] == ["exchange", "symbol", "instrument"]


def test_old_versions_of_timescaledb_are_refused() -> None:
    for version in ("2.19.0", "2.27.2", "3.0.0-dev"):
        require(version)
    for version in ("2.18.2", "1.9"):
        with pytest.raises(Stop, match=f"TimescaleDB {version} is too old: at least 2.19"):
            require(version)


async def test_the_extension_is_made_where_it_is_missing(database: str, connection: Any) -> None:
    await connection.execute("DROP EXTENSION timescaledb CASCADE")
    fresh = await asyncpg.connect(database)  # the old session has the extension loaded
    with pytest.raises(Stop, match="has no TimescaleDB: its owner or a superuser runs CREATE EXTENSION timescaledb"):
        await check(fresh)
    assert (await migrate(fresh)).database.schema_version == read(find()).version
    await fresh.close()


# --- interrupted; two at once --------------------------------------------------------------------------------------------


async def test_two_runners_at_once(database: str, connection: Any, edition: str) -> None:
    other = await asyncpg.connect(database)
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(migrate(runner)) for runner in (connection, other)]
    steps = sorted(len(run.result().steps) for run in runs)
    assert steps == [0, len(expected(edition))]
    assert await entries(connection) == expected(edition)
    await other.close()


async def test_killed_between_a_file_and_its_row_in_schema_migrations(database: str, connection: Any, edition: str) -> None:
    await migrate(connection, to=100)
    blocker = await asyncpg.connect(database)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("LOCK TABLE schema_migrations IN SHARE MODE")  # it can be read, but no row can be added

    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(fails(migrate(connection)))
        await waits(blocker, connection)
        await blocker.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    assert isinstance(run.result(), Retry)
    await transaction.rollback()

    assert await blocker.fetchval("SELECT to_regclass('trades')") is None
    assert (await migrate(blocker)).database.schema_version == read(find()).version
    assert await entries(blocker) == expected(edition)
    await blocker.close()


async def fails(work: Any) -> Exception | None:
    try:
        await work
    except (Retry, Stop) as error:
        return error
    return None


async def waits(watcher: asyncpg.Connection[Any], connection: asyncpg.Connection[Any]) -> None:
    """Wait until the server reports that `connection` waits for a lock; fails after 10 s."""
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(10):
        while not await watcher.fetchval(query, connection.get_server_pid()):  # noqa: ASYNC110 - the event is the server's
            await asyncio.sleep(0.01)


# --- a database whose edition changes -----------------------------------------------------------------------------------

START = datetime(2026, 10, 1, tzinfo=UTC)
ALL = {
    "bars_1m": "SELECT time, open, close, volume, trades_count FROM market.bars_1m ORDER BY time",
    "bars_1h": "SELECT time, open, close, volume, trades_count FROM market.bars_1h ORDER BY time",
    "daily_ohlcv": "SELECT time, open, close, volume, trades_count FROM market.daily_ohlcv ORDER BY time",
}


async def put_trades(connection: asyncpg.Connection[Any], edition: str, *days: int) -> None:
    """Insert one trade and one 1m candle on each of these days; the day is the id of the trade, the price is one higher."""
    async with connection.transaction():
        for day in days:
            time, price = START + timedelta(days=day), Decimal(day + 1)
            await connection.execute(
                "INSERT INTO trades VALUES (1, $1, $2, $3, 1, 'buy', $1, NULL)", time + timedelta(seconds=7), day, price
            )
            await connection.execute(
                "INSERT INTO candles VALUES (1, '1m', $1, $2, $2, $2, $2, 1, 1, 1, 1, 1, NULL, NULL, 1, 'ws', $1)", time, price
            )
        if edition == "apache":
            minutes = [(1, int((START + timedelta(days=day)).timestamp()) // 60) for day in days]
            await mark(connection, buckets_of(["bars_1m", "daily_ohlcv"], minutes))


async def put_instrument(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(
        "INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status)"
        " VALUES (1, 'binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')"
    )


async def seen(connection: asyncpg.Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [tuple(row) for row in await connection.fetch(query)] for name, query in ALL.items()}


def bars_of(*days: int) -> dict[str, list[tuple[Any, ...]]]:
    """The expected rows: a day has a single minute, which is also its hour and the day."""
    rows = [(START + timedelta(days=day), Decimal(day + 1), Decimal(day + 1), Decimal(1), 1) for day in days]
    return dict.fromkeys(ALL, rows)


@pytest.fixture
def switchable() -> Iterator[Cluster]:
    if not (found := installed("community")):
        pytest.skip("the installed TimescaleDB has no community edition")
    with private("apache", found[-1]) as cluster:
        yield cluster


async def test_a_database_that_becomes_community_catches_up_and_its_bars_stay_readable(switchable: Cluster) -> None:
    """Days 0 to 9 are rolled up on Apache; then the rows of the first days are dropped, so that their bars cannot be made again."""
    dsn = switchable.create("market")
    connection = await asyncpg.connect(dsn)
    report = await migrate(connection)
    assert report.database.edition == "apache"
    await put_instrument(connection)
    await put_trades(connection, "apache", *range(10))
    while (await roll_up(connection)).taken:
        pass
    assert await seen(connection) == bars_of(*range(10))
    await connection.execute("SELECT drop_chunks('trades', $1::timestamptz)", START + timedelta(days=3))
    await connection.execute("SELECT drop_chunks('candles', $1::timestamptz)", START + timedelta(days=7))
    assert await seen(connection) == bars_of(*range(10))
    await connection.close()

    become_community(switchable)
    connection = await asyncpg.connect(dsn)
    assert (await detect(connection)).edition == "community"
    assert await seen(connection) == bars_of(*range(10)), "before the migration the roll-ups are still read"
    assert [str(step) for step in (await check(connection)).steps] == [
        "apply community/0600_columnstore.sql",
        "apply community/0610_bars_1m_cagg.sql",
        "apply community/0620_bars_1h_cagg.sql",
        "apply community/0630_daily_ohlcv_cagg.sql",
        "apply community/0640_prices_daily_cagg.sql",
        "apply repeatable/grants.sql",
    ]
    await migrate(connection)

    assert await entries(connection) == expected("community")
    assert await seen(connection) == bars_of(*range(10)), "bars whose rows are dropped are read from the roll-ups"
    await put_trades(connection, "community", 10, 11)
    await reconcile(connection, Desired({}, {}))
    assert await seen(connection) == bars_of(*range(12))
    assert await bar_views.switch(connection) is None, "nothing is left to do"
    await connection.close()


def become_community(cluster: Cluster) -> None:
    """Restart on the same data with the other licence."""
    with (cluster.data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"timescaledb.license = '{EDITIONS['community']}'\n")
    cluster.restart()
