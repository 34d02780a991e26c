"""Records of responses of Mastodon, Reddit, StockTwits and Telegram. tests/support/social.py names their sources."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.config.sections import PollerSection
from ingest.config.settings import Settings
from ingest.config.source_names import check_sources
from ingest.errors import Reject, Stop
from ingest.pollers import lunarcrush, mastodon, reddit, stocktwits, telegram
from ingest.polling.db_queries import Filtered
from ingest.protocol.decode import Malformed
from ingest.records import SECOND, Asset, SentimentPost
from ingest.sources.poll_plan import assets_of, interval_of, plan_of
from tests.support.social import (
    EXAMPLE,
    EXAMPLE_TEXT,
    NOW,
    OPTIONS,
    RSS,
    STOCKTWITS,
    TELEGRAM,
    entry,
    feed,
    listed,
    listing,
    paths,
    timeline,
    turn,
)


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000) * 1000


# --- Mastodon -------------------------------------------------------------------------------------------------------------


def test_the_documented_post_of_mastodon() -> None:
    requests, records, _ = turn(mastodon.poll(OPTIONS, ""), [EXAMPLE])
    assert paths(requests) == ["/api/v1/timelines/tag/bitcoin?limit=40"]
    assert records == [
        SentimentPost(
            platform="mastodon",
            post_id="103270115826048975",
            symbol="BTC",
            time=micros("2019-12-08T03:48:33.901"),
            text=EXAMPLE_TEXT,
            author="Gargron",
            score="-0.6597",
            label="negative",
            engagement=22,
            received_at=NOW,
            followers=322930,
        )
    ]


def test_recorded_posts_are_filtered_by_language(real: Path) -> None:
    recorded = timeline(real)
    assert turn(mastodon.poll(OPTIONS, ""), recorded)[1] == [Filtered("language", 1)]
    _, (record,), _ = turn(mastodon.poll(OPTIONS, ""), [recorded[0] | {"language": None}])
    assert (record.post_id, record.text, record.author) == ("117020593741189701", "#hoot (hashtag toot)", "mastodonpy_test_2")
    assert (record.time, record.engagement, record.followers) == (micros("2026-08-01T13:55:55.867"), 0, 0)


def test_pages_are_read_back_to_the_cursor() -> None:
    def page(first: int, count: int) -> list[dict[str, Any]]:
        times = [(n, datetime.fromtimestamp(NOW / 1e6 - 60 * n, UTC).isoformat()) for n in range(first, first + count)]
        return [EXAMPLE | {"id": str(10_000 - n), "created_at": time, "content": f"good {n}"} for n, time in times]

    requests, records, cursor = turn(mastodon.poll(OPTIONS, ""), page(0, 40), page(40, 40), page(80, 5))
    assert [url.partition("limit=40")[2] for url in paths(requests)] == ["", "&max_id=9961", "&max_id=9921"]
    assert len({record.post_id for record in records}) == 85
    assert len(turn(mastodon.poll(OPTIONS, cursor), page(0, 40))[0]) == 2 - 1, "all new posts are on the first page"
    older = cursor.replace(str(NOW), str(NOW - 60 * 50 * SECOND), 1)
    assert len(turn(mastodon.poll(OPTIONS, older), page(0, 40), page(40, 40))[0]) == 2, "the new posts continue on the second page"


def test_a_post_with_more_likes_is_yielded_again() -> None:
    _, (first,), cursor = turn(mastodon.poll(OPTIONS, ""), [EXAMPLE])
    _, (second,), _ = turn(mastodon.poll(OPTIONS, cursor), [EXAMPLE | {"favourites_count": 100}])
    assert second == replace(first, engagement=111)


# --- Reddit ---------------------------------------------------------------------------------------------------------------


def test_a_post_of_reddit_has_the_title_and_the_text_of_its_entry() -> None:
    options = replace(OPTIONS, assets=(Asset("BTC", "Bitcoin"), Asset("RSS", "rss")), channels=("CryptoCurrency",))
    requests, records, _ = turn(reddit.poll(options, ""), RSS)
    assert paths(requests) == ["/r/Bitcoin+rss+CryptoCurrency/new/.rss?limit=100"]
    assert requests[0].headers == {"User-Agent": "linux:ingest:1"}
    assert records == [
        SentimentPost(
            platform="reddit",
            post_id="t3_1fkm9r6",
            symbol="RSS",
            time=micros("2024-09-19T15:40:12"),
            text="Does anyone know how to use Feedly as a proxy similar to the way Feedburner generates proxy feeds?",
            author="Consumermicrosystems",
            score="0.0000",
            label="neutral",
            engagement=None,
            received_at=NOW,
        ),
        SentimentPost(
            platform="reddit",
            post_id="t3_1fmapo9",
            symbol="RSS",
            time=micros("2024-09-21T20:00:01"),
            text="I'm thinking of publishing a free/ltd feed reader chrome extn, but not sure "
            "Hey all, New here & this is a genuine query.",
            author="International_Swan_1",
            score="-0.3491",
            label="negative",
            engagement=None,
            received_at=NOW,
        ),
    ]


def test_every_post_of_a_recorded_listing_is_yielded_or_filtered(real: Path) -> None:
    posts = listing(real)
    options = replace(OPTIONS, assets=(Asset("BTC", "AskReddit"),))
    _, records, cursor = turn(reddit.poll(options, ""), listed(posts))
    kept = {record.post_id: record for record in records if isinstance(record, SentimentPost)}
    filtered = sum(record.count for record in records if isinstance(record, Filtered))
    subreddit = [post for post in posts if post["subreddit"] == "AskReddit"]
    assert len(kept) + filtered == len(posts)
    assert len(kept) > 10
    assert {post["name"] for post in subreddit} >= kept.keys()
    for post in (post for post in subreddit if post["name"] in kept):
        record = kept[post["name"]]
        assert record.text.startswith(" ".join(post["title"].split()))
        assert (record.author, record.time) == (post["author"], int(post["created_utc"]) * SECOND)
    assert turn(reddit.poll(options, cursor), listed(posts))[1] == [*kept.values()], (
        "the next turn yields the same posts, and counts none as filtered"
    )


def test_a_post_of_a_general_channel_is_about_the_coins_that_it_names() -> None:
    times = [f"2026-11-20T12:00:0{n}+00:00" for n in range(3)]
    body = feed(
        entry("t3_a", "a", "CryptoCurrency", time=times[0], title="Ethereum and $BTC look good"),
        entry("t3_b", "b", "CryptoCurrency", time=times[1], title="This market looks good"),
        entry("t3_c", "AutoModerator", "CryptoCurrency", time=times[2], title="Daily thread about Bitcoin"),
    )
    _, records, _ = turn(reddit.poll(replace(OPTIONS, channels=("CryptoCurrency",)), ""), body)
    assert [(post.post_id, post.symbol) for post in records[:2]] == [("t3_a", "BTC"), ("t3_a", "ETH")]
    assert records[2:] == [Filtered("symbol", 1), Filtered("bot", 1)]


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"local": "disabled", "remote": "disabled"}, "local disabled, remote disabled"),
        ({"local": "public", "remote": "disabled"}, "local public, remote disabled"),
        ({"local": "authenticated", "remote": "authenticated"}, "local authenticated, remote authenticated"),
    ],
)
def test_closed_tag_feeds_of_mastodon_disable_the_provider(feeds: dict[str, str], message: str) -> None:
    """Closed feeds are empty with status 200: https://docs.joinmastodon.org/entities/Instance/#timelines_access."""
    instance = {"configuration": {"timelines_access": {"live_feeds": feeds, "hashtag_feeds": feeds}}}
    with pytest.raises(Reject, match=message) as refused:
        turn(mastodon.poll(OPTIONS, ""), [], instance)
    assert (refused.value.reason, refused.value.code) == ("http", "403")


