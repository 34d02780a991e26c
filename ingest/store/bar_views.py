"""What stands behind the views bars_1m, bars_1h, daily_ohlcv and prices_daily: our roll-up tables, or continuous aggregates.

Readers know only the views. After a change of edition they go on reading the roll-ups until the continuous aggregates are filled
from all of the source data that is still there; then the views are switched, in one transaction.
https://docs.timescale.com/use-timescale/latest/continuous-aggregates/
The rule one would get wrong: a refresh cannot run inside a transaction, so the connection must not be in one.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Literal

from ingest.store.migration_log import alone
from ingest.store.pool import Connection, transaction
from ingest.store.schema_files import GRANTS, Schema, find, read
from ingest.store.ts_edition import detect

Behind = Literal["rollup", "cagg"]
# in this order: hours are made from minutes
SOURCES = {"bars_1m": "trades", "bars_1h": "trades", "daily_ohlcv": "candles", "prices_daily": "prices"}
AGAIN_DAYS = 3  # a price that came late, or has another value, is looked for so far back


async def point(connection: Connection, *, schema: Schema | None = None) -> Behind | None:
    """Let the views read what they should; fills the continuous aggregates first where they are new.

    Returns what the views read now, if that or their text has changed, else None. Needs the owner's rights and a direct connection.
    """
    schema = schema or read(find())
    async with alone(connection):
        behind = await _wanted(connection)
        if behind is None:
            return None
        text = schema.text(f"bars/{behind}.sql")
        mark = f"bars/{behind}.sql, sha256 {hashlib.sha256(text.encode()).hexdigest()}"
        present = await connection.fetchval("SELECT obj_description(to_regclass('public.bars_1m'), 'pg_class')")
        if present == mark:
            return None
        if behind == "cagg" and not (present or "").startswith("bars/cagg.sql"):
            await fill(connection)
        await _switch(connection, text + schema.text(GRANTS), mark)
        return behind


async def fill(connection: Connection) -> None:
    """Refresh the continuous aggregates from every chunk of their source; cheap where little has changed since the last time."""
    for name, source in SOURCES.items():
        # not min(time), which would read every row: no index begins with the time
        first = await connection.fetchval(
            "SELECT min(range_start) FROM timescaledb_information.chunks WHERE hypertable_name = $1",
            source,
        )
        if first is not None:
            await connection.execute(
                "CALL refresh_continuous_aggregate($1::regclass, $2::timestamptz, now())", f"public.{name}_cagg", first
            )


async def remove(connection: Connection, *, schema: Schema | None = None) -> None:
    """Drop the views, before what they read is dropped."""
    await connection.execute((schema or read(find())).text("bars/rollback.sql"))


async def _wanted(connection: Connection) -> Behind | None:
    """None where not even the roll-ups are there."""
    rollups = await _exist(connection, "rollup")
    caggs = await _exist(connection, "cagg") and (await detect(connection)).edition == "community"
    return "cagg" if caggs else "rollup" if rollups else None


async def _exist(connection: Connection, behind: Behind) -> bool:
    names = [f"public.{name}_{behind}" for name in SOURCES]
    found: bool = await connection.fetchval("SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) AS name", names)
    return found


async def _switch(connection: Connection, text: str, mark: str) -> None:
    async with transaction(connection):
        await connection.execute("SET LOCAL search_path = public; SET LOCAL lock_timeout = '10s'")
        await connection.execute(text)
        await connection.execute(f"COMMENT ON VIEW bars_1m IS '{mark}'")


async def refresh(connection: Connection, source: str, since: datetime, until: datetime) -> None:
    """Bring the aggregates of a table up to date over [since, until), if it has any: a policy looks not so far back."""
    behind = await _wanted(connection)
    if behind == "rollup" and source == "prices":
        await connection.execute("SELECT roll_up_prices($1, $2::timestamptz + interval '1 day')", since, until)
    if behind == "cagg":
        for name in (name for name, made_of in SOURCES.items() if made_of == source):
            await connection.execute(
                "CALL refresh_continuous_aggregate($1::regclass, $2::timestamptz, $3::timestamptz)",
                f"public.{name}_cagg",
                since,
                until,
            )


async def roll_up_prices(connection: Connection) -> int:
    """Make the days of prices that are over, where no continuous aggregate does; how many are new or have other values."""
    if await _wanted(connection) != "rollup":
        return 0
    made: int = await connection.fetchval(_ROLL_UP_PRICES, timedelta(days=AGAIN_DAYS))
    return made


_ROLL_UP_PRICES = """
    SELECT roll_up_prices(least(now() - $1::interval, coalesce((SELECT max(time) FROM prices_daily_rollup), first)), now())
      FROM (SELECT min(range_start) AS first FROM timescaledb_information.chunks WHERE hypertable_name = 'prices') chunks"""
