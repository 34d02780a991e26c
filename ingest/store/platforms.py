"""Which exchange answers for a symbol of a platform: the lists of the settings, brought into the table `platform_exchanges`.

The views of schema/repeatable/platform_*.sql read what a trigger makes of it (`platform_instruments`), and follow at once.
https://www.postgresql.org/docs/current/sql-insert.html#SQL-ON-CONFLICT
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from ingest.store.pool import Connection, transaction

RECENT = timedelta(days=8)  # as schema/migrations/*_recent_candles.sql says
DEFAULT = "binance, then every other exchange"


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


async def forget_whales(connection: Connection, retention: timedelta | None) -> None:
    """Drop the whales whose transfers retention has dropped: no trigger is told of a chunk that goes. Needs the owner's rights."""
    if retention is not None:
        await connection.execute("DELETE FROM whale_totals WHERE time < now() - $1::interval", retention)


async def forget_candles(connection: Connection, retention: timedelta | None) -> None:
    """Drop what is no recent candle any more, or none at all. Needs the owner's rights."""
    kept = RECENT if retention is None else min(RECENT, retention)
    await connection.execute("DELETE FROM recent_candles WHERE time < now() - $1::interval", kept)


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


# (table, how far back is looked, the first number that does not fit, columns); see schema/migrations/*_platforms.sql
_LIMITS = (
    (
        "candles",
        "hour",
        "999999999999.999999995",
        ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"),
    ),
    ("trades", "hour", "999999999999.999999995", ("price", "size")),
    ("indicators", "hour", "999999999999.999999995", ("value",)),
    ("prices", "day", "999999999999.999999995", ("price_usd", "price_aud", "high_24h", "low_24h")),
    ("prices", "day", "999999999999999999.995", ("market_cap_usd", "market_cap_aud", "volume_24h_usd", "volume_24h_aud")),
    ("prices", "day", "999999.99995", ("change_24h",)),
    ("onchain_metrics", "day", "9999999999999999999999.999999995", ("value",)),
    ("whale_transactions", "day", "9999999999999999999999.999999995", ("amount_token",)),
    ("stock_indices", "month", "9999999999.995", ("open", "high", "low", "close")),
    ("stock_indices", "month", "9223372036854775807", ("volume",)),
)
_HIDDEN = """
    SELECT '{table}.{column}' AS name, '{of_late}' AS of_late, count(*), max(abs({column})) AS largest FROM {table}
    WHERE time > now() - interval '1 {of_late}' AND abs({column}) >= {limit} HAVING count(*) > 0"""
