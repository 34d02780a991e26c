"""Posts of any platform: which are filtered and why, which coins they are about, and their sentiment."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.polling.db_queries import Filtered
from ingest.polling.provider import PollOptions
from ingest.polling.social_posts import DAY, REMEMBERED_TEXTS, SWEEP_INTERVAL, TEXT_CHARACTERS, Post, PostFilter, exclusion_reason
from ingest.records import MINUTE, SECOND, Asset, SentimentPost
from ingest.sources.sentiment_vader import score
from ingest.text.plain_text import is_english
from tests.support.turns import returned

NOON = 1_795_176_000 * SECOND
OPTIONS = PollOptions(base_url="", assets=(Asset("BTC", "bitcoin"), Asset("WEN", "wen")), score=score)


def post(id: str = "1", **changes: Any) -> Post:
    return Post(**({"id": id, "time": NOON, "text": "Bitcoin is good", "author": "a", "symbols": ("BTC",)} | changes))


def post_filter(cursor: str = "") -> PostFilter:
    return PostFilter("mastodon", OPTIONS, cursor)


def read(posts: PostFilter, tag: str, found: list[Post], received_at: int) -> list[Any]:
    return list(returned(posts.records(tag, found, received_at)))


def filtered(*posts: Post, cursor: str = "") -> list[tuple[str, str]]:
    """(id, symbol) of each record, (reason, count) of filtered posts."""
    records = read(post_filter(cursor), "t", list(posts), NOON)
    return [
        (record.post_id, record.symbol) if isinstance(record, SentimentPost) else (record.reason, str(record.count))
        for record in records
    ]


def test_a_record_has_the_values_of_the_post() -> None:
    (record,) = read(post_filter(), "t", [post(engagement=3, followers=7)], NOON + SECOND)
    assert record == SentimentPost(
        platform="mastodon",
        post_id="1",
        symbol="BTC",
        time=NOON,
        text="Bitcoin is good",
        author="a",
        score="0.4404",
        label="positive",
        engagement=3,
        received_at=NOON + SECOND,
        followers=7,
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"is_repost": True}, "repost"),
        ({"is_bot": True}, "bot"),
        ({"text": ""}, "empty"),
        ({"text": "#bitcoin $BTC @you@example.org https://example.org/good-news 100 🚀"}, "empty"),
        ({"text": "$BTC.X $ETH.X https://a.example 🚀"}, "empty"),  # the spelling of StockTwits
        ({"text": "up"}, ""),
        ({"text": "good " + " ".join(f"#tag{n}" for n in range(10))}, ""),
        ({"text": "good " + " ".join(f"#tag{n}" for n in range(11))}, "spam"),
        ({"text": "good " + " ".join(f"$TAG{n}" for n in range(11))}, "spam"),
        ({"text": "it fell from $100 to $90, $80, $70, $60, $50, $40, $30, $20, $10, $5"}, ""),
        ({"text": "good https://a.example https://b.example https://c.example"}, ""),
        ({"text": "good https://a.example https://b.example https://c.example http://d.example"}, "spam"),
        ({"language": "de"}, "language"),
        ({"language": "en-GB"}, ""),
        ({"text": "Bitcoin ist in der letzten Woche stark gefallen", "language": "en"}, ""),  # the platform reports the language
        ({"text": "Bitcoin ist in der letzten Woche stark gefallen"}, "language"),
        ({"text": "Bitcoin ist good", "is_bot": True, "language": "de"}, "bot"),
    ],
)
def test_a_post_is_filtered_for_the_first_reason(changes: dict[str, Any], reason: str) -> None:
    assert exclusion_reason(post(**changes)) == reason
    assert filtered(post(**changes)) == ([(reason, "1")] if reason else [("1", "BTC")])


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("$BTC to the moon 🚀", True),
        ("HODL", True),
        ("Circle freezes hacker wallet after massive heist", True),
        ("Do you consider yourself attractive?", True),
        ("Don\u2019t sell", True),
        ("El Salvador buys more Bitcoin, Bukele says", True),
        ("Investors pour billions into Bitcoin ETFs", True),
        ("Van Eck files Solana ETF", True),
        ("Bitcoin ETF decision 4pm EST", True),
        ("Crypto con artist arrested", True),
        ("Bitcoin a perdu 5% cette semaine et les investisseurs sont inquiets", False),
        ("El bitcoin sube hoy por encima de los 100.000 dólares", False),
        ("De bitcoin is vandaag weer gestegen, en dat is goed nieuws voor de markt", False),
        ("Il bitcoin ha raggiunto un nuovo massimo storico oggi", False),
        ("O bitcoin caiu hoje para menos de 60 mil dólares, e não vai subir", False),
        ("Bitcoin kurs spadł dziś poniżej poziomu 60 tysięcy i nie jest tanio", False),
        ("ビットコイン 価格 BTC", False),
        ("биткоин растёт", False),
    ],
)
def test_a_text_without_a_language_is_judged_by_its_letters_and_words(text: str, english: bool) -> None:
    assert is_english(text) is english


def test_coins_are_the_requested_ones_and_those_that_the_text_names() -> None:
    text = "$SOL, Ethereum and $WEN gain, $TSLA does not"
    assert filtered(post(text=text)) == [("1", "BTC"), ("1", "ETH"), ("1", "SOL"), ("1", "WEN")]
    assert filtered(post(symbols=(), text="Bitcoin and nothing else")) == [("1", "BTC")]
    assert filtered(post(symbols=(), text="Nothing at all")) == [("symbol", "1")]


def test_the_same_text_of_an_author_is_stored_once() -> None:
    again = "bitcoin IS good https://example.org/2"
    posts = [post("2", time=NOON + 1, text=again), post("1"), post("3", author="b", time=NOON + 2), post("4", author=None)]
    first = post_filter()
    records = read(first, "t", posts, NOON)
    assert [record.post_id for record in records if isinstance(record, SentimentPost)] == ["1", "4", "3"]
    assert [record for record in records if isinstance(record, Filtered)] == [Filtered("repeated", 1)]

    assert filtered(posts[1], posts[0], cursor=first.cursor()) == [("1", "BTC")], (
        "read again, the same posts are yielded, and none is counted again"
    )
    assert filtered(post("5", time=NOON + 9, text=again), cursor=first.cursor()) == [("repeated", "1")]


def test_the_cursor_is_bounded_and_keeps_the_newest_texts() -> None:
    first = post_filter()
    read(first, "t", [post(str(n), time=NOON + n, text=f"good {n}") for n in range(REMEMBERED_TEXTS + 1)], NOON)
    cursor = first.cursor()
    assert filtered(post("x", time=NOON + 5000, text=f"good {REMEMBERED_TEXTS}"), cursor=cursor) == [("repeated", "1")]
    assert filtered(post("x", time=NOON + 5000, text="good 0"), cursor=cursor) == [("x", "BTC")]


def test_filtered_posts_are_counted_once() -> None:
    first = post_filter()
    bots = [post(str(n), time=NOON + n, is_bot=True) for n in range(3)]
    assert read(first, "bitcoin", bots, NOON) == [Filtered("bot", 3)]
    assert read(first, "ethereum", bots, NOON) == [], "the same post under another tag is not counted again"
    assert read(post_filter(first.cursor()), "bitcoin", [*bots, post("9", time=NOON + 9, is_bot=True)], NOON) == [
        Filtered("bot", 1)
    ]


def test_a_post_of_the_future_does_not_move_the_cursor() -> None:
    first = post_filter()
    assert filtered(post(time=NOON + 60 * MINUTE)) == [("1", "BTC")]
    ahead = post(time=NOON + 60 * MINUTE + 1)
    assert first.since("t", NOON) == NOON - DAY
    assert read(first, "t", [ahead], NOON) == [Filtered("future", 1)]
    later = post_filter(first.cursor())
    assert read(later, "t", [ahead], NOON) == []
    assert later.since("t", NOON + 1) == NOON


def test_the_last_day_is_read_again_every_hour() -> None:
    first = post_filter()
    assert first.since("t", NOON) == NOON - DAY
    read(first, "t", [post(time=NOON - MINUTE)], NOON)
    soon = post_filter(first.cursor())
    assert soon.since("t", NOON + SWEEP_INTERVAL - 1) == NOON - MINUTE
    assert soon.since("another", NOON + SWEEP_INTERVAL - 1) == NOON - 1 - DAY + SWEEP_INTERVAL
    assert post_filter(soon.cursor()).since("t", NOON + SWEEP_INTERVAL) == NOON + SWEEP_INTERVAL - DAY


def test_a_malformed_cursor_is_like_none() -> None:
    assert post_filter('{"read_until": 1}').since("t", NOON) == NOON - DAY
    assert post_filter("old").since("t", NOON) == NOON - DAY


@pytest.mark.parametrize(
    ("text", "direction", "expected"),
    [
        ("Bitcoin is good", "positive", "0.4404"),
        ("Bitcoin is good", "negative", "-0.4404"),
        ("Bitcoin is bad", "positive", "0.5423"),
        ("Bitcoin", "positive", "0.5000"),
        ("Bitcoin", "negative", "-0.5000"),
        ("Bitcoin", None, "0.0000"),
    ],
)
def test_the_direction_of_the_author_decides_the_sign(text: str, direction: str | None, expected: str) -> None:
    (record,) = read(post_filter(), "t", [post(text=text, direction=direction)], NOON)
    assert isinstance(record, SentimentPost)
    assert (record.score, record.label) == (expected, direction or "neutral")


def test_a_long_text_is_cut() -> None:
    (record,) = read(post_filter(), "t", [post(text="good " * 10_000)], NOON)
    assert isinstance(record, SentimentPost)
    assert len(record.text) == TEXT_CHARACTERS
