"""Memory and commit lag of the daemon at a steady rate of rows.

https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-COMMIT-TIMESTAMP. The lag is exact for every row: the server
keeps the time of each commit, taken when its flush begins, and server and daemon have the same clock.
"""

from __future__ import annotations

import asyncio

from bench.exchange import Exchange, Ranges
from bench.process import daemon
from bench.result import Connection, Place, Result, limited, read_settings
from bench.stored import OURS, TRADE, Wrong, empty, require, stored

INSTRUMENTS = 100
MEMORY_SECONDS = 45.0
MEMORY_TRADES = 2_000.0  # per second, over all instruments; their books change as well
MEMORY_MB = 200.0
LAG_SECONDS = 20.0
LAG_TRADES = 10_000.0
LAG_LIMIT_SECONDS = 1.0

TABLES = {"trades": "trades", "candles": "candles", "quotes": "quotes", "book": "order_books"}  # by channel
LAG = """
    SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin) - received_at))::float8
    FROM trades"""


async def memory(place: Place, seconds: float | None) -> Result:
    """The peak of resident memory with all channels of 100 instruments, in megabytes of 10^6 bytes."""
    seconds = seconds or MEMORY_SECONDS
    peak, rows = await _flow(place, list(TABLES), MEMORY_TRADES, seconds)
    settings = await read_settings(place.connection)
    return limited("memory", round(peak, 1), "MB", MEMORY_MB, rows=rows, seconds=seconds, settings=settings)


async def commit_lag(place: Place, seconds: float | None) -> Result:
    """The 99th percentile of the time from receipt to commit, in seconds, over all rows."""
    seconds = seconds or LAG_SECONDS
    _, rows = await _flow(place, ["trades"], LAG_TRADES, seconds)
    lag = await place.connection.fetchval(LAG)
    settings = await read_settings(place.connection)
    return limited("commit_lag", round(lag, 4), "s", LAG_LIMIT_SECONDS, rows=rows, seconds=seconds, settings=settings)


async def _flow(place: Place, channels: list[str], trades_per_second: float, seconds: float) -> tuple[float, int]:
    """(peak megabytes, stored trades). Raises Wrong unless all trades from the first to the last stored are stored correctly."""
    connection = place.connection
    await empty(connection, *TABLES.values())
    async with Exchange(INSTRUMENTS, trades_per_second) as exchange:
        async with daemon(place.dsn, exchange, channels) as process:
            await exchange.subscribed()
            await asyncio.sleep(seconds)
            peak = process.peak_mb
        ranges = await _ranges(connection)  # after the daemon has drained
        await _require_rows(connection, channels)
        found = await stored(connection, OURS, TRADE)
        require(found, await exchange.checksum_of(ranges), f"{trades_per_second:.0f} trades a second")
    return peak, found.rows


async def _require_rows(connection: Connection, channels: list[str]) -> None:
    """Raises Wrong if a channel has no rows, because the memory of an idle daemon means nothing."""
    for table in (TABLES[channel] for channel in channels if channel != "candles"):  # no candle may have closed yet
        if not await connection.fetchval(f"SELECT count(*) FROM {table}"):
            raise Wrong(f"{table}: nothing is stored")


async def _ranges(connection: Connection) -> Ranges:
    """The ids of the first and last stored trade of each symbol."""
    rows = await connection.fetch(f"SELECT i.symbol, min(t.trade_id), max(t.trade_id) FROM {OURS} GROUP BY i.symbol")
    return {symbol: (first, last) for symbol, first, last in rows}
