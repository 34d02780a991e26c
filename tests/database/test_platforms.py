"""The platforms' schemas: each relation has the columns that its platform declares, and shows each stored fact once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ingest.config.source_names import READING_EXCHANGES
from ingest.store import bar_views
from ingest.store.platforms import DEFAULT, delete_expired, overflows, reconcile
from tests.support.paths import DECLARED
from tests.support.platform_facts import DAY, HUGE, MINUTE, Facts, levels, rows

PLATFORMS = ("ai_trading", "catalyst", "cryptomax", "cryptosense", "mastertrade")
SPELT = {  # a declared type -> how the server spells it
    "TIMESTAMPTZ": "timestamp with time zone",
    "INT": "integer",
    "DECIMAL": "numeric",
}


# --- what the platforms declare ------------------------------------------------------------------------------------------


def declared(platform: str) -> dict[str, list[tuple[str, str]]]:
    """relation -> (column, type as the server spells it), from the platform's own CREATE TABLE statements."""
    path = DECLARED / f"{platform}.sql"
    if not path.exists():
        pytest.skip(f"the platforms' declarations are absent: {path}")
    text = re.sub(r"--[^\n]*", "", path.read_text())
    tables = re.findall(r"CREATE TABLE (\w+) \((.*?)\n\);", text, re.DOTALL)
    return {name: list(columns(body)) for name, body in tables}


def columns(body: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r",(?![^(]*\))", body):
        found = re.match(r"\s*(?!PRIMARY|UNIQUE)(\w+)\s+(\w+(?:\([\d, ]+\))?(?:\[\])?)", part)
        if found:
            yield found[1], spelt(found[2])