@pytest.mark.parametrize(
    "instance", [{}, {"configuration": {}}, [], {"configuration": {"timelines_access": {"hashtag_feeds": {}}}}]
)
def test_quiet_hashtags_are_no_error(instance: object) -> None:
    requests, records, _ = turn(mastodon.poll(OPTIONS, ""), [], instance)
    assert (paths(requests)[1:], records) == (["/api/v2/instance"], [])


# --- StockTwits -----------------------------------------------------------------------------------------------------------


def test_the_documented_messages_of_stocktwits() -> None:
    options = replace(OPTIONS, assets=(Asset("AAPL", "AAPL"),))
    requests, records, _ = turn(stocktwits.poll(options, ""), STOCKTWITS)
    assert paths(requests) == ["/api/2/streams/symbol/AAPL.json"], "the second page would be years old"
    assert records[1] == SentimentPost(
        platform="stocktwits",
        post_id="60975379",
        symbol="AAPL",
        time=micros("2016-08-19T15:15:48"),
        text="$AAPL going up from here",
        author="ericalford",
        score="0.0000",
        label="neutral",
        engagement=5,
        received_at=NOW,
    )
    assert [record.post_id for record in records] == ["60822179", "60975379"]


def test_a_message_has_the_sentiment_of_its_author_and_all_of_its_coins() -> None:
    message = STOCKTWITS["messages"][0] | {
        "body": "$BTC.X &amp; $ETH.X here we go",
        "entities": {"sentiment": {"basic": "Bearish"}},
        "symbols": [{"symbol": "BTC.X"}, {"symbol": "ETH.X"}, {"symbol": "TSLA"}],
        "likes": {"total": 2},
        "user": {"username": "u", "followers": 12},
    }
    response = STOCKTWITS | {"messages": [message], "cursor": {"more": False, "since": None, "max": None}}
    _, records, _ = turn(stocktwits.poll(OPTIONS, ""), response)
    assert [(post.symbol, post.score, post.label, post.engagement, post.followers) for post in records] == [
        (symbol, "-0.5000", "negative", 7, 12) for symbol in ("BTC", "ETH")
    ]
    assert records[0].text == "$BTC.X & $ETH.X here we go"


