"""What pollers remember: the cursor, what of the month is spent, when they are due; and which coin a symbol means."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from daemon import on_apache

from ingest.records import Asset
from ingest.store.polls import Place, forget_native, load_place, save_place, store_assets

pytestmark = on_apache


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def test_a_place_is_kept_and_the_requests_of_a_month_add_up(connection: Any) -> None:
    assert await load_place(connection, "coingecko") == Place("", 0, 0.0)
    await save_place(connection, "coingecko", "a", 2, 100.0)
    await save_place(connection, "coingecko", "b", 3, 500.0)
    place = await load_place(connection, "coingecko")
    assert (place.cursor, place.requests) == ("b", 5)
    assert 490 < place.wait <= 500
    assert await load_place(connection, "cboe") == Place()


async def test_another_month_begins_with_nothing_spent(connection: Any) -> None:
    await save_place(connection, "coingecko", "a", 9_999, 0.0)
    await connection.execute("UPDATE poll_cursors SET month = month - interval '1 month'")
    place = await load_place(connection, "coingecko")
    assert (place.cursor, place.requests) == ("a", 0)
    assert place.wait <= 0
    await save_place(connection, "coingecko", "b", 2, 0.0)
    assert (await load_place(connection, "coingecko")).requests == 2


async def test_a_symbol_keeps_its_id_when_it_means_another_coin(connection: Any) -> None:
    (btc, one) = await store_assets(connection, [Asset("BTC", "bitcoin"), Asset("ONE", "harmony")])
    (again,) = await store_assets(connection, [Asset("ONE", "one-coin")])
    assert (again.id, again.coingecko_id) == (one.id, "one-coin")
    assert {btc.id, one.id} == {row["id"] for row in await connection.fetch("SELECT id FROM assets")}
    found = await connection.fetch("SELECT symbol, coingecko_id FROM assets ORDER BY symbol")
    assert [tuple(row) for row in found] == [("BTC", "bitcoin"), ("ONE", "one-coin")]


async def test_ids_are_forgotten_with_their_facts(connection: Any) -> None:
    for table, days in (("news", 10), ("news", 30), ("whale_transactions", 30), ("sentiment_posts", 30)):
        await connection.execute(
            "INSERT INTO native_ids VALUES ($1, ARRAY[$1, $2::text], now() - make_interval(days => $2::text::int))",
            table,
            str(days),
        )
    retention = {"news": timedelta(days=20), "whale_transactions": timedelta(days=40), "sentiment_posts": None}
    await forget_native(connection, retention)
    left = await connection.fetch("SELECT table_name, native_id[2] FROM native_ids ORDER BY 1")
    assert [tuple(row) for row in left] == [("news", "10"), ("sentiment_posts", "30"), ("whale_transactions", "30")]
