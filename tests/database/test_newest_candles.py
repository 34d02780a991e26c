"""The table `newest_candles`, which the platforms read beside the hypertable: where it begins, and that no candle is lost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from ingest.store import platforms
from ingest.store.platforms import move_newest
from tests.support.platform_facts import DAY, MINUTE, Facts, rows

NEWEST = "SELECT count(*) FROM newest_candles"
SINCE = "SELECT newest_since()"


async def test_a_view_shows_newest_and_older_candles_alike(stored: Facts) -> None:
    edge = await stored.connection.fetchval(SINCE)
    assert timedelta(days=7, hours=4) <= stored.minute + MINUTE - edge <= timedelta(days=8, hours=5)
    for minutes in (-1, 0):
        await stored.candle(1, "1m", edge + minutes * MINUTE, "1.5", taker_buy_volume=Decimal("0.5"))
    await stored.connection.execute("UPDATE candles SET close = 2 WHERE instrument_id = 1")
    for view in ("ai_trading.market_data", "mastertrade.market_data"):
        older, newest = await rows(stored, f"SELECT * FROM {view} ORDER BY timestamp")
        differing = {"id", "timestamp", "created_at"}
        assert {name: older[name] for name in older if name not in differing} == {
            name: newest[name] for name in newest if name not in differing
        }
        assert (older["close"], newest["timestamp"] - older["timestamp"], newest["id"] - older["id"]) == (2, MINUTE, 8)
    assert await stored.connection.fetchval(NEWEST) == 1


async def test_the_newest_candles_begin_a_day_later_each_day(stored: Facts) -> None:
    """A cached plan follows. Rows that a move leaves behind are deleted in the next round, and the index is rebuilt."""
    edge = await stored.connection.fetchval(SINCE)
    await stored.connection.execute("SELECT set_newest_since($1)", edge - 2 * DAY)
    times = [edge - 2 * DAY, edge - MINUTE, edge, stored.minute]
    for time in times:
        await stored.candle(1, "1m", time, 1)
    await stored.connection.execute("SET plan_cache_mode = force_generic_plan")
    statement = await stored.connection.prepare("SELECT timestamp FROM mastertrade.market_data WHERE symbol = $1 ORDER BY 1")
    index = "SELECT pg_relation_filenode('newest_candles_pkey')"
    first = await stored.connection.fetchval(index)
    for kept in (4, 4, 2):
        assert [row[0] for row in await statement.fetch("BTCUSDT")] == times
        assert await stored.connection.fetchval(NEWEST) == kept
        await move_newest(stored.connection, None)
    assert await stored.connection.fetchval(SINCE) == edge
    await move_newest(stored.connection, timedelta(days=1))  # no candle is kept for longer than its retention
    await move_newest(stored.connection, timedelta(days=1))
    assert await stored.connection.fetchval(NEWEST) == 1
    assert [row[0] for row in await statement.fetch("BTCUSDT")] == times
    assert await stored.connection.fetchval(index) != first
    assert await indexes(stored) == [("newest_candles_pkey", True)]


async def indexes(stored: Facts) -> list[tuple[Any, ...]]:
    query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'newest_candles'::regclass ORDER BY 1"
    return [tuple(row) for row in await stored.connection.fetch(query)]


async def test_the_index_of_a_locked_table_is_rebuilt_later(stored: Facts, market: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(platforms, "REBUILD_LOCK_TIMEOUT", "200ms")
    other = await asyncpg.connect(market)
    async with other.transaction():
        await other.execute("LOCK TABLE newest_candles IN ROW EXCLUSIVE MODE")
        await platforms.rebuild_newest(stored.connection)
    await other.close()
    await platforms.rebuild_newest(stored.connection)
    assert await indexes(stored) == [("newest_candles_pkey", True)]
    assert await stored.connection.fetchval("SHOW lock_timeout") == "0"


async def test_a_late_candle_is_in_the_table_that_the_views_read(stored: Facts) -> None:
    """Also where the edge was not moved for a month: every candle after it is in `newest_candles`."""
    edge = await stored.connection.fetchval(SINCE)
    await stored.connection.execute("SELECT set_newest_since($1)", edge - 30 * DAY)
    await stored.candle(1, "1m", edge - 29 * DAY, 1)
    await stored.candle(1, "1m", edge - 31 * DAY, 2)
    found = await rows(stored, "SELECT open FROM mastertrade.market_data ORDER BY timestamp")
    assert ([row["open"] for row in found], await stored.connection.fetchval(NEWEST)) == ([2, 1], 1)
