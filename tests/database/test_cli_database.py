"""The command line on a real database: migrate, check, status."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import asyncpg
from daemon import Daemon, configuration, heard

from ingest.simulator.server import Simulator

CHECKOUT = Path(__file__).resolve().parent.parent.parent


class Done(NamedTuple):
    code: int
    out: list[str]
    err: str


async def ingest(*arguments: str, dsn: str = "", **settings: str) -> Done:
    """Run `python -m ingest` with these settings in its environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INGEST__")}
    environment |= {f"INGEST__{name}": value for name, value in settings.items()}
    environment |= {"INGEST__DATABASE__DSN": dsn, "INGEST__LOG__LEVEL": "error"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", *arguments), cwd=CHECKOUT, env=environment, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    return Done(process.returncode or 0, out.decode().splitlines(), err.decode())


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
    assert pending.out[0] == "configuration: ok, 0 exchanges"
    assert [line for line in pending.out if line.startswith("pending: ")]
    well = await ingest("check", dsn=market, DATABASE__ADMIN_DSN=market, EXCHANGES__OKX__INSTRUMENTS='["BTC/USDT"]')
    assert (well.code, well.err, len(well.out)) == (0, "", 2)
    assert well.out[0] == "configuration: ok, 1 exchanges"
    without = await ingest("check", dsn=market)
    assert without.out[-1] == "duties: disabled, database.admin_dsn is not set: no roll-ups, no policies, no retention, no audit"


async def test_check_finds_a_column_that_was_altered(market: str, edition: str) -> None:
    connection = await asyncpg.connect(market)
    await connection.execute("ALTER TABLE quotes ADD COLUMN venue text NOT NULL DEFAULT ''")
    assert (await ingest("check", dsn=market)).code == 0
    await connection.execute("ALTER TABLE quotes ALTER COLUMN venue DROP DEFAULT")
    await connection.close()
    done = await ingest("check", dsn=market)
    assert done.code == 2
    assert done.err == "ingest: column quotes.venue is not ours, NOT NULL and without a default: no row fits\n"


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
    await heard(simulator)
    simulator.trade("BTCUSDT", 10)
    await one.settled("trades", 10)
    port = one.url.rsplit(":", 1)[1]
    done = await ingest("status", "--json", dsn=market, SERVER__PORT=port)
    status = json.loads("\n".join(done.out))
    assert (done.code, done.err) == (0, "")
    assert status["daemon"]["unready"] == []
    assert status["lanes"]["trades"]["written"] == 10
    assert status["sources"]["demo"]["subscriptions"] == 1
    assert (status["database"]["edition"], status["migrations"]) == (edition, {"pending": []})
    shown = await ingest("status", dsn=market, SERVER__PORT=port)
    assert (shown.code, shown.err) == (0, "")
    head = next(line.split() for line in shown.out if line.startswith("lanes "))
    trades = next(line.split() for line in shown.out if line.startswith("  trades "))
    lane = dict(zip(head, trades, strict=True))
    assert (lane["decoded"], lane["written"], lane["queued"], lane["held"]) == ("10", "10", "0", "-")
    await one.terminate()
    alone = await ingest("status", "--json", dsn=market, SERVER__PORT=port)
    status = json.loads("\n".join(alone.out))
    assert alone.code == 1
    assert status["daemon"]["unready"][0].startswith(f"no daemon answers at http://127.0.0.1:{port}/status: ")
    assert (status["database"]["edition"], status["migrations"]) == (edition, {"pending": []})


async def test_status_of_something_else_that_answers(market: str, simulator: Simulator) -> None:
    port = simulator.rest_url.rsplit(":", 1)[1]
    done = await ingest("status", "--json", dsn=market, SERVER__PORT=port)
    assert done.code == 1
    assert "no daemon answers at " in json.loads("\n".join(done.out))["daemon"]["unready"][0]