def spelt(kind: str) -> str:
    base, size = re.match(r"(\w+)(.*)", kind.replace(" ", "")).groups()  # type: ignore[union-attr]
    name = SPELT.get(base.upper(), base.lower())
    return f"{'character varying' if name == 'varchar' else name}{size}"


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_every_relation_is_as_its_platform_declares_it(stored: Facts, platform: str) -> None:
    query = """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = $1::text::regnamespace AND a.attnum > 0 ORDER BY c.relname, a.attnum
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for relation, column, kind in await stored.connection.fetch(query, platform):
        found.setdefault(relation, []).append((column, kind))
    assert found == declared(platform)


def test_the_declarations_are_read() -> None:
    assert sum(len(declared(platform)) for platform in PLATFORMS) == 18
    assert declared("mastertrade")["stock_indices"][3] == ("open", "numeric(12,2)")
    assert declared("cryptomax")["crypto_news_feed"][9] == ("symbols_mentioned", "text[]")


async def test_nobody_can_write(stored: Facts) -> None:
    """Not even the superuser, although PostgreSQL would pass an INSERT into a view of a single table on to the table."""
    for platform in PLATFORMS:
        for relation, names in declared(platform).items():
            for statement in (
                f"INSERT INTO {platform}.{relation} DEFAULT VALUES",
                f"UPDATE {platform}.{relation} SET {names[0][0]} = NULL",
                f"DELETE FROM {platform}.{relation}",
            ):
                await stored.connection.execute("SET enable_seqscan = on")
                if statement.startswith("INSERT"):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"{platform}.{relation} is read-only"):
                        await stored.connection.execute(statement)
                else:  # the relations are empty, so the trigger has no row to refuse; other roles lack the privilege
                    await stored.connection.execute(statement)


# --- the exchange of a symbol --------------------------------------------------------------------------------------------


async def symbols(stored: Facts, platform: str = "mastertrade") -> dict[str, int]:
    query = "SELECT symbol, instrument_id FROM platform_instruments WHERE platform = $1"
    return {row["symbol"]: row["instrument_id"] for row in await stored.connection.fetch(query, platform)}


async def test_each_symbol_is_read_from_one_exchange(stored: Facts) -> None:
    """It is Binance by default, and the next exchange for a symbol that Binance lacks. A perpetual is another market."""
    assert await symbols(stored) == {"BTCUSDT": 1, "ETHUSDT": 3, "PEPEUSDT": 4}
    assert await reconcile(stored.connection, {"mastertrade": ("kraken", "binance")}) == ["mastertrade: kraken, binance"]
    assert await symbols(stored) == {"BTCUSDT": 2, "ETHUSDT": 3, "PEPEUSDT": 4}
    assert await symbols(stored, "ai_trading") == {"BTCUSDT": 1, "ETHUSDT": 3, "PEPEUSDT": 4}
    assert await reconcile(stored.connection, {"mastertrade": ("kraken",)}) == ["mastertrade: kraken"]
    assert await symbols(stored) == {"BTCUSDT": 2, "ETHUSDT": 3}
    assert await reconcile(stored.connection, {"mastertrade": ("kraken",)}) == []
    assert await reconcile(stored.connection, {}) == [f"mastertrade: {DEFAULT}"]
    assert await symbols(stored) == {"BTCUSDT": 1, "ETHUSDT": 3, "PEPEUSDT": 4}
    names = await stored.connection.fetch("SELECT DISTINCT platform FROM platform_instruments ORDER BY 1")
    assert [row[0] for row in names] == list(READING_EXCHANGES)


async def test_a_market_that_is_listed_later_takes_effect_at_once(stored: Facts) -> None:
    await stored.connection.execute(
        "INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status)"
        " VALUES (6, 'binance', 'ETHUSDT', 'ETH/USDT', 'ETH', 'USDT', 'spot', 'trading')"
    )
    assert await symbols(stored) == {"BTCUSDT": 1, "ETHUSDT": 6, "PEPEUSDT": 4}


async def test_two_exchanges_with_the_same_market_are_one_row(stored: Facts) -> None:
    for instrument_id in (1, 2, 3):
        for interval in ("1m", "5m"):
            await stored.candle(instrument_id, interval, stored.minute - DAY, 100 * instrument_id)
    for view, interval in (("mastertrade.market_data", "interval"), ("ai_trading.market_data", "timeframe")):
        query = f"SELECT symbol, {interval} AS length, open, timestamp, created_at, id FROM {view} ORDER BY symbol, {interval}"
        found = await rows(stored, query)
        assert [(row["symbol"], row["length"], row["open"]) for row in found] == [
            ("BTCUSDT", "1m", 100),
            ("BTCUSDT", "5m", 100),
            ("ETHUSDT", "1m", 300),
            ("ETHUSDT", "5m", 300),
        ]
        assert {row["timestamp"] for row in found} == {stored.minute - DAY}
        assert {row["created_at"] for row in found} == {stored.minute - DAY + MINUTE}
        ids = [row["id"] for row in found]
        assert len(set(ids)) == 4
        assert [row["id"] for row in await rows(stored, query)] == ids


# --- the rows ------------------------------------------------------------------------------------------------------------


async def test_a_number_that_is_too_large_is_null_and_fails_no_query(stored: Facts) -> None:
    """The largest number of the type is rounded; a number that rounding would make too large is NULL as well."""
    more = {
        "volume": HUGE,
        "quote_volume": Decimal("999999999999.999999994999"),
        "taker_buy_volume": Decimal("999999999999.999999995"),
    }
    await stored.candle(4, "1m", stored.minute, "0.0000000123", **more)
    (row,) = await rows(stored, "SELECT * FROM ai_trading.market_data WHERE symbol = 'PEPEUSDT'")
    assert str(row["open"]) == "1E-8"  # 0.0000000123 to eight decimals
    assert (row["volume"], str(row["quote_volume"]), row["taker_buy_volume"]) == (None, "999999999999.99999999", None)
    (row,) = await rows(stored, "SELECT * FROM mastertrade.market_data WHERE symbol = 'PEPEUSDT'")
    assert (row["volume"], row["trades_count"]) == (None, 4)
    assert await overflows(stored.connection) == [
        "candles.volume: 1 of the last hour are NULL for the platforms, up to 1000000000000000",
        "candles.taker_buy_volume: 1 of the last hour are NULL for the platforms, up to 999999999999.999999995",
    ]


async def test_trades_and_books_in_the_platforms_columns(stored: Facts) -> None:
    time = stored.minute
    trade = {"instrument_id": 1, "time": time, "price": Decimal("10.5"), "received_at": time}
    await stored.put("trades", trade_id=7, size=Decimal(2), side="sell", **trade)
    await stored.put("trades", trade_id=8, size=HUGE, side="buy", **trade)
    found = await rows(stored, "SELECT * FROM ai_trading.trades ORDER BY trade_id")
    assert [tuple(row.values())[1:] for row in found] == [
        ("BTCUSDT", time, 7, Decimal("10.5"), Decimal(2), Decimal(21), True),
        ("BTCUSDT", time, 8, Decimal("10.5"), None, None, False),
    ]
    sides = {"bid_prices": [Decimal("10.50"), Decimal(9)], "bid_sizes": [Decimal(1), Decimal(2)]}
    book = {"instrument_id": 1, "time": time, "ask_prices": [], "ask_sizes": [], "sequence": 5, "received_at": time} | sides
    await stored.put("order_books", writer="one", **book)
    await stored.put("order_books", writer="two", **book)
    (row,) = await rows(stored, "SELECT * FROM ai_trading.order_book_snapshots")
    assert list(row.values())[1:] == ["BTCUSDT", time, levels(("10.50", "1"), ("9", "2")), "[]", 5]


async def test_indicators_with_their_metadata(stored: Facts) -> None:
    row = {"instrument_id": 1, "interval": "1m", "time": stored.minute, "received_at": stored.minute}
    await stored.put("indicators", name="MACD", value=Decimal("-1.5"), metadata='{"signal": 2}', **row)
    await stored.put("indicators", name="OBV", value=-HUGE, metadata=None, **row)
    found = await rows(stored, "SELECT * FROM mastertrade.technical_indicators ORDER BY indicator_name")
    assert [(row["symbol"], row["interval"], row["value"], row["metadata"]) for row in found] == [
        ("BTCUSDT", "1m", Decimal("-1.5"), '{"signal": 2}'),
        ("BTCUSDT", "1m", None, None),
    ]
    found = await rows(stored, "SELECT value, additional_values FROM ai_trading.technical_indicators WHERE indicator_name = 'MACD'")
    assert found == [{"value": Decimal("-1.5"), "additional_values": '{"signal": 2}'}]


async def test_a_transaction_is_one_row(stored: Facts) -> None:
    """It has the sum of a token's transfers and the addresses of the largest; of two tokens the one that is worth more."""
    await stored.transfer("x", 0, 2_000_000)
    await stored.transfer("x", 1, 9_000_000, pair="cd")
    await stored.transfer("x", 2, 3_000_000, token="USDT")
    await stored.transfer("y", 0, 5_000_000)
    query = "SELECT * FROM mastertrade.whale_transactions ORDER BY amount_usd DESC"
    largest, other = await rows(stored, query)
    assert largest | {"id": 0} == {
        "id": 0,
        "transaction_hash": "x",
        "blockchain": "bitcoin",
        "token_symbol": "BTC",
        "from_address": "c",
        "to_address": "d",
        "from_label": None,
        "to_label": "binance_exchange",
        "amount_token": Decimal(110_000),
        "amount_usd": Decimal(11_000_000),
        "timestamp": stored.minute,
        "alert_level": "medium",
        "created_at": stored.minute,
    }
    assert (other["transaction_hash"], other["alert_level"]) == ("y", "low")
    await stored.connection.execute("UPDATE whale_transactions SET amount_usd = 60000000 WHERE index = 0 AND hash = 'x'")
    await stored.connection.execute("DELETE FROM whale_transactions WHERE hash = 'y'")
    (revised,) = await rows(stored, query)
    assert (revised["amount_usd"], revised["from_address"], revised["alert_level"]) == (69_000_000, "a", "high")
    assert revised["id"] == largest["id"]
    await delete_expired(stored.connection, {"whale_transactions": None})
    assert len(await rows(stored, query)) == 1
    await delete_expired(stored.connection, {"whale_transactions": timedelta(0)})
    assert await rows(stored, query) == []


