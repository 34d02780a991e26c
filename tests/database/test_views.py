"""The views of schema `market` show names instead of ids, and every value as stored; a query reads only the chunks of its time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.support.versions import every_version

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NAMES = ("binance", "BTC/USDT", "BTC", "USDT")


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    await connection.execute(
        "INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status) VALUES"
        " (1, 'binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading'),"
        " (2, 'kraken', 'ETH/USD', 'ETH/USD', 'ETH', 'USD', 'spot', 'trading')"
    )
    yield connection
    await connection.close()


FACTS = {
    "trades": (7, Decimal("0.10"), Decimal("2"), "buy", NOON, None),
    "quotes": ("", Decimal(1), Decimal(2), None, None, 5, NOON),
    "order_books": ("", [Decimal(2), Decimal(1)], [Decimal(5), Decimal(6)], [], [], 9, NOON),
}


@pytest.mark.parametrize("table", FACTS)
async def test_a_row_is_shown_with_its_names(connection: Any, table: str) -> None:
    row = (1, NOON, *FACTS[table])
    await connection.execute(f"INSERT INTO {table} VALUES ({', '.join(f'${n + 1}' for n in range(len(row)))})", *row)
    assert [tuple(seen) for seen in await connection.fetch(f"SELECT * FROM market.{table}")] == [(*NAMES, NOON, *FACTS[table])]


async def test_a_candle_is_shown_with_its_names(connection: Any) -> None:
    bar = (Decimal(2), Decimal(3), Decimal(1), Decimal(2), Decimal(0), None, None, None, None, None, None, 1, "ws", NOON)
    values = ", ".join(f"${n}" for n in range(1, 18))
    await connection.execute(f"INSERT INTO candles VALUES ({values})", 1, "1m", NOON, *bar)
    assert [tuple(seen) for seen in await connection.fetch("SELECT * FROM market.candles")] == [(*NAMES, "1m", NOON, *bar)]


async def test_gaps_are_what_is_not_covered(connection: Any) -> None:
    hour = timedelta(hours=1)
    insert = (
        "INSERT INTO coverage"
        " (source, instrument_id, channel, writer, state, reason, since, until, first_id, last_id, expected, stored)"
        " VALUES ($1, $2, 'trades', 'one', $3, $4, $5, $6, $7, $8, $9, $10)"
    )
    await connection.execute(insert, "binance", 1, "covered", "", NOON, NOON + hour, None, None, None, None)
    await connection.execute(insert, "binance", 1, "healed", "sequence", NOON, NOON + hour, 5, 9, 5, 5)
    await connection.execute(insert, "coingecko", None, "open", "disconnect", NOON, None, None, None, None, None)
    seen = await connection.fetch(
        "SELECT source, instrument, channel, state, reason, since, until, length, first_id, last_id, missing FROM market.gaps"
        " WHERE until IS NOT NULL"
    )
    assert [tuple(row) for row in seen] == [
        ("binance", "BTC/USDT", "trades", "healed", "sequence", NOON, NOON + hour, hour, 5, 9, 0),
    ]
    query = "SELECT source, instrument, state, now() - since = length FROM market.gaps WHERE until IS NULL"
    (still_open,) = await connection.fetch(query)
    assert tuple(still_open) == ("coingecko", None, "open", True)


@pytest.mark.parametrize("view", ["trades", "candles", "quotes", "order_books"])
@every_version
async def test_a_query_reads_only_the_chunks_of_its_time(connection: Any, view: str) -> None:
    """Of thirty chunks, a query for two days by the instrument's name reads at most three."""
    every = timedelta(days=7 if view == "candles" else 1)
    row = {
        "trades": (1, Decimal(1), Decimal(1), "buy", NOON, None),
        "candles": (*[Decimal(1)] * 4, Decimal(0), *[None] * 6, 1, "ws", NOON),
        "quotes": ("", None, None, None, None, None, NOON),
        "order_books": ("", [], [], [], [], None, NOON),
    }[view]
    key = (1, "1m") if view == "candles" else (1,)
    values = ", ".join(f"${n + 1}" for n in range(len(key) + 1 + len(row)))
    await connection.executemany(f"INSERT INTO {view} VALUES ({values})", [(*key, NOON - n * every, *row) for n in range(30)])
    await connection.execute("ANALYZE")

    plan = await connection.fetch(
        f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM market.{view}"
        f" WHERE exchange = 'binance' AND instrument = 'BTC/USDT' AND time >= '{NOON - 2 * timedelta(days=1)}' AND time < '{NOON}'"
    )
    chunks = set(re.findall(r"_hyper_\d+_\d+_chunk", "\n".join(line[0] for line in plan)))
    assert 1 <= len(chunks) <= 3
