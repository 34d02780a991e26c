"""The commands on a real database: migrate, check, status, backfill of indicators."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import asyncpg

from ingest.simulator.server import Simulator
from tests.support.commands import ingest
from tests.support.daemon import Daemon, configuration, subscribed


async def tables(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


async def test_migrate_from_nothing_and_again(database: str, edition: str) -> None:
    assert await tables(database) == set()
    checked = await ingest("migrate", "--check", dsn=database)
    dry = await ingest("migrate", "--dry-run", dsn=database)
    assert (checked.code, dry.code) == (1, 0)
    assert all(line.startswith("would ") for line in checked.out[:-1] + dry.out[:-1])
    assert dry.out[-1].startswith("TimescaleDB ")
    assert await tables(database) <= {"schema_migrations"}
    done = await ingest("migrate", dsn=database)
    assert (done.code, done.err) == (0, "")
    assert [f"would {line}" for line in done.out[:-1]] == dry.out[:-1]
    assert f"({edition} edition)" in done.out[-1]
    assert {"trades", "candles", "quotes", "order_books", "instruments", "coverage", "rejects"} <= await tables(database)
    again = await ingest("migrate", dsn=database)
    assert (again.code, again.out) == (0, [done.out[-1], "nothing is pending"])
    assert await ingest("migrate", "--check", dsn=database) == again


async def test_check_says_what_is_there(database: str, market: str) -> None:
    pending = await ingest("check", dsn=database)
    assert pending.code == 1
    assert pending.out[0] == "configuration: ok, 0 exchanges, 0 pollers"
    assert [line for line in pending.out if line.startswith("pending: ")]
    well = await ingest("check", dsn=market, DATABASE__ADMIN_DSN=market, EXCHANGES__OKX__INSTRUMENTS='["BTC/USDT"]')
    assert (well.code, well.err, [line for line in well.out if not line.startswith("note: ")][1:]) == (0, "", [well.out[-1]])
    assert well.out[0] == "configuration: ok, 1 exchanges, 0 pollers"
    without = await ingest("check", dsn=market)
    assert (
        without.out[-1]
        == "maintenance: disabled, database.admin_dsn is not set: no roll-ups, indicators, policies, retention or audit"
    )


async def test_check_finds_a_column_that_was_altered(market: str, edition: str) -> None:
    connection = await asyncpg.connect(market)
    await connection.execute("ALTER TABLE quotes ADD COLUMN venue text NOT NULL DEFAULT ''")
    assert (await ingest("check", dsn=market)).code == 0
    await connection.execute("ALTER TABLE quotes ALTER COLUMN venue DROP DEFAULT")
    await connection.close()
    done = await ingest("check", dsn=market)
    assert done.code == 2
    assert done.err == "ingest: column quotes.venue is unknown, NOT NULL and has no default: give it a default\n"


async def test_a_database_without_the_extension(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("DROP EXTENSION timescaledb")
    await connection.close()
    done = await ingest("check", dsn=database)
    assert done.code == 2
    assert "CREATE EXTENSION timescaledb" in done.err
    assert "Traceback" not in done.err


async def test_status_with_and_without_a_daemon(
    market: str, simulator: Simulator, daemon: Callable[..., Daemon], edition: str
) -> None:
    one = await daemon(configuration(market, simulator)).start()
    await one.ready()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 10)
    await one.settled("trades", 10)
    port = one.url.rsplit(":", 1)[1]
    done = await ingest("status", "--json", dsn=market, SERVER__PORT=port)
    status = json.loads("\n".join(done.out))
    assert (done.code, done.err) == (0, "")
    assert (status["daemon"]["state"], status["daemon"]["detail"]) == ("ready", "")
    assert status["queues"]["trades"]["written"] == 10
    assert status["sources"]["demo"]["subscriptions"] == 1
    assert status["database"]["state"] == "ok"
    assert {name: part["state"] for name, part in status["queues"].items()} == dict.fromkeys(status["queues"], "ok")
    assert (status["database"]["edition"], status["migrations"]) == (edition, {"pending": []})
    shown = await ingest("status", dsn=market, SERVER__PORT=port)
    assert (shown.code, shown.err) == (0, "")
    head = next(line.split() for line in shown.out if line.startswith("queues "))
    trades = next(line.split() for line in shown.out if line.startswith("  trades "))
    queue = dict(zip(head, trades, strict=True))
    assert (queue["decoded"], queue["written"], queue["queued"], queue["state"]) == ("10", "10", "0", "ok")
    await one.terminate()
    alone = await ingest("status", "--json", dsn=market, SERVER__PORT=port)
    status = json.loads("\n".join(alone.out))
    assert alone.code == 1
    assert status["daemon"]["detail"].startswith(f"no daemon answers at http://127.0.0.1:{port}/status: ")
    assert (status["database"]["edition"], status["migrations"]) == (edition, {"pending": []})


async def test_status_of_something_else_that_answers(market: str, simulator: Simulator) -> None:
    port = simulator.rest_url.rsplit(":", 1)[1]
    done = await ingest("status", "--json", dsn=market, SERVER__PORT=port)
    assert done.code == 1
    assert "no daemon answers at " in json.loads("\n".join(done.out))["daemon"]["detail"]


async def test_indicators_of_stored_candles(market: str) -> None:
    """Only for the given exchange and range; a second run changes nothing, and no daemon is needed."""
    begun = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=40)
    connection = await asyncpg.connect(market)
    for instrument_id, exchange in ((1, "binance"), (2, "okx")):
        await connection.execute(
            "INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status) OVERRIDING SYSTEM VALUE"
            " VALUES ($1, $2, 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')",
            *(instrument_id, exchange),
        )
        await connection.execute(
            "INSERT INTO candles (instrument_id, interval, time, open, high, low, close, volume, parts, origin, received_at)"
            " SELECT $1, '1h', $2::timestamptz + n * interval '1 hour', 10, 12, 9, 10 + n, 3, 60, 'rest', now()"
            " FROM generate_series(0, 30) n",
            *(instrument_id, begun),
        )
    command = ("backfill", "indicators", "--exchange", "binance", "--from", begun.isoformat())
    settings = {"INDICATORS__NAMES": '["SMA_3", "MOM_30"]', "EXCHANGES__BINANCE__INSTRUMENTS": '["BTC/USDT"]'}
    dry = await ingest(*command, "--dry-run", dsn=market, **settings)
    assert dry == (0, ["2 indicators of 31 candles"], "")
    done = await ingest(*command, dsn=market, **settings)
    assert done == (0, ["31 candles: 30 written, 0 revised, 0 were there already"], "")
    again = await ingest(*command, "--to", (begun + timedelta(hours=5)).isoformat(), dsn=market, **settings)
    assert again == (0, ["5 candles: 0 written, 0 revised, 30 were there already"], "")
    rows = await connection.fetch(
        "SELECT name, time, value FROM indicators WHERE instrument_id = 1 ORDER BY time DESC, name LIMIT 2"
    )
    last = begun + timedelta(hours=30)
    assert [tuple(row) for row in rows] == [("MOM_30", last, 30), ("SMA_3", last, 39)]
    assert await connection.fetchval("SELECT count(*) FROM indicators") == 30
    await connection.close()
