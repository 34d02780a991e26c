"""Which exchange answers for a symbol of a platform: the lists of the settings, brought into the table `platform_exchanges`.

The views of schema/repeatable/platform_*.sql read what a trigger makes of it (`platform_instruments`), and follow at once.
https://www.postgresql.org/docs/current/sql-insert.html#SQL-ON-CONFLICT
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

import asyncpg

from ingest.store.pool import Connection, transaction
from ingest.tables import NEWS, WHALE_TRANSACTIONS

# So far back a query of seven days may look while it is planned: TimescaleDB takes four hours more, for a change of the clocks
WEEK = timedelta(days=7, hours=4)
REBUILD_LOCK_TIMEOUT = "10s"
DEFAULT = "binance, then every other exchange"

log = logging.getLogger(__name__)


async def reconcile(connection: Connection, wanted: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Bring the lists to what is wanted, by platform, the preferred exchange first; what was changed, in words.

    A platform without a list is answered by every exchange. Needs the owner's rights.
    """
    changes = []
    for platform in ("ai_trading", "mastertrade"):  # the others' prices are CoinGecko's
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
    """Drop what retention (by table) has dropped of that which is kept for the platforms beside a hypertable: no trigger is told of
    a chunk that goes. Needs the owner's rights.
    """
    for table, time, source in (("whale_totals", "time", WHALE_TRANSACTIONS), ("catalysts", "published_at", NEWS)):
        if (kept := retention.get(source.name)) is not None:
            await connection.execute(f"DELETE FROM {table} WHERE {time} < now() - $1::interval", kept)


async def move_newest(connection: Connection, retention: timedelta | None) -> None:
    """Let the newest candles begin a day later where it is time, and drop those that the last move has left behind.

    In this order, so that a query that was planned before a move still finds them. Needs the owner's rights.
    """
    kept = WEEK if retention is None else min(WEEK, retention)
    if await connection.fetchval(_LEFT_BEHIND):
        await rebuild_newest(connection)
    if (since := await connection.fetchval(_SINCE, kept)) is not None:
        await connection.execute("SELECT set_newest_since($1)", since)


async def rebuild_newest(connection: Connection) -> None:
    """Write the index of the newest candles anew, while it is read and written: it gets half as large, and a week a fifth faster.

    A market's rows come one by one, in the middle of an index that others' stand in, and so leave its pages half full. Where others
    keep it waiting it is left for the next day.
    https://www.postgresql.org/docs/current/sql-reindex.html#SQL-REINDEX-CONCURRENTLY
    """
    await connection.execute("DROP INDEX IF EXISTS newest_candles_pkey_ccnew, newest_candles_pkey_ccold")  # of one that was cut off
    await connection.execute(f"SET lock_timeout = '{REBUILD_LOCK_TIMEOUT}'")
    try:
        await connection.execute("REINDEX INDEX CONCURRENTLY newest_candles_pkey")
    except asyncpg.LockNotAvailableError as error:
        log.warning("the index of the newest candles was not rebuilt: %s", error)
    finally:
        await connection.execute("RESET lock_timeout")


_LEFT_BEHIND = """
    WITH gone AS (DELETE FROM newest_candles WHERE time < newest_since() RETURNING 1) SELECT count(*) FROM gone"""
_SINCE = """
    SELECT since FROM date_trunc('day', now() - $1::interval, 'UTC') AS since WHERE since > newest_since()"""


async def hidden(connection: Connection) -> list[str]:
    """Which numbers of late the platforms show as NULL because their types are too small for them, how many, and how large."""
    rows = await connection.fetch(
        " UNION ALL ".join(
            _HIDDEN.format(table=one, column=column, limit=limit, of_late=of_late)
            for one, of_late, limit, columns in _LIMITS
            for column in columns
        )
    )
    return [
        f"{row['name']}: {row['count']} of the last {row['of_late']} are NULL for the platforms, up to {row['largest']:f}"
        for row in rows
    ]


# (table, how far back is looked, the first number that does not fit, columns or what is made of them)
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
_HIDDEN = """
    SELECT '{table}.{column}' AS name, '{of_late}' AS of_late, count(*), max(abs({column})) AS largest FROM {table}
    WHERE time > now() - interval '1 {of_late}' AND abs({column}) >= {limit} HAVING count(*) > 0"""
