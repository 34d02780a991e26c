"""The roles of schema/roles.sql can do their work and nothing else, on both editions. Each statement is run as the role."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from cluster import Cluster

from ingest.errors import Hold
from ingest.indicators.names import parse
from ingest.polling.db_queries import ReorgedBlock
from ingest.records import MINUTE
from ingest.store import bar_views, gap_backlog, indicator_dirty_ranges
from ingest.store.chain_reorgs import remove_block
from ingest.store.copy import Statements, copy_in, stage_in
from ingest.store.coverage import Claim, write_claims
from ingest.store.failover import ServerHistory, gaps_after_failover
from ingest.store.hourly_sentiment import mark_posts, roll_up_sentiment
from ingest.store.indicators import Selection, compute
from ingest.store.jobs import to_micros
from ingest.store.leases import acquire, release
from ingest.store.migrate import check, migrate
from ingest.store.policies import Desired, apply_retention, reconcile
from ingest.store.pool import Connection
from ingest.store.rollup import mark, roll_up
from ingest.store.schema_check import verify
from ingest.store.spot_prices import usd_prices
from ingest.store.ts_edition import detect
from ingest.tables import CANDLES, SENTIMENT_POSTS, TABLES, TRADES, Table
from tests.support.roles import login, run_roles

NOW = datetime.now(UTC).replace(microsecond=0)
TRADE = f"1\t{NOW}\t7\t0.10\t1\tbuy\t{NOW}\t\\N\n".encode()
CANDLE = f"1\t1m\t{NOW}\t1\t2\t1\t2\t0\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t1\tws\t{NOW}\n".encode()
POST = f"reddit\t1\tBTC\t{NOW}\tt\t\\N\t0\tneutral\t\\N\t{NOW}\t\\N\n".encode()
DESIRED = Desired({table.name: table.retention for table in TABLES}, {table.name: table.compress_after for table in TABLES})


@pytest.fixture
def cluster(edition: str, private_cluster: Callable[..., Cluster]) -> Cluster:
    """A private cluster, because roles belong to the whole cluster. The superuser has migrated its database `market`."""
    return private_cluster(edition)


@pytest.fixture(params=["roles first", "migrations first"])
async def market(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """A migrated database with the roles; roles and migrations are made in either order."""
    if request.param == "migrations first":
        run_roles(cluster.dsn("market"))
        return cluster.dsn("market")
    run_roles(cluster.create("fresh"))
    async with login(cluster.dsn("fresh"), "ingest_migrate") as migrator:
        await migrate(migrator)
    return cluster.dsn("fresh")


async def refused(connection: asyncpg.Connection[Any], *statements: str) -> list[str]:
    """The statements that are refused because the role lacks the privilege."""
    found = []
    for statement in statements:
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            found.append(statement)
    return found


async def test_each_role_can_do_its_work_and_no_more(market: str, edition: Any) -> None:
    async with login(market, "ingest_writer") as writer:
        await check_writer(writer, edition)
    async with login(market, "ingest_migrate") as migrator:
        await check_migrator(migrator, edition)
    run_roles(market)  # again: nothing changes
    async with login(market, "ingest_reader") as reader:
        await check_reader(reader)
    async with login(market, "ingest_metrics") as metrics:
        await check_metrics(metrics)


async def check_writer(writer: asyncpg.Connection[Any], edition: Any) -> None:
    for table in TABLES:
        await verify(writer, table)
    columns = tuple(column.name for column in TRADES.columns)
    assert await copy_in(writer, "trades", columns, TRADE) == 1
    async with writer.transaction():
        assert await stage_in(writer, TRADES, Statements.of(TRADES), TRADE) == (0, 0)
    for wanted in ((1, 0), (0, 0)):
        async with writer.transaction():
            assert await stage_in(writer, CANDLES, Statements.of(CANDLES), CANDLE) == wanted
            await mark(writer, [("5m", 1, 0)])
            await indicator_dirty_ranges.mark(
                writer, indicator_dirty_ranges.ranges_of_candles("1m", [(1, int(NOW.timestamp()) // 60)])
            )
    async with writer.transaction():
        assert await stage_in(writer, SENTIMENT_POSTS, Statements.of(SENTIMENT_POSTS), POST) == (1, 0)
        await mark_posts(writer)
    assert await acquire(writer, "polling", "one", 30)
    await release(writer, "polling", "one")
    await writer.execute(
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status)"
        " VALUES ('binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')"
        " ON CONFLICT (exchange, symbol) DO UPDATE SET status = EXCLUDED.status"
    )
    await writer.execute(
        "INSERT INTO coverage (source, channel, writer, state, reason, since) "
        " VALUES ('binance', 'trades', 'one', 'open', 'shed', now());"
        "UPDATE coverage SET until = now(), state = 'healed' WHERE source = 'binance';"
        "INSERT INTO rejects (source, stage, reason, message, payload) VALUES ('binance', 'decode', 'json', '', '')"
    )
    assert (await detect(writer)).edition == edition
    assert (await check(writer)).current
    await claim_and_fill_gaps(writer)
    assert await remove_block(writer, ReorgedBlock("bitcoin", "", 0)) == 0
    assert await usd_prices(writer, ["BTC"], 0) == {}
    forbidden = (
        "SELECT * FROM trades",
        "UPDATE trades SET price = 1",
        "DELETE FROM trades",
        "TRUNCATE candles",
        "DELETE FROM candles",
        "SELECT payload FROM rejects",
        "SELECT drop_chunks('trades', now())",
        "ALTER TABLE trades ADD COLUMN more int",
        "CREATE TABLE theirs ()",
        "UPDATE schema_migrations SET status = 'skipped'",
    )
    assert await refused(writer, *forbidden) == list(forbidden)


async def check_migrator(migrator: asyncpg.Connection[Any], edition: str) -> None:
    assert await migrator.fetchval("SELECT current_user") == "ingest_owner"
    owners = (
        "SELECT tableowner FROM pg_tables WHERE schemaname = 'public'"
        " UNION SELECT viewowner FROM pg_views WHERE schemaname IN ('public', 'market')"
        " UNION SELECT pg_get_userbyid(proowner) FROM pg_proc p WHERE pronamespace = 'public'::regnamespace"
        " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
    )
    assert [row[0] for row in await migrator.fetch(owners)] == ["ingest_owner"]
    await reconcile(migrator, DESIRED)
    await apply_retention(migrator, DESIRED)
    await roll_up(migrator)
    assert (await compute(migrator, Selection((parse("VWAP"),), ("1m",)))).taken == 1
    assert (await roll_up_sentiment(migrator, NOW + timedelta(hours=2))).written == 2
    await bar_views.switch(migrator)
    version = (await check(migrator)).database.schema_version
    await migrate(migrator, rollback=0)
    assert (await migrate(migrator)).database.schema_version == version
    assert [row[0] for row in await migrator.fetch(owners)] == ["ingest_owner"]
    await reconcile(migrator, DESIRED)
    if edition == "community":
        jobs = "SELECT DISTINCT owner::text FROM timescaledb_information.jobs WHERE job_id >= 1000"
        assert [row[0] for row in await migrator.fetch(jobs)] == ["ingest_owner"]


async def check_reader(reader: asyncpg.Connection[Any]) -> None:
    for view in ("trades", "candles", "quotes", "order_books", "bars_1m", "bars_1h", "daily_ohlcv", "gaps"):
        assert await reader.fetch(f"SELECT * FROM market.{view}") == []
    for view in (
        "mastertrade.market_data",
        "ai_trading.daily_ohlcv",
        "cryptosense.price_history_daily",
        "cryptomax.market_data_cache",
    ):
        assert await reader.fetch(f"SELECT * FROM {view} WHERE false") == []
    forbidden = ("INSERT INTO leases VALUES ('a', 'b', now())", "DELETE FROM trades", "CREATE TABLE theirs ()")
    forbidden += ("CREATE TEMP TABLE theirs ()",)
    forbidden += tuple(f"SELECT FROM {name}" for name in ("rejects", "leases", "poll_cursors", "native_ids", "locks"))
    forbidden += ("DELETE FROM catalyst.news_catalysts", "INSERT INTO cryptomax.crypto_news_feed (title) VALUES ('')")
    assert await refused(reader, *forbidden) == list(forbidden)


async def check_metrics(metrics: asyncpg.Connection[Any]) -> None:
    await metrics.fetch("SELECT * FROM timescaledb_information.job_stats")
    assert await metrics.fetchval("SELECT count(*) FROM hypertable_detailed_size('trades')") == 1
    assert (await detect(metrics)).schema_version > 0
    forbidden = ("SELECT * FROM trades", "INSERT INTO leases VALUES ('a', 'b', now())", "CREATE TEMP TABLE theirs ()")
    assert await refused(metrics, *forbidden) == list(forbidden)


@pytest.mark.parametrize(
    ("revoked", "table", "message"),
    [
        ("INSERT ON trades", TRADES, "the role ingest_writer lacks INSERT ON trades: "),
        ("UPDATE ON candles", CANDLES, "the role ingest_writer lacks UPDATE ON candles: "),
        ("INSERT ON rejects", TRADES, "the role ingest_writer lacks INSERT ON rejects: "),
        ("SELECT, INSERT ON native_ids", SENTIMENT_POSTS, "lacks SELECT ON native_ids, INSERT ON native_ids: "),
    ],
)
async def test_a_privilege_that_the_writer_lacks_is_named(cluster: Cluster, revoked: str, table: Table, message: str) -> None:
    dsn = cluster.dsn("market")
    run_roles(dsn)
    superuser = await asyncpg.connect(dsn)
    await superuser.execute(f"REVOKE {revoked} FROM ingest_writer")
    async with login(dsn, "ingest_writer") as writer:
        with pytest.raises(Hold, match=message) as held:
            await verify(writer, table)
        assert held.value.code == "42501"
    await superuser.close()


async def claim_and_fill_gaps(writer: Connection) -> None:
    """Every operation of a daemon on the ledger, by the connection of the writers."""
    now = to_micros(datetime.now(UTC))
    claims = [Claim("binance", "one", 1, "trades", "trade", now - back * MINUTE, now - (back - 2) * MINUTE) for back in (20, 10)]
    await gaps_after_failover(writer, ServerHistory(), claims)
    await gaps_after_failover(writer, ServerHistory("another"), claims)
    await write_claims(writer, claims)
    streams = [gap_backlog.TrackedChannel(1, "trades", "trade", now - 60 * MINUTE)]
    await gap_backlog.track(writer, "binance", streams)
    assert await gap_backlog.detect(writer, "binance", streams, timedelta(seconds=30), datetime.fromtimestamp(0, UTC)) == 2
    gaps = await gap_backlog.next_gaps(writer, "binance", [1], timedelta(seconds=30))
    assert await gap_backlog.uncovered_parts(writer, "binance", gaps[0])
    await gap_backlog.postpone(writer, gaps[0], 10, "a reason")
    await gap_backlog.retry_all(writer, "binance")
    assert await gap_backlog.resolve(writer, gaps[0], 0, now, state="healed", verdict=None, stored=1)
    assert (await gap_backlog.summary(writer, "binance"))["trades"][0] == 1


# --- no role runs code as the owner -------------------------------------------------------------------------------------

BAIT = "CREATE TEMP TABLE bait (source text, id text)"
ATTACK = (
    "CREATE FUNCTION pg_temp.as_news(bait) RETURNS news LANGUAGE plpgsql AS"
    " $$ BEGIN INSERT INTO leases VALUES ('stolen', current_user, now()); RETURN NULL; END $$",
    "CREATE CAST (bait AS news) WITH FUNCTION pg_temp.as_news(bait) AS IMPLICIT",
    "CREATE TRIGGER attack AFTER INSERT ON bait FOR EACH ROW EXECUTE FUNCTION keep_catalysts()",  # it casts the row to `news`
    "INSERT INTO bait VALUES ('', '')",
)
DEFINERS = "SELECT oid::regproc::text FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace ORDER BY 1"
OPEN = """
    SELECT oid::regprocedure::text FROM pg_proc p
     WHERE pronamespace = 'public'::regnamespace AND has_function_privilege('public', oid, 'EXECUTE')
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""


