"""The state of pollers in the database: their cursors, the requests of the month, and the coin that each symbol means.

The database's clock decides when a poller is due, so that two daemons agree.
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
_RESERVE = f"""
    INSERT INTO poll_cursors AS p (source, month, requests, due_at) VALUES ($1, {_MONTH}, 1, clock_timestamp())
    ON CONFLICT (source) DO UPDATE SET month = EXCLUDED.month,
        requests = 1 + CASE WHEN p.month = EXCLUDED.month THEN p.requests ELSE 0 END
    WHERE $2::int IS NULL OR p.month <> EXCLUDED.month OR p.requests < $2
    RETURNING requests"""
_ASSETS = """
    INSERT INTO assets (symbol, coingecko_id, name) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ORDER BY 1
    ON CONFLICT (symbol) DO UPDATE SET coingecko_id = EXCLUDED.coingecko_id
     WHERE assets.coingecko_id <> EXCLUDED.coingecko_id AND NOT EXISTS (SELECT FROM prices p WHERE p.asset_id = assets.id)"""


class PollState(Struct, frozen=True):
    """The cursor of a poller, its `requests` of this month, and `wait`, the seconds until it is due (0 or less: now)."""

    cursor: str = ""
    requests: int = 0
    wait: float = 0.0


async def load_state(connection: Connection, source: str) -> PollState:
    """The state that `save_state` stored last; the default if there is none."""
    row = await connection.fetchrow(_LOAD, source)
    return PollState() if row is None else PollState(row["cursor"], row["requests"], row["wait"])


async def save_state(connection: Connection, source: str, cursor: str, wait: float) -> None:
    """Store the cursor; the poller is due again in `wait` seconds."""
    await connection.execute(_SAVE, source, cursor, timedelta(seconds=wait))


async def reserve_request(connection: Connection, source: str, per_month: int | None) -> int | None:
    """Count a request before it is made. Returns the number of requests of this month, or None if `per_month` is used up."""
    number: int | None = await connection.fetchval(_RESERVE, source, per_month)
    return number


async def store_assets(connection: Connection, assets: Sequence[Asset]) -> tuple[Asset, ...]:
    """Store the coin that each symbol means, and return the assets with their ids.

    Raises Stop if prices of another coin are stored under a symbol. While no price is stored, as after a mistyped id, the new coin
    replaces the old one.
    """
    async with transaction(connection):
        columns = ([getattr(asset, name) for asset in assets] for name in ("symbol", "coingecko_id", "name"))
        await connection.execute(_ASSETS, *columns)
        rows = await connection.fetch(
            "SELECT symbol, id, coingecko_id FROM assets WHERE symbol = ANY($1::text[])", [asset.symbol for asset in assets]
        )
    stored = {row["symbol"]: row for row in rows}
    for asset in assets:
        if (coin := stored[asset.symbol]["coingecko_id"]) != asset.coingecko_id:
            raise Stop(
                f"symbol '{asset.symbol}' is the coin '{coin}' in this database (assets.id {stored[asset.symbol]['id']}), "
                f"not '{asset.coingecko_id}'; "
                f'right would be ids = {{ {asset.symbol} = "{coin}" }} and another symbol for the other coin, or to delete the '
                "prices of the first coin and its row in assets"
            )
    return tuple(replace(asset, id=stored[asset.symbol]["id"]) for asset in assets)


async def delete_expired_native_ids(connection: Connection, retention: Mapping[str, timedelta | None]) -> None:
    """Delete the native ids of rows that are older than the retention of their table. Needs the owner's rights."""
    kept = {table: length for table, length in retention.items() if length is not None}
    await connection.execute(
        "DELETE FROM native_ids n USING unnest($1::text[], $2::interval[]) AS kept (table_name, length)"
        " WHERE n.table_name = kept.table_name AND n.time < now() - kept.length",
        list(kept.keys()),
        list(kept.values()),
    )
