"""A valid row of each table that pollers fill, and values each of which makes the row invalid."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
POLLED: dict[str, dict[str, Any]] = {
    "prices": {
        "asset_id": 1,
        "source": "coingecko",
        "time": NOON,
        "price_usd": Decimal("70187"),
        "price_aud": None,
        "market_cap_usd": Decimal(0),
        "market_cap_aud": None,
        "volume_24h_usd": Decimal("20154184933"),
        "volume_24h_aud": None,
        "change_1h": None,
        "change_24h": Decimal("-3.12502"),
        "change_7d": None,
        "high_24h": Decimal(70215),
        "low_24h": None,
        "received_at": NOON,
    },
    "whale_transactions": {
        "blockchain": "bitcoin",
        "hash": "ab",
        "token": "BTC",
        "index": 0,
        "time": NOON,
        "from_address": "a",
        "from_label": None,
        "to_address": "b",
        "to_label": "binance_exchange",
        "amount_token": Decimal("0.00000001"),
        "amount_usd": Decimal("1000000.01"),
        "alert_level": "low",
        "block_height": 900_000,
        "block_hash": None,
        "source": "mempool_space",
        "received_at": NOON,
    },
    "onchain_metrics": {
        "asset": "BTC",
        "metric": "hash_rate",
        "source": "blockchain_com",
        "time": NOON,
        "value": Decimal("-0.5"),
        "received_at": NOON,
    },
    "sentiment_posts": {
        "platform": "mastodon",
        "post_id": "1",
        "symbol": "BTC",
        "time": NOON,
        "text": "up",
        "author": None,
        "score": Decimal("-1"),
        "label": "negative",
        "engagement": 0,
        "received_at": NOON,
        "followers": None,
    },
    "sentiment_scores": {
        "symbol": "BTC",
        "platform": "alternative_me",
        "interval": "1d",
        "time": NOON,
        "social_score": Decimal(69),
        "label": "Greed",
        "mentions": None,
        "positive": None,
        "neutral": None,
        "negative": None,
        "influencer_mentions": None,
        "received_at": NOON,
    },
    "news": {
        "source": "coindesk",
        "id": "g",
        "time": NOON,
        "title": "t",
        "summary": None,
        "url": "https://example.org",
        "author": None,
        "image_url": None,
        "symbols": ["BTC"],
        "categories": [],
        "sentiment": Decimal("0.5"),
        "relevance": Decimal(1),
        "impact_level": None,
        "received_at": NOON,
    },
    "stock_indices": {
        "index_name": "VIX",
        "source": "cboe",
        "time": NOON,
        "open": None,
        "high": None,
        "low": None,
        "close": Decimal("17.24"),
        "volume": None,
        "received_at": NOON,
    },
    "indicators": {
        "instrument_id": 1,
        "interval": "1m",
        "name": "SMA_20",
        "time": NOON,
        "value": Decimal("-1.5"),
        "metadata": None,
        "received_at": NOON,
    },
}
NAN, INFINITY = Decimal("NaN"), Decimal("Infinity")
NOT_A_PRICE = (NAN, INFINITY, Decimal(0), Decimal(-1), Decimal("1e18"))
NOT_A_SUM = (NAN, INFINITY, Decimal(-1), Decimal("1e30"))
NOT_A_SHARE = (NAN, INFINITY, Decimal("-0.1"), Decimal("100.1"))
NOT_A_SCORE = (NAN, INFINITY, Decimal("-1.1"), Decimal("1.1"))
NOT_A_VALUE = (NAN, INFINITY, -INFINITY, Decimal("1e36"))

_BAD: dict[tuple[str, tuple[str, ...]], tuple[Any, ...]] = {
    ("prices", ("price_usd", "price_aud", "high_24h", "low_24h")): NOT_A_PRICE,
    ("prices", ("market_cap_usd", "market_cap_aud", "volume_24h_usd", "volume_24h_aud")): NOT_A_SUM,
    ("prices", ("change_1h", "change_24h", "change_7d")): (NAN, INFINITY, Decimal("-100.1")),
    ("whale_transactions", ("amount_token",)): (NAN, INFINITY, Decimal(0), Decimal("1e36")),
    ("whale_transactions", ("amount_usd",)): NOT_A_PRICE,
    ("whale_transactions", ("index", "block_height")): (-1,),
    ("whale_transactions", ("alert_level",)): ("HIGH", ""),
    ("onchain_metrics", ("value",)): NOT_A_VALUE,
    ("sentiment_posts", ("score",)): NOT_A_SCORE,
    ("sentiment_posts", ("label",)): ("mixed", ""),
    ("sentiment_posts", ("engagement", "followers")): (-1,),
    ("sentiment_scores", ("social_score", "positive", "neutral", "negative")): NOT_A_SHARE,
    ("sentiment_scores", ("mentions", "influencer_mentions")): (-1,),
    ("sentiment_scores", ("interval",)): ("1M", ""),
    ("news", ("sentiment",)): NOT_A_SCORE,
    ("news", ("relevance",)): (NAN, Decimal("-0.1"), Decimal("1.1")),
    ("news", ("impact_level",)): ("HIGH", ""),
    ("stock_indices", ("open", "high", "low", "close")): NOT_A_PRICE,
    ("stock_indices", ("volume",)): NOT_A_SUM,
    ("indicators", ("value",)): NOT_A_VALUE,
    ("indicators", ("interval",)): ("1M", ""),
}
BAD = [(table, column, value) for (table, columns), values in _BAD.items() for column in columns for value in values]
