"""The price of a coin at a moment: of the newest closed bar, else the stored price, never a stale one. And reorged blocks."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from ingest.polling.db_queries import ReorgedBlock
from ingest.records import SECOND
from ingest.store.chain_reorgs import remove_block
from ingest.store.spot_prices import usd_prices
from tests.support.daemon import on_apache
from tests.support.polled import NOON, POLLED

AT = int(NOON.timestamp()) * SECOND
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def put_bar(connection: Any, exchange: str, instrument: str, ago: timedelta, close: str, *, kind: str = "spot") -> None:
    base, quote = instrument.split("/")
    number = await connection.fetchval(
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status)"
        " VALUES ($1, $2, $2, $3, $4, $5, 'trading') ON CONFLICT (exchange, symbol) DO UPDATE SET updated_at = now() RETURNING id",
        *(exchange, instrument, base, quote, kind),
    )
    await connection.execute(
        "INSERT INTO candles (instrument_id, interval, time, open, high, low, close, volume, parts, origin, received_at)"
        " VALUES ($1, '1m', $2, $3, $3, $3, $3, 1, 1, 'ws', now())",
        *(number, NOON - ago, Decimal(close)),
    )


async def put_price(connection: Any, symbol: str, ago: timedelta, price: str) -> None:
    number = await connection.fetchval("INSERT INTO assets (symbol, coingecko_id, name) VALUES ($1, $1, '') RETURNING id", symbol)
    row = POLLED["prices"] | {"asset_id": number, "time": NOON - ago, "price_usd": Decimal(price)}
    await put(connection, "prices", row)


async def put(connection: Any, table: str, row: dict[str, Any]) -> None:
    columns, places = ", ".join(f'"{name}"' for name in row), ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", *row.values())


@on_apache
async def test_the_price_is_that_of_the_newest_closed_bar(connection: Any) -> None:
    await put_bar(connection, "binance", "BTC/USDT", 2 * MINUTE, "100.10")
    await put_bar(connection, "coinbase", "BTC/USD", 2 * MINUTE, "100.20")
    await put_bar(connection, "kraken", "BTC/USD", 3 * MINUTE, "99")
    await put_bar(connection, "binance", "BTC/EUR", MINUTE, "90")
    await put_bar(connection, "deribit", "BTC/USDC", MINUTE, "110", kind="swap")
    assert await usd_prices(connection, ["BTC"], AT) == {"BTC": "100.20"}
    await put_bar(connection, "binance", "BTC/USDT", MINUTE, "100.30")
    await put_bar(connection, "kraken", "BTC/USD", MINUTE / 2, "120")
    assert await usd_prices(connection, ["BTC"], AT) == {"BTC": "100.30"}
    assert await usd_prices(connection, ["BTC"], AT - int((2 * MINUTE).total_seconds()) * SECOND) == {"BTC": "99"}


@on_apache
async def test_without_a_bar_it_is_the_stored_price_and_a_stale_price_is_left_out(connection: Any) -> None:
    await put_price(connection, "USDC", HOUR, "0.9991")
    await put_price(connection, "ETH", 7 * HOUR, "3000")
    await put_bar(connection, "binance", "LINK/USDT", 7 * HOUR, "10")
    await put_bar(connection, "kraken", "DAI/USD", 5 * HOUR, "1.0002")
    await put_price(connection, "DAI", MINUTE, "1")
    assert await usd_prices(connection, ["DAI", "ETH", "LINK", "USDC", "NONE"], AT) == {"DAI": "1.0002", "USDC": "0.9991"}


async def test_removing_a_reorged_block_removes_its_rows_and_their_native_ids(connection: Any) -> None:
    """On both editions, whose chunks differ."""
    row = POLLED["whale_transactions"]
    for hash_, block, time in (("ab", "old", NOON), ("cd", "old", NOON + HOUR), ("ef", "new", NOON), ("01", None, NOON)):
        await put(connection, "whale_transactions", row | {"hash": hash_, "block_hash": block, "time": time})
        native_id = ["bitcoin", hash_, "BTC", "0"]
        await connection.execute("INSERT INTO native_ids VALUES ('whale_transactions', $1, $2)", native_id, time)
    orphan = ReorgedBlock("bitcoin", "old", AT)
    assert await remove_block(connection, ReorgedBlock("ethereum", "old", AT)) == 0
    assert await remove_block(connection, orphan) == 2
    assert await remove_block(connection, orphan) == 0
    assert await connection.fetch("SELECT hash FROM whale_transactions ORDER BY hash") == [("01",), ("ef",)]
    assert await connection.fetch("SELECT native_id[2] FROM native_ids ORDER BY 1") == [("01",), ("ef",)]