def test_further_pages_of_stocktwits_are_requested_with_the_cursor() -> None:
    def page(first: int, oldest: int) -> dict[str, Any]:
        numbers = range(first, oldest - 1, -1)
        times = [datetime.fromtimestamp(NOW / 1e6 - 3600 * (100 - n), UTC).isoformat() for n in numbers]
        messages = [
            STOCKTWITS["messages"][0] | {"id": n, "body": f"good {n}", "created_at": time}
            for n, time in zip(numbers, times, strict=True)
        ]
        return STOCKTWITS | {"messages": messages, "cursor": {"more": True, "since": first, "max": oldest}}

    requests, records, _ = turn(stocktwits.poll(OPTIONS, ""), page(100, 90), page(90, 80), page(80, 70))
    assert [url.partition(".json")[2] for url in paths(requests)] == ["", "?max=90", "?max=80"]
    assert [record.post_id for record in records] == [str(n) for n in range(70, 101)], "the message on two pages is yielded once"


# --- malformed responses, and budgets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "body", "reason"),
    [
        (mastodon, b"<!DOCTYPE html><html></html>", "json"),
        (mastodon, b'{"error":"The access token is invalid"}', "shape"),
        (mastodon, json.dumps([EXAMPLE]).encode()[:100], "json"),
        (mastodon, json.dumps([EXAMPLE | {"created_at": "soon"}]).encode(), "shape"),
        (mastodon, json.dumps([EXAMPLE | {"created_at": "2019-12-08T03:48:33"}]).encode(), "shape"),
        (
            stocktwits,
            b'{"errors": [{"message": "Rate limit exceeded. Client may not make more than N requests an hour."}]}',
            "shape",
        ),
        (stocktwits, b"<html>Just a moment...</html>", "json"),
        (reddit, b"", "xml"),
        (reddit, RSS[:500], "xml"),
        (reddit, b"<!doctype html><html><body></body></html>", "xml"),
        (reddit, b"<rss><channel></channel></rss>", "shape"),
        (reddit, b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">]><feed>&lol;</feed>', "xml"),
        (reddit, b"<?xml version='1.0'?><!--" + b"x" * 1000 + b"--><!DOCTYPE feed [<!ENTITY lol 'lol'>]><feed/>", "xml"),
        (telegram, b"<html><body>Telegram: Contact @telegram</body></html>", "shape"),
        (telegram, TELEGRAM.replace("tgme_widget_message_date", "").encode(), "shape"),
        (telegram, TELEGRAM.replace("2026-04-09T07:01:44+00:00", "07:01").encode(), "shape"),
    ],
)
def test_a_malformed_response_is_rejected(module: Any, body: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        turn(module.poll(replace(OPTIONS, channels=("telegram",)), ""), body)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"t3_1fmapo9</id>", b"</id>", "an entry has no <id>"),
        (b"<published>2024-09-21T20:00:01+00:00", b"<published>soon", "'soon' is not a time"),
    ],
)
def test_a_malformed_post_of_reddit_costs_itself(old: bytes, new: bytes, message: str) -> None:
    options = replace(OPTIONS, assets=(Asset("SPY", "stocks"),))
    good = entry("t3_a", "a", "stocks", time="2026-11-20T11:00:00+00:00", title="Bitcoin looks good").encode()
    assert old in RSS
    body = RSS.replace(old, new).replace(b"</feed>", good + b"</feed>")
    _, records, _ = turn(reddit.poll(options, ""), body)
    bad = [record for record in records if isinstance(record, Malformed)]
    assert [(one.reason, message in one.message, one.payload[:9]) for one in bad] == [("shape", True, b"<ns0:entr")]
    assert {record.post_id for record in records if isinstance(record, SentimentPost)} == {"t3_a"}


