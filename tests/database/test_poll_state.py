"""The stored state of pollers: the cursor, the requests of the month, the next turn; and the coin that a symbol means."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from ingest.errors import Stop
from ingest.records import Asset
from ingest.store.poll_state import PollState, delete_expired_native_ids, load_state, reserve_request, save_state, store_assets
from tests.support.daemon import on_apache

pytestmark = on_apache


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def test_the_cursor_is_kept_and_the_requests_of_a_month_add_up(connection: Any) -> None:
    assert await load_state(connection, "coingecko") == PollState("", 0, 0.0)
    await save_state(connection, "coingecko", "a", 100.0)
    assert [await reserve_request(connection, "coingecko", 10_000) for _ in range(3)] == [1, 2, 3]
    await save_state(connection, "coingecko", "b", 500.0)
    state = await load_state(connection, "coingecko")
    assert (state.cursor, state.requests) == ("b", 3)
    assert 490 < state.wait <= 500
    assert await load_state(connection, "cboe") == PollState()


async def test_a_spent_budget_of_a_month_allows_no_request_and_a_new_month_starts_at_zero(connection: Any) -> None:
    assert [await reserve_request(connection, "coingecko", 2) for _ in range(3)] == [1, 2, None]
    assert await reserve_request(connection, "coingecko", None) == 3
    await save_state(connection, "coingecko", "a", 0.0)
    await connection.execute("UPDATE poll_cursors SET month = month - interval '1 month'")
    state = await load_state(connection, "coingecko")
    assert (state.cursor, state.requests) == ("a", 0)
    assert state.wait <= 0
    await save_state(connection, "coingecko", "b", 0.0)
    assert (await load_state(connection, "coingecko")).requests == 0
    assert await reserve_request(connection, "coingecko", 2) == 1
    assert await load_state(connection, "coingecko") == PollState("b", 1, pytest.approx(0.0, abs=60.0))


async def test_a_symbol_means_one_coin_and_keeps_to_it(connection: Any) -> None:
    (btc, one) = await store_assets(connection, [Asset("BTC", "bitcoin"), Asset("ONE", "harmony")])
    assert await store_assets(connection, [Asset("ONE", "harmony"), Asset("BTC", "bitcoin")]) == (one, btc)
    assert await store_assets(connection, [Asset("ONE", "harmny")]) == (
        Asset("ONE", "harmny", id=one.id),
    )  # no row refers to the coin yet
    assert await store_assets(connection, [Asset("ONE", "harmony")]) == (one,)
    await connection.execute(
        "INSERT INTO prices (asset_id, source, time, price_usd, received_at) VALUES ($1, 'coingecko', now(), 1, now())", one.id
    )
    message = (
        f"symbol 'ONE' is the coin 'harmony' in this database (assets.id {one.id}), not 'one-coin'; right would be ids = {{ ONE = "
    )
    with pytest.raises(Stop, match=re.escape(message)):
        await store_assets(connection, [Asset("BTC", "bitcoin"), Asset("ONE", "one-coin")])
    found = await connection.fetch("SELECT symbol, coingecko_id, id FROM assets ORDER BY symbol")
    assert [tuple(row) for row in found] == [("BTC", "bitcoin", btc.id), ("ONE", "harmony", one.id)]


async def test_native_ids_expire_with_their_rows(connection: Any) -> None:
    for table, days in (("news", 10), ("news", 30), ("whale_transactions", 30), ("sentiment_posts", 30)):
        await connection.execute(
            "INSERT INTO native_ids VALUES ($1, ARRAY[$1, $2::text], now() - make_interval(days => $2::text::int))",
            table,
            str(days),
        )
    retention = {"news": timedelta(days=20), "whale_transactions": timedelta(days=40), "sentiment_posts": None}
    await delete_expired_native_ids(connection, retention)
    left = await connection.fetch("SELECT table_name, native_id[2] FROM native_ids ORDER BY 1")
    assert [tuple(row) for row in left] == [("news", "10"), ("sentiment_posts", "30"), ("whale_transactions", "30")]