async def test_no_role_runs_code_as_the_owner(market: str) -> None:
    """Not even where every role may create temporary tables. The attack is real: it works where EXECUTE is granted."""
    superuser = await asyncpg.connect(market)
    database = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f'GRANT TEMPORARY ON DATABASE "{database}" TO PUBLIC')
    definers = [row[0] for row in await superuser.fetch(DEFINERS)]
    assert "keep_catalysts" in definers
    attach = [f"CREATE TRIGGER attack AFTER INSERT ON bait FOR EACH ROW EXECUTE FUNCTION {name}()" for name in definers]

    for role in ("ingest_metrics", "ingest_reader", "ingest_writer"):
        async with login(market, role) as attacker:
            await attacker.execute(BAIT)
            assert await refused(attacker, *ATTACK) == [ATTACK[2]]
            assert await refused(attacker, *attach) == attach
    assert await superuser.fetch("SELECT * FROM leases") == []

    await superuser.execute("GRANT EXECUTE ON FUNCTION keep_catalysts TO ingest_metrics")
    async with login(market, "ingest_metrics") as attacker:
        await attacker.execute(BAIT)
        assert await refused(attacker, *ATTACK) == []
    assert await superuser.fetchval("SELECT holder FROM leases") == "ingest_owner"
    await superuser.close()


async def test_no_function_is_open_to_everyone(market: str) -> None:
    """Neither a migration, nor a later function, nor a switch of the bars' views grants EXECUTE to PUBLIC."""
    async with login(market, "ingest_migrate") as migrator:
        await migrator.execute("CREATE FUNCTION later() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'")
        assert await migrator.fetch(OPEN) == []
        await migrator.execute(
            "GRANT EXECUTE ON FUNCTION newest_since TO PUBLIC; REVOKE ALL ON FUNCTION newest_since FROM ingest_reader"
        )
        await migrator.execute("COMMENT ON VIEW bars_1m IS 'of another text'")
        assert await bar_views.switch(migrator)
        assert await migrator.fetch(OPEN) == []
        await migrate(migrator, rollback=0)
        await migrate(migrator)
        assert await migrator.fetch(OPEN) == []
    async with login(market, "ingest_reader") as reader:
        await check_reader(reader)
