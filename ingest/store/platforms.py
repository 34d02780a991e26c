"""Which exchange answers for a symbol of a platform: the lists of the settings, brought into the table `platform_exchanges`.

The views of schema/repeatable/platform_*.sql read what a trigger makes of it (`platform_instruments`), and follow at once.
https://www.postgresql.org/docs/current/sql-insert.html#SQL-ON-CONFLICT
"""

from __future__ import annotations

from collections.abc import Mapping

from ingest.store.pool import Connection, transaction

NAMES = ("ai_trading", "mastertrade")  # the platforms that read what exchanges say; the others' prices are CoinGecko's
DEFAULT = "binance, then every other exchange"


async def reconcile(connection: Connection, wanted: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Bring the lists to what is wanted, by platform, the preferred exchange first; what was changed, in words.

    A platform without a list is answered by every exchange. Needs the owner's rights.
    """
    changes = []
    for platform in NAMES:
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