async def test_a_catalyst_is_an_article_of_one_symbol(stored: Facts) -> None:
    """It changes and is deleted with its article. Symbols with the same first ten letters are one row."""
    query = "SELECT * FROM catalyst.news_catalysts ORDER BY symbol"
    words = {"summary": "short", "sentiment": Decimal("-0.055"), "relevance": Decimal("0.996"), "impact_level": "critical"}
    await stored.article("a", stored.minute, ["ETH", "BTC", "ETH", "ABCDEFGHIJK", "ABCDEFGHIJL"], **words)
    long, bitcoin, ether = await rows(stored, query)
    assert (long["symbol"], bitcoin["symbol"]) == ("ABCDEFGHIJ", "BTC")
    assert ether | {"catalyst_id": 0, "entities": ""} == {
        "catalyst_id": 0,
        "symbol": "ETH",
        "headline": "title a",
        "summary": "short",
        "source": "coindesk",
        "url": "https://example.org/a",
        "sentiment": "negative",
        "sentiment_score": Decimal("-0.06"),
        "relevance_score": Decimal("1.00"),
        "impact_level": "critical",
        "categories": ["regulation"],
        "entities": "",
        "published_at": stored.minute,
        "processed_at": stored.minute + MINUTE,
        "created_at": stored.minute + MINUTE,
    }
    assert json.loads(ether["entities"])[:2] == [{"name": "ETH", "type": "symbol"}, {"name": "BTC", "type": "symbol"}]
    assert len({ether["catalyst_id"], bitcoin["catalyst_id"], long["catalyst_id"]}) == 3
    await stored.connection.execute("UPDATE news SET symbols = '{ETH}', title = 'other'")
    (revised,) = await rows(stored, query)
    assert (revised["headline"], revised["catalyst_id"]) == ("other", ether["catalyst_id"])
    await stored.article("b", stored.minute - 2 * DAY, ["SOL"])
    await stored.article("c", stored.minute, [])
    await delete_expired(stored.connection, {"news": DAY})
    assert [row["symbol"] for row in await rows(stored, query)] == ["ETH"]
    await stored.connection.execute("DELETE FROM news")
    assert await rows(stored, query) == []


