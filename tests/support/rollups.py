"""One-minute candles of one day and their roll-ups. The numbers are small enough to check each bar by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from ingest.store.rollup import mark_batch
from ingest.tables import CANDLES

DAY = datetime(2026, 11, 19, tzinfo=UTC)


def minute(number: int, **changes: Any) -> dict[str, Any]:
    """The 1m candle of minute `number` of DAY: it opens at 100 + number and closes one higher. `changes` replace columns."""
    price = Decimal(100 + number)
    return {
        "instrument_id": 1,
        "interval": "1m",
        "time": DAY + timedelta(minutes=number),
        "open": price,
        "high": price + 2,
        "low": price - 1,
        "close": price + 1,
        "volume": Decimal("1.50"),
        "quote_volume": Decimal("150"),
        "trades_count": 3,
        "taker_buy_volume": Decimal("0.5"),
        "taker_buy_quote_volume": Decimal("50"),
        "first_trade_id": 10 * number,
        "last_trade_id": 10 * number + 2,
        "parts": 1,
        "origin": "rest",
        "received_at": DAY + timedelta(minutes=number, seconds=61),
    } | changes


async def put_candles(connection: asyncpg.Connection[Any], edition: Any, *bars: dict[str, Any]) -> None:
    """Insert candles and their marks in one transaction, as the batch writer does."""
    names = [column.name for column in CANDLES.columns]
    columns = ", ".join(names)
    replaced = ", ".join(f"{name} = EXCLUDED.{name}" for name in names)
    values = ", ".join(f"${n}" for n in range(1, len(names) + 1))
    async with connection.transaction():
        await connection.executemany(
            f"INSERT INTO candles ({columns}) VALUES ({values}) ON CONFLICT ({', '.join(CANDLES.key)}) DO UPDATE SET {replaced}",
            [[bar[name] for name in names] for bar in bars],
        )
        await mark_rows(connection, "candles", edition, *((bar["instrument_id"], bar["time"]) for bar in bars))


async def mark_rows(connection: asyncpg.Connection[Any], table: str, edition: Any, *rows: tuple[int, datetime]) -> None:
    """Mark the buckets of rows (instrument id, time) for roll-up."""
    minutes = frozenset((instrument_id, int(time.timestamp()) // 60) for instrument_id, time in rows)
    await mark_batch(connection, table, edition, minutes)


async def candles(connection: asyncpg.Connection[Any], interval: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await connection.fetch("SELECT * FROM candles WHERE interval = $1 ORDER BY time", interval)]


async def marks(connection: asyncpg.Connection[Any]) -> list[tuple[str, datetime]]:
    rows = await connection.fetch("SELECT target, time FROM rollup_dirty ORDER BY target, time")
    return [(row["target"], row["time"]) for row in rows]
