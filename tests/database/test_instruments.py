"""The table `instruments`: ids that stay, rows that are written only when they change, one trade feed for one instrument."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace

from ingest.errors import Retry, Stop
from ingest.records import Instrument
from ingest.store.instruments import store_instruments
from ingest.store.pool import Pool, open_pool

BTC = Instrument("kraken", "BTC/USD", "BTC/USD", "BTC", "USD", "spot", "trading", price_step="0.10", size_step="0.00000001")
ETH = Instrument("kraken", "ETH/USD", "ETH/USD", "ETH", "USD", "spot", "halted")


@pytest_asyncio.fixture
async def pool(market: str) -> AsyncIterator[Pool]:
    made = await open_pool(market, 2)
    yield made
    await made.close()


async def stored(pool: Pool) -> dict[str, dict[str, Any]]:
    rows = await pool.fetch("SELECT *, xmin::text AS version FROM instruments ORDER BY symbol")
    return {row["symbol"]: dict(row) for row in rows}


async def test_a_listing_is_stored_and_returned_with_ids(pool: Pool) -> None:
    eth, btc = await store_instruments(pool, [ETH, BTC], "trade")  # in the order given
    assert (eth, btc) == (replace(ETH, id=eth.id), replace(BTC, id=btc.id))
    assert 0 < btc.id != eth.id > 0
    rows = await stored(pool)
    assert list(rows) == ["BTC/USD", "ETH/USD"]
    names = ("id", "exchange", "instrument", "base", "quote", "kind", "status", "price_step", "size_step", "trade_kind")
    assert [rows["BTC/USD"][name] for name in names] == [
        *(btc.id, "kraken", "BTC/USD", "BTC", "USD", "spot", "trading", Decimal("0.10"), Decimal("0.00000001"), "trade")
    ]
    assert [rows["ETH/USD"][name] for name in names] == [
        *(eth.id, "kraken", "ETH/USD", "ETH", "USD", "spot", "halted", None, None, "trade")
    ]


async def test_ids_stay_and_unchanged_rows_are_not_written_again(pool: Pool) -> None:
    first = await store_instruments(pool, [BTC, ETH], "trade")
    before = await stored(pool)
    assert await store_instruments(pool, [BTC, ETH], "trade") == first
    assert await stored(pool) == before


async def test_what_changed_is_written_and_nothing_else(pool: Pool) -> None:
    first = await store_instruments(pool, [BTC, ETH], "trade")
    before = await stored(pool)
    changed = replace(BTC, status="halted", price_step="0.01")
    second = await store_instruments(pool, [changed, ETH], "trade")
    after = await stored(pool)
    assert [row.id for row in second] == [row.id for row in first]
    assert (after["BTC/USD"]["status"], after["BTC/USD"]["price_step"]) == ("halted", Decimal("0.01"))
    assert after["BTC/USD"]["updated_at"] > before["BTC/USD"]["updated_at"]
    assert after["BTC/USD"]["listed_at"] == before["BTC/USD"]["listed_at"]
    assert after["ETH/USD"] == before["ETH/USD"]


async def test_the_same_symbol_of_two_exchanges_is_two_instruments(pool: Pool) -> None:
    (kraken,) = await store_instruments(pool, [BTC], "trade")
    (other,) = await store_instruments(pool, [replace(BTC, exchange="other")], "trades")
    assert kraken.id != other.id


async def test_another_trade_kind_is_refused(pool: Pool) -> None:
    (btc,) = await store_instruments(pool, [BTC], None)
    assert (await stored(pool))["BTC/USD"]["trade_kind"] is None  # nothing of it fills trades
    await store_instruments(pool, [BTC], "trade")
    with pytest.raises(Stop) as stop:
        await store_instruments(pool, [ETH, BTC], "aggTrade")
    assert str(stop.value) == (
        "kraken: trade_kind is 'aggTrade', but the stored trades of BTC/USD are 'trade'; one instrument cannot have ids of both: "
        "set trade_kind to 'trade', or use another database"
    )
    assert (await stored(pool))["BTC/USD"]["trade_kind"] == "trade"
    assert await store_instruments(pool, [BTC], None) == [btc]  # a feed without trades may use it


async def test_a_refusal_stores_nothing(pool: Pool) -> None:
    """ETH has no trade kind yet: the refusal of BTC must not give it that of a feed that will not run."""
    await store_instruments(pool, [BTC], "trade")
    with pytest.raises(Stop):
        await store_instruments(pool, [ETH, BTC], "aggTrade")
    assert (await store_instruments(pool, [ETH], "trade"))[0].symbol == "ETH/USD"


async def test_a_bad_row_costs_itself(pool: Pool) -> None:
    """Whatever a parser let through: a step beyond the CHECK, a NUL, another kind."""
    bad = [
        replace(BTC, symbol="A/USD", price_step="1" + "0" * 31),
        replace(BTC, symbol="B/USD", base="B\x00"),
        replace(BTC, symbol="C\x00/USD"),
        replace(BTC, symbol="D/USD", kind="tulip"),
    ]
    out = await store_instruments(pool, [*bad, ETH, BTC], "trade")
    assert [(row.symbol, row.id > 0) for row in out] == [("ETH/USD", True), ("BTC/USD", True)]
    assert list(await stored(pool)) == ["BTC/USD", "ETH/USD"]
    assert [each.message.split(": ")[1] for each in out.rejected] == [
        *("the table instruments refuses 'A/USD'", "the table instruments refuses 'B/USD'"),
        *("the table instruments refuses 'C\\x00/USD'", "the table instruments refuses 'D/USD'"),
    ]
    assert [msgspec.json.decode(each.payload, type=Instrument) for each in out.rejected] == bad
    assert await store_instruments(pool, bad[:1], "trade") == []


async def test_an_empty_listing_stores_nothing(pool: Pool) -> None:
    assert await store_instruments(pool, [], "trade") == []


async def test_a_database_that_is_away_is_a_retry() -> None:
    away = await open_pool("postgresql://nobody@127.0.0.1:1/nothing", 1)
    with pytest.raises(Retry, match="storing the instruments of kraken: "):
        await store_instruments(away, [BTC], "trade")
