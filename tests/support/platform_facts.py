"""Rows of every table that the platforms read, near the time of the database's clock: two exchanges, two coins."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
INSTRUMENTS = (
    (1, "binance", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot"),
    (2, "kraken", "BTC/USDT", "BTC/USDT", "BTC", "USDT", "spot"),
    (3, "kraken", "ETH/USDT", "ETH/USDT", "ETH", "USDT", "spot"),
    (4, "binance", "PEPEUSDT", "PEPE/USDT", "PEPE", "USDT", "spot"),
    (5, "binance", "BTCUSDT_PERP", "BTC/USDT:USDT", "BTC", "USDT", "swap"),
)
HUGE = Decimal("1e15")  # too large for the platforms' DECIMAL(20,8)


class Facts:
    """Inserts rows. `minute` and `today` are of the database's clock, so that a test is right at midnight as well."""

    def __init__(self, connection: asyncpg.Connection[Any], now: datetime) -> None:
        self.connection = connection
        self.minute = now.replace(second=0, microsecond=0)
        self.today = self.minute.replace(hour=0, minute=0)

    async def put(self, table: str, **row: Any) -> None:
        values = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        await self.connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})", *row.values())

    async def candle(self, instrument_id: int, interval: str, time: datetime, price: Any, **more: Any) -> None:
        prices = dict.fromkeys(("open", "high", "low", "close"), Decimal(price))
        row = prices | {"volume": Decimal(2), "quote_volume": Decimal(3), "trades_count": 4, "parts": 1, "origin": "ws"} | more
        await self.put("candles", instrument_id=instrument_id, interval=interval, time=time, received_at=time + MINUTE, **row)

    async def price(self, asset_id: int, time: datetime, usd: Any, **more: Any) -> None:
        row = {"price_usd": Decimal(usd), "price_aud": Decimal(usd) * 2, "volume_24h_usd": Decimal(10)} | more
        await self.put("prices", asset_id=asset_id, source="coingecko", time=time, received_at=time, **row)

    async def article(self, id: str, time: datetime, symbols: list[str], **more: Any) -> None:
        row = {
            "title": f"title {id}",
            "url": f"https://example.org/{id}",
            "categories": ["regulation"],
            "impact_level": "high",
        } | more
        await self.put("news", source="coindesk", id=id, time=time, symbols=symbols, received_at=time + MINUTE, **row)

    async def transfer(self, hash: str, index: int, usd: Any, *, token: str = "BTC", pair: str = "ab", **more: Any) -> None:
        row = {"time": self.minute, "from_label": None, "to_label": "binance_exchange", "alert_level": "low"} | more
        addresses = {"from_address": pair[0], "to_address": pair[1]}
        amounts = {"amount_token": Decimal(usd) / 100, "amount_usd": Decimal(usd)}
        key = {"blockchain": "bitcoin", "hash": hash, "token": token, "index": index}
        await self.put("whale_transactions", **key, **addresses, **amounts, source="mempool_space", received_at=self.minute, **row)


async def facts(connection: asyncpg.Connection[Any]) -> Facts:
    """Insert the instruments and coins; a test inserts the rest."""
    for instrument in INSTRUMENTS:
        await connection.execute(
            "INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, 'trading')",
            *instrument,
        )
    await connection.execute(
        "INSERT INTO assets (symbol, coingecko_id, name) VALUES ('BTC', 'bitcoin', ''), ('ETH', 'ethereum', '')"
    )
    return Facts(connection, await connection.fetchval("SELECT now()"))


async def rows(stored: Facts, query: str, *values: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in await stored.connection.fetch(query, *values)]


def levels(*pairs: tuple[str, str]) -> str:
    """The levels of one side of a book, as the platforms' views show them: JSONB as the server writes it."""
    return json.dumps([list(pair) for pair in pairs])
