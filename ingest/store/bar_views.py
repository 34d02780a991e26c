"""Switches the views bars_1m, bars_1h, daily_ohlcv and prices_daily between roll-up tables and continuous aggregates.

Readers use only the views. After a change of edition the views read the roll-ups until the continuous aggregates are filled from
all source data that still exists; then they are switched in one transaction. A refresh cannot run inside a transaction, so the
connection must not be in one. https://docs.timescale.com/use-timescale/latest/continuous-aggregates/
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from datetime import datetime, timedelta
from typing import Literal

import asyncpg

from ingest.store.migration_log import alone
from ingest.store.pool import Connection, transaction
from ingest.store.schema_files import GRANTS, Schema, find, read
from ingest.store.ts_edition import detect

Backing = Literal["rollup", "cagg"]  # the relations that the views read
# in this order: hours are computed from minutes
SOURCES = {"bars_1m": "trades", "bars_1h": "trades", "daily_ohlcv": "candles", "prices_daily": "prices"}
PRICES_LOOKBACK = timedelta(days=3)  # how far back daily prices are computed again, for late and revised prices
BUSY_WAIT = (0.2, 10.0)  # seconds between two attempts of a refresh, first and longest
BUSY_SECONDS = 600.0  # a refresh of a year of bars takes less


async def switch(connection: Connection, *, schema: Schema | None = None) -> Backing | None:
    """Make the views read the relations of this edition; new continuous aggregates are filled first.

    Returns the kind of relation that the views read now if it or their text has changed, else None. Needs the owner's rights and a
    direct connection.
    """
    schema = schema or read(find())
    async with alone(connection):
        backing = await _wanted(connection)
        if backing is None:
            return None
        text = schema.text(f"bars/{backing}.sql")
        mark = f"bars/{backing}.sql, sha256 {hashlib.sha256(text.encode()).hexdigest()}"
        present = await connection.fetchval("SELECT obj_description(to_regclass('public.bars_1m'), 'pg_class')")
        if present == mark:
            return None
        if backing == "cagg" and not (present or "").startswith("bars/cagg.sql"):
            await fill(connection)
        await _replace_views(connection, text + schema.text(GRANTS), mark)
        return backing


async def fill(connection: Connection) -> None:
    """Refresh the continuous aggregates from every chunk of their source; cheap if little has changed since the last refresh."""
    for name, source in SOURCES.items():
        # not min(time), which would read every row: no index begins with time
        first = await connection.fetchval(
            "SELECT min(range_start) FROM timescaledb_information.chunks WHERE hypertable_name = $1",
            source,
        )
        if (
            first is not None
        ):  # a window shorter than a bucket is an error, and the first chunk may begin today: two days contain one
            await _refresh(connection, name, first - timedelta(days=2), await connection.fetchval("SELECT now()"))


async def remove(connection: Connection, *, schema: Schema | None = None) -> None:
    """Drop the views. Called before the relations that they read are dropped."""
    await connection.execute((schema or read(find())).text("bars/rollback.sql"))


async def _wanted(connection: Connection) -> Backing | None:
    """The relations that the views should read; None if not even the roll-ups exist."""
    rollups = await _exist(connection, "rollup")
    caggs = await _exist(connection, "cagg") and (await detect(connection)).edition == "community"
    return "cagg" if caggs else "rollup" if rollups else None


async def _exist(connection: Connection, backing: Backing) -> bool:
    names = [f"public.{name}_{backing}" for name in SOURCES]
    found: bool = await connection.fetchval("SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) AS name", names)
    return found


async def _replace_views(connection: Connection, text: str, mark: str) -> None:
    async with transaction(connection):
        await connection.execute("SET LOCAL search_path = public; SET LOCAL lock_timeout = '10s'")
        await connection.execute(text)
        await connection.execute(f"COMMENT ON VIEW bars_1m IS '{mark}'")


async def refresh(connection: Connection, source: str, since: datetime, until: datetime) -> None:
    """Update the bars of a table over [since, until), if it has bars: a refresh policy does not reach so far back."""
    backing = await _wanted(connection)
    if backing == "rollup" and source == "prices":
        await connection.execute("SELECT roll_up_prices($1, $2::timestamptz + interval '1 day')", since, until)
    if backing == "cagg":
        for name in (name for name, table in SOURCES.items() if table == source):
            await _refresh(connection, name, since, until)


async def _refresh(connection: Connection, name: str, since: datetime, until: datetime) -> None:
    """Refresh one continuous aggregate. Waits while another refresh of it runs: a backfill's, or a policy's.

    Two refreshes cannot run at once: the later one fails at once (55P03). Raises that error unchanged after BUSY_SECONDS.
    """
    wait, deadline = BUSY_WAIT[0], time.monotonic() + BUSY_SECONDS
    while True:
        try:
            await connection.execute(
                "CALL refresh_continuous_aggregate($1::regclass, $2::timestamptz, $3::timestamptz)",
                f"public.{name}_cagg",
                since,
                until,
            )
        except asyncpg.LockNotAvailableError:
            if time.monotonic() > deadline:
                raise
        else:
            return
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, BUSY_WAIT[1])


async def roll_up_prices(connection: Connection) -> int:
    """Compute the daily prices of past days if no continuous aggregate does. Returns the number of new or changed rows."""
    if await _wanted(connection) != "rollup":
        return 0
    made: int = await connection.fetchval(_ROLL_UP_PRICES, PRICES_LOOKBACK)
    return made


_ROLL_UP_PRICES = """
    SELECT roll_up_prices(least(now() - $1::interval, coalesce((SELECT max(time) FROM prices_daily_rollup), first)), now())
      FROM (SELECT min(range_start) AS first FROM timescaledb_information.chunks WHERE hypertable_name = 'prices') chunks"""