async def test_values_of_several_sources_are_one_row(stored: Facts) -> None:
    for source, value in (("mempool_space", 1), ("blockchain_com", 2), ("somebody", 3)):
        key = {"asset": "BTC", "metric": "hash_rate", "source": source, "time": stored.today}
        await stored.put("onchain_metrics", **key, value=Decimal(value), received_at=stored.minute)
    found = await rows(stored, "SELECT symbol, metric_name, value, source FROM mastertrade.onchain_metrics")
    assert found == [{"symbol": "BTC", "metric_name": "hash_rate", "value": 2, "source": "blockchain_com"}]
    for source, high, volume in (("fred", None, None), ("yahoo", Decimal("5.125"), Decimal("1e19"))):
        key = {"index_name": "SPX", "source": source, "time": stored.today}
        await stored.put("stock_indices", **key, high=high, close=Decimal(5), volume=volume, received_at=stored.minute)
    found = await rows(stored, "SELECT index_name, high, close, volume FROM mastertrade.stock_indices")
    assert found == [{"index_name": "SPX", "high": Decimal("5.13"), "close": 5, "volume": None}]


async def test_each_post_and_each_sentiment_score_is_one_row(stored: Facts) -> None:
    for symbol in ("BTC", "ETH"):
        post = {"platform": "mastodon", "post_id": "9", "symbol": symbol, "time": stored.minute, "text": "up", "author": "me"}
        await stored.put(
            "sentiment_posts", **post, score=Decimal("0.4404"), label="positive", engagement=3, received_at=stored.minute
        )
    found = await rows(
        stored, "SELECT post_id, symbol, sentiment_score, engagement_score FROM mastertrade.social_sentiment ORDER BY 1"
    )
    assert [tuple(row.values()) for row in found] == [
        ("9:BTC", "BTC", Decimal("0.4404"), 3),
        ("9:ETH", "ETH", Decimal("0.4404"), 3),
    ]
    for platform, score in (("alternative_me", 20), ("all", 60), ("mastodon", 70), ("lunarcrush", 80)):
        key = {"symbol": "BTC", "platform": platform, "interval": "1h", "time": stored.today}
        await stored.put("sentiment_scores", **key, social_score=Decimal(score), received_at=stored.minute)
    found = await rows(stored, "SELECT asset_symbol, social_score, data_source FROM cryptosense.social_sentiment_history")
    assert found == [{"asset_symbol": "BTC", "social_score": 80, "data_source": "lunarcrush"}]


# --- newest values, and days ---------------------------------------------------------------------------------------------


async def test_nothing_depends_on_the_readers_time_zone(stored: Facts) -> None:
    """Neither the ids nor the end of a day, where clocks change."""
    await stored.candle(1, "1m", stored.minute, 1)
    fill = {"trade_id": 7, "price": 1, "size": 1, "side": "buy"}
    await stored.put("trades", instrument_id=1, time=stored.minute, received_at=stored.minute, **fill)
    post = {"platform": "mastodon", "post_id": "9", "symbol": "BTC", "text": "up", "author": "me"}
    await stored.put("sentiment_posts", time=stored.minute, received_at=stored.minute, score=0, label="neutral", **post)
    book = {"bid_prices": [], "bid_sizes": [], "ask_prices": [], "ask_sizes": [], "writer": ""}
    await stored.put("order_books", instrument_id=1, time=stored.minute, received_at=stored.minute, **book)
    key = {"instrument_id": 1, "interval": "1m", "name": "OBV", "time": stored.minute}
    await stored.put("indicators", **key, value=1, received_at=stored.minute)
    await stored.put("onchain_metrics", asset="BTC", metric="a", source="b", time=stored.minute, value=1, received_at=stored.minute)
    await stored.put("stock_indices", index_name="SPX", source="b", time=stored.minute, close=1, received_at=stored.minute)
    await stored.price(1, stored.minute, 97)
    await stored.article("a", stored.minute, ["BTC"])
    await stored.transfer("x", 0, 2_000_000)
    views = await stored.connection.fetch(
        "SELECT attrelid::regclass::text, attname, pg_get_viewdef(attrelid) FROM pg_attribute"
        " WHERE attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'v' AND relnamespace = ANY ($1::regnamespace[]))"
        " AND attname IN ('id', 'catalyst_id')",
        list(PLATFORMS),
    )
    ids: list[list[Any]] = []
    for zone in ("UTC", "Asia/Kolkata"):
        await stored.connection.execute(f"SET timezone = '{zone}'; SET datestyle = '{'ISO' if zone == 'UTC' else 'German'}'")
        ids.append([await stored.connection.fetchval(f"SELECT {row[1]} FROM {row[0]}") for row in views])
    assert (len(ids[0]), None in ids[0], ids[1]) == (14, False, ids[0])
    assert [row[0] for row in views if "'1 day'" in row[2]] == []


