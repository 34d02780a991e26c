"""What pollers remember in the database: where they are, what of the month is spent, and which coin a symbol means.

The rule one would get wrong: when a poller is due is decided by the database's clock, so that two daemons agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import Stop
from ingest.records import Asset
from ingest.store.pool import Connection, transaction

_MONTH = "date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date"
_LOAD = f"""
    SELECT cursor, CASE WHEN month = {_MONTH} THEN requests ELSE 0 END AS requests,
           extract(epoch FROM due_at - clock_timestamp())::float8 AS wait
    FROM poll_cursors WHERE source = $1"""
_SAVE = f"""
    INSERT INTO poll_cursors (source, cursor, month, due_at) VALUES ($1, $2, {_MONTH}, clock_timestamp() + $3)
    ON CONFLICT (source) DO UPDATE SET cursor = EXCLUDED.cursor, due_at = EXCLUDED.due_at"""
_SPEND = f"""
    INSERT INTO poll_cursors AS p (source, month, requests, due_at) VALUES ($1, {_MONTH}, 1, clock_timestamp())
    ON CONFLICT (source) DO UPDATE SET month = EXCLUDED.month,
        requests = 1 + CASE WHEN p.month = EXCLUDED.month THEN p.requests ELSE 0 END
    WHERE $2::int IS NULL OR p.month <> EXCLUDED.month OR p.requests < $2
    RETURNING requests"""
_ASSETS = """
    INSERT INTO assets (symbol, coingecko_id, name) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ORDER BY 1
    ON CONFLICT (symbol) DO UPDATE SET coingecko_id = EXCLUDED.coingecko_id
     WHERE assets.coingecko_id <> EXCLUDED.coingecko_id AND NOT EXISTS (SELECT FROM prices p WHERE p.asset_id = assets.id)"""


class Place(Struct, frozen=True):
    """Where a poller is; `requests` of this month, `wait` the seconds until it is due (0 or less: now)."""

    cursor: str = ""
    requests: int = 0
    wait: float = 0.0


async def load_place(connection: Connection, source: str) -> Place:
    """Where the poller is, by the last `save_place`; its beginning where there was none."""
    row = await connection.fetchrow(_LOAD, source)
    return Place() if row is None else Place(row["cursor"], row["requests"], row["wait"])


async def save_place(connection: Connection, source: str, cursor: str, wait: float) -> None:
    """Remember the cursor, and be due again in `wait` seconds."""
    await connection.execute(_SAVE, source, cursor, timedelta(seconds=wait))


async def spend(connection: Connection, source: str, per_month: int | None) -> int | None:
    """Count one request before it is made, whoever makes it: the month's number with it; None where `per_month` is spent."""
    number: int | None = await connection.fetchval(_SPEND, source, per_month)
    return number


async def store_assets(connection: Connection, assets: Sequence[Asset]) -> tuple[Asset, ...]:
    """Store which coin each symbol means; the same assets with their ids.

    Raises Stop where a symbol means another coin by now: what is stored of it is the first one's, and cannot be both. As long as
    nothing is stored of it, as of an id that was mistyped, the other coin takes its place.
    """
    async with transaction(connection):
        await connection.execute(_ASSETS, *([getattr(one, name) for one in assets] for name in ("symbol", "coingecko_id", "name")))
        rows = await connection.fetch(
            "SELECT symbol, id, coingecko_id FROM assets WHERE symbol = ANY($1::text[])", [one.symbol for one in assets]
        )
    stored = {row["symbol"]: row for row in rows}
    for one in assets:
        if (coin := stored[one.symbol]["coingecko_id"]) != one.coingecko_id:
            raise Stop(
                f"symbol '{one.symbol}' is the coin '{coin}' here (assets.id {stored[one.symbol]['id']}), "
                f"not '{one.coingecko_id}'; "
                f'right would be ids = {{ {one.symbol} = "{coin}" }} and another symbol for the other coin, or to delete the first '
                "one's prices and its row in assets"
            )
    return tuple(replace(one, id=stored[one.symbol]["id"]) for one in assets)


async def forget_native(connection: Connection, retention: Mapping[str, timedelta | None]) -> None:
    """Drop the native ids of facts that retention (by table) has dropped. Needs the owner's rights."""
    kept = {table: length for table, length in retention.items() if length is not None}
    await connection.execute(
        "DELETE FROM native_ids n USING unnest($1::text[], $2::interval[]) AS kept (table_name, length)"
        " WHERE n.table_name = kept.table_name AND n.time < now() - kept.length",
        list(kept.keys()),
        list(kept.values()),
    )
