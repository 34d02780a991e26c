"""The daemon polls social platforms on loopback: posts are stored as received and summed up by hour, beside LunarCrush's scores.

Responses are recorded or documented (see tests/support/social.py). They are years old, so retention is off here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ingest.polling.social_posts import Post, exclusion_reason
from ingest.sources.sentiment_vader import score
from tests.support import stored
from tests.support.backfills import Commands
from tests.support.daemon import Daemon, on_apache, until
from tests.support.providers import JSON, Answer, Providers, serving
from tests.support.social import EXAMPLE, EXAMPLE_TEXT, STOCKTWITS, TELEGRAM, TELEGRAM_TEXT, listed, listing, timeline

Daemons = Callable[..., Daemon]

MASTODON = "/api/v1/timelines/tag/bitcoin"
REDDIT = "/r/AskReddit+CryptoCurrency+CryptoMarkets/new/.rss"
STREAM = "/api/2/streams/symbol/AAPL.json"
FAST = {"enabled": True, "interval": "250ms", "budget": {"per_minute": 100_000}}
_POSTS = "SELECT * FROM sentiment_posts WHERE platform = $1 ORDER BY time"
_HOURS = "SELECT * FROM sentiment_scores WHERE platform = $1 ORDER BY time"


def answer(body: object) -> Answer:
    return 200, json.dumps(body).encode(), JSON


def settings(dsn: str, providers: Providers) -> dict[str, Any]:
    sections: dict[str, dict[str, Any]] = {
        "mastodon": {"symbols": ["BTC"]},
        "reddit": {"symbols": ["ETH"], "ids": {"ETH": "AskReddit"}},
        "stocktwits": {"symbols": ["AAPL"], "ids": {"AAPL": "AAPL"}},
        "telegram": {"channels": ["telegram"]},
        "lunarcrush": {"symbols": ["BTC"], "api_key": "geheim-4711"},
    }
    return {
        "name": "one",
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "pollers": {name: {"base_url": providers.url, **FAST, **section} for name, section in sections.items()},
        "retention": {"sentiment_posts": "none", "sentiment_scores": "none"},
        "server": {"port": 0},
        "log": {"format": "json"},
        "shutdown_timeout": "5s",
    }


async def rows(dsn: str, query: str, *values: object) -> list[dict[str, Any]]:
    """Rows without `received_at`, which must be set in each."""
    found = [dict(row) for row in await stored.fetch(dsn, query, *values)]
    assert all(row.pop("received_at") > datetime(2026, 1, 1, tzinfo=UTC) for row in found)
    return found


@on_apache
async def test_posts_are_stored_as_received_and_summed_up_by_hour(market: str, real: Path, daemon: Daemons) -> None:
    posts = listing(real)
    subreddit = [post for post in posts if post["subreddit"] == "AskReddit"]
    always: dict[str, Answer] = {
        MASTODON: answer([EXAMPLE, *timeline(real)]),
        REDDIT: (200, listed(subreddit), {"Content-Type": "application/atom+xml"}),
        STREAM: answer(STOCKTWITS),
        "/s/telegram": (200, TELEGRAM.replace("AI Text Editor.", "Bitcoin.").encode(), {"Content-Type": "text/html"}),
        "/public/topic/bitcoin/v1": answer(json.loads((real / "lunarcrush/topic.json").read_text())["response"]),
        "/public/topic/bitcoin/time-series/v1": answer(
            json.loads((real / "lunarcrush/topic_time_series.json").read_text())["response"]
        ),
    }
    async with serving() as providers:
        providers.always = always
        providers.once = {
            MASTODON: [(429, b'{"error":"Too many requests"}', JSON | {"Retry-After": "1"})],
            "/s/telegram": [(200, b"<html><body>Contact @telegram right away</body></html>", {})],
        }
        instance = await daemon(settings(market, providers)).start()
        kept = [
            post
            for post in subreddit
            if not exclusion_reason(Post(id="t3", time=1_795_176_000_000_000, text=f"{post['title']} {post['selftext']}"))
        ]
        count = len(kept) + 1 + 2 + 1
        await instance.until(lambda now: now.rows("sentiment_posts")["written"] == count, 40)
        await instance.until(lambda now: now.rows("sentiment_scores")["written"] == 2)
        await mastodon_is_as_served(market)
        await reddit_is_as_served(market, kept)
        await the_others_are_as_served(market)
        await lunarcrush_is_as_served(market, providers)

        await instance.until(
            lambda now: now.rows("sentiment_posts")["duplicate"] > 3 * count, 40
        )  # later turns count no post as filtered again
        filtered = {
            (source, reason): await instance.value("poll_filtered_total", source=source, reason=reason)
            for source in ("mastodon", "reddit", "stocktwits", "telegram")
            for reason in ("repost", "bot", "empty", "spam", "language", "repeated", "symbol")
        }
        assert filtered.pop(("mastodon", "language")) == 1
        assert sum(filtered.values()) == len(subreddit) - len(kept)
        assert await instance.value("errors_total", stage="poll", error_type="Retry") == 1
        assert await instance.value("errors_total", stage="decode", error_type="shape") == 1

        providers.always[MASTODON] = answer([EXAMPLE | {"favourites_count": 40}, *timeline(real)])
        await instance.until(lambda now: now.rows("sentiment_posts")["revised"] == 1)
        assert [row["engagement"] for row in await rows(market, _POSTS, "mastodon")] == [51]
        await hourly_scores_follow_from_posts(market)
        assert await instance.terminate() == 0
        instance.logged_row_totals("sentiment_posts")
        assert "geheim" not in instance.log


@on_apache
async def test_the_past_of_lunarcrush_is_backfilled(market: str, tmp_path: Path, real: Path) -> None:
    series = json.loads((real / "lunarcrush/topic_time_series.json").read_text())["response"]
    async with serving(**{"public/topic/bitcoin/time-series/v1": answer(series)}) as providers:
        configured = settings(market, providers)
        configured |= {"pollers": {"lunarcrush": configured["pollers"]["lunarcrush"]}, "log": {"level": "warning"}}
        backfill = Commands(tmp_path, configured)
        span = ("--from", "2025-06-01", "--to", "2025-07-16")
        assert await backfill("sentiment", *span) == (0, "lunarcrush: 3 chunks: 1 written, 0 revised, 0 were there already\n")
        (hour,) = await rows(market, _HOURS, "lunarcrush")
        assert (hour["interval"], hour["time"], hour["mentions"]) == ("1h", datetime(2025, 6, 15, tzinfo=UTC), 25526)
        queries = [dict(request.query) for request in providers.requests]
        days = [(int(query["end"]) - int(query["start"])) // 86_400 for query in queries]
        assert ({query["bucket"] for query in queries}, max(days), sum(days)) == ({"hour"}, 30, 45)


async def mastodon_is_as_served(dsn: str) -> None:
    assert await rows(dsn, _POSTS, "mastodon") == [
        {
            "platform": "mastodon",
            "post_id": EXAMPLE["id"],
            "symbol": "BTC",
            "time": datetime.fromisoformat(EXAMPLE["created_at"]),
            "text": EXAMPLE_TEXT,
            "author": EXAMPLE["account"]["acct"],
            "score": Decimal("-0.6597"),
            "label": "negative",
            "engagement": EXAMPLE["replies_count"] + EXAMPLE["reblogs_count"] + EXAMPLE["favourites_count"],
            "followers": EXAMPLE["account"]["followers_count"],
        }
    ]


async def reddit_is_as_served(dsn: str, kept: list[dict[str, Any]]) -> None:
    found = {row["post_id"]: row for row in await rows(dsn, _POSTS, "reddit")}
    assert found.keys() == {post["name"] for post in kept}
    for post in kept:
        row = found[post["name"]]
        text = row["text"]
        assert text.startswith(" ".join(post["title"].split()))
        assert row["score"] == Decimal(score(text))
        expected = ("ETH", post["author"], datetime.fromtimestamp(post["created_utc"], UTC), None, None)
        assert (row["symbol"], row["author"], row["time"], row["engagement"], row["followers"]) == expected


async def the_others_are_as_served(dsn: str) -> None:
    found = await rows(dsn, _POSTS, "stocktwits")
    assert [(row["post_id"], row["symbol"], row["text"], row["author"], row["engagement"], row["time"]) for row in found] == [
        (
            str(message["id"]),
            "AAPL",
            message["body"],
            message["user"]["username"],
            message["conversation"]["replies"],
            datetime.fromisoformat(message["created_at"]),
        )
        for message in reversed(STOCKTWITS["messages"])
    ]
    assert await rows(dsn, _POSTS, "telegram") == [
        {
            "platform": "telegram",
            "post_id": "telegram/435",
            "symbol": "BTC",
            "time": datetime(2026, 4, 9, 7, 1, 44, tzinfo=UTC),
            "text": TELEGRAM_TEXT.replace("AI Text Editor.", "Bitcoin."),
            "author": "telegram",
            "score": Decimal(0),
            "label": "neutral",
            "engagement": None,
            "followers": 9_780_000,
        }
    ]
    kept = await stored.fetch(dsn, "SELECT reason, payload FROM rejects WHERE source = 'telegram'")
    assert [tuple(row) for row in kept] == [("shape", "<html><body>Contact @telegram right away</body></html>")]


async def lunarcrush_is_as_served(dsn: str, providers: Providers) -> None:
    hour, day = await rows(dsn, _HOURS, "lunarcrush")
    series = json.loads(providers.always["/public/topic/bitcoin/time-series/v1"][1])["data"][0]
    topic = json.loads(providers.always["/public/topic/bitcoin/v1"][1])
    assert hour == {
        "symbol": "BTC",
        "platform": "lunarcrush",
        "interval": "1h",
        "time": datetime.fromtimestamp(series["time"], UTC),
        "social_score": Decimal(series["galaxy_score"]),
        "label": None,
        "mentions": series["posts_active"],
        "positive": None,
        "neutral": None,
        "negative": None,
        "influencer_mentions": series["contributors_active"],
    }
    kinds = topic["data"]["types_sentiment_detail"].values()
    shares = {name: sum(Decimal(kind[name]) for kind in kinds) for name in ("positive", "neutral", "negative")}
    assert day == hour | {
        "interval": "1d",
        "time": datetime.fromtimestamp(topic["config"]["generated"], UTC).replace(hour=0, minute=0, second=0),
        "mentions": topic["data"]["num_posts"],
        "influencer_mentions": topic["data"]["num_contributors"],
        **{name: round(100 * share / sum(shares.values()), 2) for name, share in shares.items()},
    }
    request = next(request for request in providers.requests if request.path.startswith("/public/topic"))
    assert request.headers["Authorization"] == "Bearer geheim-4711"


async def hourly_scores_follow_from_posts(dsn: str) -> None:
    """The maintenance task writes an hourly score for each platform with posts, and one for all platforms together."""

    async def all_hours_are_made() -> bool:
        return not await stored.fetch(dsn, "SELECT FROM sentiment_dirty")

    await until(all_hours_are_made, 40)
    time = datetime.fromisoformat(EXAMPLE["created_at"]).replace(minute=0, second=0, microsecond=0)
    expected = {
        "symbol": "BTC",
        "platform": "mastodon",
        "interval": "1h",
        "time": time,
        "social_score": Decimal("17.02"),
        "label": "negative",
        "mentions": 1,
        "positive": Decimal(0),
        "neutral": Decimal(0),
        "negative": Decimal(100),
        "influencer_mentions": 1,
    }
    assert await rows(dsn, _HOURS, "mastodon") == [expected]
    assert (await rows(dsn, _HOURS, "all"))[-1]["time"] == datetime(2026, 4, 9, 7, tzinfo=UTC)
    per_hour = """
        SELECT p.platform, date_trunc('hour', p.time, 'UTC') AS time, count(*) AS mentions FROM sentiment_posts p GROUP BY 1, 2
        EXCEPT SELECT platform, time, mentions FROM sentiment_scores WHERE interval = '1h'"""
    assert await stored.fetch(dsn, per_hour) == []