async def test_the_latest_price_of_each_coin(stored: Facts) -> None:
    await stored.price(1, stored.minute - 2 * DAY, 50)
    await stored.price(
        1, stored.minute, 97, change_24h=Decimal(-3), market_cap_aud=Decimal("1e20"), market_cap_usd=Decimal("2.345")
    )
    await stored.price(2, stored.minute - 8 * DAY, 3)
    await stored.price(1, stored.minute + MINUTE, 98, price_aud=None)  # the view needs both currencies
    (row,) = await rows(stored, "SELECT * FROM cryptomax.market_data_cache")
    assert isinstance(row["id"], UUID)
    assert (row["symbol"], row["exchange"], row["price_usd"], row["price_aud"]) == ("BTC", "coingecko", 97, 194)
    assert (row["change_24h"], row["change_percentage_24h"], row["last_updated"]) == (-3, -3, stored.minute)
    assert (row["market_cap_usd"], row["market_cap_aud"]) == (Decimal("2.35"), None)
    assert len(await rows(stored, "SELECT * FROM cryptomax.market_data_history")) == 3
    assert len(await rows(stored, "SELECT * FROM cryptosense.price_history WHERE asset_symbol = 'BTC'")) == 3


async def test_days_of_candles_are_shown_before_they_are_rolled_up(stored: Facts) -> None:
    """A day is made of its 15m candles and the later 1m candles until its rolled-up candle exists."""
    yesterday = stored.today - DAY
    await stored.candle(1, "1d", stored.today - 2 * DAY, 7)
    await stored.candle(1, "15m", yesterday, 8)
    await stored.candle(1, "1m", yesterday, 1)  # in the quarter of an hour
    await stored.candle(1, "1m", yesterday + timedelta(minutes=15), 9)
    await stored.candle(1, "1m", stored.today, 5)
    query = "SELECT * FROM ai_trading.daily_ohlcv WHERE symbol = 'BTCUSDT' ORDER BY date DESC"
    today, past, oldest = await rows(stored, query)
    assert tuple(today.values()) == ("BTCUSDT", stored.today, 5, 5, 5, 5, 2)
    assert tuple(past.values()) == ("BTCUSDT", yesterday, 8, 9, 8, 9, 4)
    assert tuple(oldest.values()) == ("BTCUSDT", stored.today - 2 * DAY, 7, 7, 7, 7, 2)
    await stored.candle(1, "1d", yesterday, 6)
    assert [row["close"] for row in await rows(stored, query)] == [5, 6, 7]


async def test_days_of_prices(stored: Facts, edition: str) -> None:
    """A maintenance task or a continuous aggregate stores the past days; the last two are made from their prices."""
    for days in (0, 1, 2, 5):
        for price in (10, 30, 5, 20):
            at = stored.today - days * DAY + timedelta(microseconds=price)
            await stored.price(1, at, price + days, volume_24h_usd=None if price == 20 else Decimal(price))
    if edition == "apache":
        assert await bar_views.roll_up_prices(stored.connection) == 3
        assert await bar_views.roll_up_prices(stored.connection) == 0
    else:
        await bar_views.refresh(stored.connection, "prices", stored.today - 9 * DAY, stored.today - 2 * DAY)  # as far as the policy
    found = await rows(stored, "SELECT * FROM cryptosense.price_history_daily ORDER BY day DESC")
    assert [tuple(row.values()) for row in found] == [
        (stored.today - days * DAY, "BTC", 5 + days, 30 + days, 5 + days, 30 + days, Decimal("16.25") + days, 30)
        for days in (0, 1, 2, 5)
    ]