def test_a_feed_of_reddit_that_is_cut_has_its_whole_posts() -> None:
    times = [f"2026-11-20T12:00:0{n}+00:00" for n in range(2)]
    posts = [entry(f"t3_{n}", n, "Bitcoin", time=time, title="Bitcoin looks good") for n, time in zip("ab", times, strict=True)]
    _, records, _ = turn(reddit.poll(OPTIONS, ""), feed(*posts)[:-40])
    assert [record.reason for record in records if isinstance(record, Malformed)] == ["xml", "xml"]
    assert [record.post_id for record in records if isinstance(record, SentimentPost)] == ["t3_a"]


@pytest.mark.parametrize(
    ("module", "section", "seconds"),
    [
        (mastodon, {}, 300),
        (mastodon, {"symbols": [str(n) for n in range(600)]}, 600),  # 60 a minute
        (stocktwits, {"symbols": [str(n) for n in range(90)]}, 1800),
        (reddit, {"symbols": [str(n) for n in range(90)]}, 300),  # one request for all
        (telegram, {"channels": [str(n) for n in range(100)]}, 600),
        (telegram, {}, 300),
        (lunarcrush, {"budget": {"per_month": 2976}}, 3600),  # two coins, two requests each
        (lunarcrush, {"budget": {"per_month": 2976}, "symbols": ["BTC"] * 4}, 7200),
    ],
)
def test_the_interval_counts_coins_or_channels(module: Any, section: dict[str, Any], seconds: float) -> None:
    settings = PollerSection(**section)
    assert interval_of(plan_of(module, settings)[0], module, settings) == seconds


@pytest.mark.parametrize("module", [mastodon, reddit, stocktwits, telegram])
def test_platforms_with_restrictive_terms_are_off_with_the_reason(module: Any) -> None:
    assert plan_of(module, PollerSection())[1].startswith("not enabled: https://")
    assert plan_of(module, PollerSection(enabled=True))[1] == ""


def test_channels_of_a_platform_without_channels_are_refused() -> None:
    database = {"dsn": "postgresql://localhost/market"}
    assert Settings(database=database, pollers={"telegram": {"channels": ["a"]}}).pollers["telegram"].channels == ("a",)
    with pytest.raises(
        Stop, match=r"pollers\.mastodon\.channels: this provider has no channels; providers with channels: reddit, telegram"
    ):
        check_sources(Settings(database=database, pollers={"mastodon": {"channels": ["a"]}}))


def test_tags_of_coins_may_be_configured() -> None:
    assert assets_of("mastodon", mastodon, PollerSection(ids={"PEPE": "pepe"}, symbols=("BTC", "PEPE"))) == [
        Asset("BTC", "bitcoin"),
        Asset("PEPE", "pepe"),
    ]
