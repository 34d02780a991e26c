"""What pollers remember in the database: where they are, what of the month is spent, and which coin a symbol means.

The rule one would get wrong: when a poller is due is decided by the database's clock, so that two daemons agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from ingest.records import Asset
from ingest.store.pool import Connection, transaction

_MONTH = "date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date"
_LOAD = f"""
    SELECT cursor, CASE WHEN month = {_MONTH} THEN requests ELSE 0 END AS requests,
           extract(epoch FROM due_at - clock_timestamp())::float8 AS wait
    FROM poll_cursors WHERE source = $1"""
_SAVE = f"""
    INSERT INTO poll_cursors AS p (source, cursor, month, requests, due_at)
    VALUES ($1, $2, {_MONTH}, $3, clock_timestamp() + $4)
    ON CONFLICT (source) DO UPDATE SET cursor = EXCLUDED.cursor, month = EXCLUDED.month, due_at = EXCLUDED.due_at,
        requests = EXCLUDED.requests + CASE WHEN p.month = EXCLUDED.month THEN p.requests ELSE 0 END"""
_ASSETS = """
    INSERT INTO assets AS a (symbol, coingecko_id, name) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ORDER BY 1
    ON CONFLICT (symbol) DO UPDATE SET coingecko_id = EXCLUDED.coingecko_id, name = EXCLUDED.name, updated_at = now()
    WHERE (a.coingecko_id, a.name) IS DISTINCT FROM (EXCLUDED.coingecko_id, EXCLUDED.name)"""


class Place(Struct, frozen=True):
    """Where a poller is; `requests` of this month, `wait` the seconds until it is due (0 or less: now)."""

    cursor: str = ""
    requests: int = 0
    wait: float = 0.0


async def load_place(connection: Connection, source: str) -> Place:
    """Where the poller is, by the last `save_place`; its beginning where there was none."""
    row = await connection.fetchrow(_LOAD, source)
    return Place() if row is None else Place(row["cursor"], row["requests"], row["wait"])


async def save_place(connection: Connection, source: str, cursor: str, requests: int, wait: float) -> None:
    """Remember the cursor, add `requests` to the month's, and be due again in `wait` seconds."""
    await connection.execute(_SAVE, source, cursor, requests, timedelta(seconds=wait))


async def store_assets(connection: Connection, assets: Sequence[Asset]) -> tuple[Asset, ...]:
    """Store which coin each symbol means; the same assets with their ids."""
    async with transaction(connection):
        await connection.execute(_ASSETS, *([getattr(one, name) for one in assets] for name in ("symbol", "coingecko_id", "name")))
        rows = await connection.fetch(
            "SELECT symbol, id FROM assets WHERE symbol = ANY($1::text[])", [one.symbol for one in assets]
        )
    ids = {row["symbol"]: row["id"] for row in rows}
    return tuple(replace(one, id=ids[one.symbol]) for one in assets)


async def forget_native(connection: Connection, retention: Mapping[str, timedelta | None]) -> None:
    """Drop the native ids of facts that retention (by table) has dropped. Needs the owner's rights."""
    kept = {table: length for table, length in retention.items() if length is not None}
    await connection.execute(
        "DELETE FROM native_ids n USING unnest($1::text[], $2::interval[]) AS kept (table_name, length)"
        " WHERE n.table_name = kept.table_name AND n.time < now() - kept.length",
        list(kept.keys()),
        list(kept.values()),
    )
