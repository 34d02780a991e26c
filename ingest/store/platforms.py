"""Maintains the tables that the platforms' views read: the preferred exchanges of each platform, and the newest candles.

The settings' lists of exchanges are stored in `platform_exchanges`. A trigger derives `platform_instruments` from it, which the
views in schema/repeatable/platform_*.sql read, so a change applies at once.
https://www.postgresql.org/docs/current/sql-createtrigger.html
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

import asyncpg

from ingest.store.pool import Connection, transaction
from ingest.tables import NEWS, WHALE_TRANSACTIONS

# how far back a query of seven days may look while it is planned: TimescaleDB adds four hours for clock changes
WEEK = timedelta(days=7, hours=4)
REBUILD_LOCK_TIMEOUT = "10s"
DEFAULT = "binance, then every other exchange"

log = logging.getLogger(__name__)


async def reconcile(connection: Connection, wanted: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Store the wanted lists, by platform, the preferred exchange first. Returns the changes, as text for people.

    A platform without a list gets the data of every exchange. Needs the owner's rights.
    """
    changes = []
    for platform in ("ai_trading", "mastertrade"):  # the other platforms take their prices from CoinGecko
        rows = await connection.fetch("SELECT exchange FROM platform_exchanges WHERE platform = $1 ORDER BY rank", platform)
        exchanges = wanted.get(platform, ())
        if tuple(row["exchange"] for row in rows) != exchanges:
            async with transaction(connection):
                await connection.execute("DELETE FROM platform_exchanges WHERE platform = $1", platform)
                await connection.execute(_INSERT, platform, list(exchanges))
            changes.append(f"{platform}: {', '.join(exchanges) or DEFAULT}")
    return changes


_INSERT = """
    INSERT INTO platform_exchanges (platform, exchange, rank)
    SELECT $1, exchange, rank FROM unnest($2::text[]) WITH ORDINALITY AS listed (exchange, rank)"""


async def delete_expired(connection: Connection, retention: Mapping[str, timedelta | None]) -> None:
    """Delete rows older than retention (by table) from the platforms' copies of hypertables: dropping a chunk fires no trigger.

    Needs the owner's rights.
    """
    for table, time, source in (("whale_totals", "time", WHALE_TRANSACTIONS), ("catalysts", "published_at", NEWS)):
        if (kept := retention.get(source.name)) is not None:
            await connection.execute(f"DELETE FROM {table} WHERE {time} < now() - $1::interval", kept)


async def move_newest(connection: Connection, retention: timedelta | None) -> None:
    """Delete the rows of `newest_candles` before its start, then advance the start by a day if that is due.

    In this order a query that was planned before the move still finds its rows. Needs the owner's rights.
    """
    kept = WEEK if retention is None else min(WEEK, retention)
    if await connection.fetchval(_DELETE_BEFORE_START):
        await rebuild_newest(connection)
    if (since := await connection.fetchval(_SINCE, kept)) is not None:
        await connection.execute("SELECT set_newest_since($1)", since)


async def rebuild_newest(connection: Connection) -> None:
    """Rebuild the index of `newest_candles` concurrently: it gets half as large, and reading a week a fifth faster.

    The rows of each market arrive one by one between those of other markets, which leaves the pages of the index half full. If the
    lock is not granted in time, the rebuild waits for the next day.
    https://www.postgresql.org/docs/current/sql-reindex.html#SQL-REINDEX-CONCURRENTLY
    """
    # an interrupted rebuild leaves these indexes
    await connection.execute("DROP INDEX IF EXISTS newest_candles_pkey_ccnew, newest_candles_pkey_ccold")
    await connection.execute(f"SET lock_timeout = '{REBUILD_LOCK_TIMEOUT}'")
    try:
        await connection.execute("REINDEX INDEX CONCURRENTLY newest_candles_pkey")
    except asyncpg.LockNotAvailableError as error:
        log.warning("the index of the newest candles was not rebuilt: %s", error)
    finally:
        await connection.execute("RESET lock_timeout")


_DELETE_BEFORE_START = """
    WITH gone AS (DELETE FROM newest_candles WHERE time < newest_since() RETURNING 1) SELECT count(*) FROM gone"""
_SINCE = """
    SELECT since FROM date_trunc('day', now() - $1::interval, 'UTC') AS since WHERE since > newest_since()"""


async def overflows(connection: Connection) -> list[str]:
    """The recent values that the platforms' views show as NULL because their types are too small: columns, counts and maxima."""
    rows = await connection.fetch(
        " UNION ALL ".join(
            _OVERFLOWS.format(table=table, column=column, limit=limit, period=period)
            for table, period, limit, columns in _LIMITS
            for column in columns
        )
    )
    return [
        f"{row['name']}: {row['count']} of the last {row['period']} are NULL for the platforms, up to {row['largest']:f}"
        for row in rows
    ]


# (table, period to check, the smallest number that does not fit, columns or expressions over them)
_LIMITS = (
    (
        "candles",
        "hour",
        "999999999999.999999995",
        ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"),
    ),
    ("trades", "hour", "999999999999.999999995", ("price", "size", "price * size")),
    ("indicators", "hour", "999999999999.999999995", ("value",)),
    ("prices", "day", "999999999999.999999995", ("price_usd", "price_aud", "high_24h", "low_24h")),
    ("prices", "day", "999999999999999999.995", ("market_cap_usd", "market_cap_aud", "volume_24h_usd", "volume_24h_aud")),
    ("prices", "day", "999999.99995", ("change_24h", "price_usd * change_24h / nullif(100 + change_24h, 0)")),
    ("prices", "day", "99999999.995", ("change_1h", "change_7d")),
    ("onchain_metrics", "day", "9999999999999999999999.999999995", ("value",)),
    ("whale_totals", "day", "9999999999999999999999.999999995", ("amount_token",)),
    ("stock_indices", "month", "9999999999.995", ("open", "high", "low", "close")),
    ("stock_indices", "month", "9223372036854775807", ("volume",)),
)
_OVERFLOWS = """
    SELECT '{table}.{column}' AS name, '{period}' AS period, count(*), max(abs({column})) AS largest FROM {table}
    WHERE time > now() - interval '1 {period}' AND abs({column}) >= {limit} HAVING count(*) > 0"""
