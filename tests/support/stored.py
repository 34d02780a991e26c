"""The stored rows in the form of the simulated exchange's oracle, so that both can be compared value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from ingest.simulator.oracle import OracleTrade
from ingest.simulator.server import Simulator

_TRADES = """
    SELECT trade_id AS id, extract(epoch FROM time) * 1000 AS time, price::text AS price, size::text AS size, side
      FROM trades JOIN instruments i ON i.id = instrument_id
     WHERE i.exchange = $1 AND i.symbol = $2 ORDER BY trade_id, time"""
_BOOKS = """
    SELECT sequence, bid_prices::text[], bid_sizes::text[], ask_prices::text[], ask_sizes::text[]
      FROM order_books JOIN instruments i ON i.id = instrument_id
     WHERE i.exchange = $1 AND i.symbol = $2 ORDER BY time"""
_GAPS = """
    SELECT i.symbol, c.* FROM coverage c JOIN instruments i ON i.id = c.instrument_id
     WHERE c.state NOT IN ('covered', 'unverifiable') ORDER BY c.id"""

_STALL = """
    CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.trade_id = {trade_id} THEN
            PERFORM pg_advisory_xact_lock(7);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER stall BEFORE INSERT ON trades FOR EACH ROW EXECUTE FUNCTION stall()"""

Levels = list[tuple[str, str]]


async def fetch(dsn: str, query: str, *values: object) -> list[asyncpg.Record]:
    """Run one query on a new connection."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "test"})
    try:
        return await connection.fetch(query, *values)
    finally:
        await connection.close()


async def execute(dsn: str, statements: str) -> None:
    """Run statements on a new connection."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "test"})
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


@asynccontextmanager
async def locked(dsn: str, table: str) -> AsyncIterator[None]:
    """Lock `table` for the length of the block. To a writer the database seems to hang."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "test"})
    try:
        await connection.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        await connection.execute("ROLLBACK")
    finally:
        await connection.close()


@asynccontextmanager
async def stalled(dsn: str, trade_id: int) -> AsyncIterator[None]:
    """A COPY into `trades` stops at the row with `trade_id` until the block ends."""
    await execute(dsn, _STALL.format(trade_id=trade_id))
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "test"})
    try:
        await connection.execute("SELECT pg_advisory_lock(7)")
        yield
    finally:
        connection.terminate()


async def stalled_backends(dsn: str) -> list[int]:
    """The pids of the backends whose COPY waits at that row."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory' AND query LIKE 'COPY%'"
    return [row["pid"] for row in await fetch(dsn, query)]


async def trades(dsn: str, symbol: str = "BTCUSDT", exchange: str = "demo") -> list[OracleTrade]:
    """Every stored trade by id, duplicates included."""
    rows = await fetch(dsn, _TRADES, exchange, symbol)
    return [OracleTrade(row["id"], int(row["time"]), row["price"], row["size"], row["side"]) for row in rows]


async def books(dsn: str, symbol: str = "BTCUSDT", exchange: str = "demo") -> list[tuple[int, Levels, Levels]]:
    """(sequence, bids, asks) of every stored book, by time."""
    rows = await fetch(dsn, _BOOKS, exchange, symbol)
    return [(row[0], list(zip(row[1], row[2], strict=True)), list(zip(row[3], row[4], strict=True))) for row in rows]


async def gaps(dsn: str) -> list[dict[str, Any]]:
    """The gaps in `coverage`, each with its `symbol`."""
    return [dict(row) for row in await fetch(dsn, _GAPS)]


async def reasons(dsn: str) -> Counter[tuple[str, str]]:
    """The number of gaps of each (channel, reason)."""
    return Counter((gap["channel"], gap["reason"]) for gap in await gaps(dsn))


async def assert_all_trades(dsn: str, simulator: Simulator, symbol: str = "BTCUSDT", exchange: str = "demo") -> None:
    """The stored trades are those that the exchange made, value by value."""
    assert await trades(dsn, symbol, exchange) == list(simulator.oracle.trades(symbol))
