"""The hourly sentiment that the daemon makes of posts, on both editions: its values, when it is made again, and concurrent writers.

A batch writer writes the posts, as it does those of a poller. Scores are round numbers, so that each row can be checked by hand.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from ingest.pipeline.batch import Batch
from ingest.pipeline.copy_encoder import encoder
from ingest.records import MINUTE, SECOND, SentimentPost
from ingest.store.batch_writer import BatchWriter
from ingest.store.hourly_sentiment import roll_up_sentiment
from ingest.store.pool import committed, open_pool
from ingest.store.rollup import RollupResult
from ingest.tables import SENTIMENT_POSTS
from ingest.text.sentiment_label import label_of

HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOON = int(HOUR.timestamp()) * SECOND
LATER = HOUR + timedelta(hours=3)
MINUTES = timedelta(minutes=1)


def post(number: int, minutes: float, score: str, platform: str = "mastodon", **changes: Any) -> SentimentPost:
    """A post that many minutes after noon, received a minute later."""
    time = NOON + int(minutes * MINUTE)
    made = SentimentPost(
        platform=platform,
        post_id=str(number),
        symbol="BTC",
        time=time,
        text="t",
        author=None,
        score=score,
        label=label_of(score),
        engagement=None,
        received_at=time + MINUTE,
    )
    return replace(made, **changes)


@pytest.fixture
async def pool(market: str) -> Any:
    pool = await open_pool(market, 2)
    yield pool
    pool.terminate()


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def write(pool: Any, *posts: SentimentPost) -> tuple[int, int, int]:
    text = "".join(map(encoder(SENTIMENT_POSTS), posts))
    batch = Batch(text.encode(), len(posts), posts[-1].time, posts[0].received_at, samples=())
    outcome = await BatchWriter(SENTIMENT_POSTS, pool, "apache").write(batch)
    return outcome.written, outcome.revised, outcome.duplicate


async def scores(connection: Any) -> list[tuple[Any, ...]]:
    """(symbol, platform, minutes after noon, score, label, mentions, positive, neutral, negative, influencers)."""
    rows = await connection.fetch("SELECT * FROM sentiment_scores WHERE interval = '1h' ORDER BY symbol, platform, time")
    names = ("social_score", "label", "mentions", "positive", "neutral", "negative", "influencer_mentions")
    return [
        (row["symbol"], row["platform"], (row["time"] - HOUR) // timedelta(minutes=1), *(row[name] for name in names))
        for row in rows
    ]


async def marks(connection: Any) -> list[tuple[str, datetime]]:
    return [tuple(row) for row in await connection.fetch("SELECT symbol, time FROM sentiment_dirty ORDER BY 1, 2")]


async def test_an_hour_is_summed_up_by_platform_and_of_all(pool: Any, connection: Any) -> None:
    await write(
        pool,
        post(1, 0, "0.8000", followers=9_999),
        post(2, 1, "0.0000", followers=10_000),
        post(3, 59.99, "-0.2000", followers=None),
        post(1, 30, "-1.0000", platform="reddit"),
        post(4, 60, "0.5000"),  # of the next hour
        post(5, 5, "0.5000", symbol="ETH"),
    )
    assert await roll_up_sentiment(connection, LATER) == RollupResult(taken=3, written=7)
    third, quarter = (Decimal(text) for text in ("33.33", "25.00"))
    whole, none = Decimal("100.00"), Decimal("0.00")
    assert await scores(connection) == [
        ("BTC", "all", 0, Decimal("45.00"), "negative", 4, quarter, quarter, Decimal("50.00"), 1),
        ("BTC", "all", 60, Decimal("75.00"), "positive", 1, whole, none, none, None),
        ("BTC", "mastodon", 0, Decimal("60.00"), "positive", 3, third, third, third, 1),
        ("BTC", "mastodon", 60, Decimal("75.00"), "positive", 1, whole, none, none, None),
        ("BTC", "reddit", 0, none, "negative", 1, none, none, whole, None),
        ("ETH", "all", 0, Decimal("75.00"), "positive", 1, whole, none, none, None),
        ("ETH", "mastodon", 0, Decimal("75.00"), "positive", 1, whole, none, none, None),
    ]
    received = await connection.fetchval("SELECT received_at FROM sentiment_scores WHERE platform = 'all' AND symbol = 'ETH'")
    assert received == HOUR + timedelta(minutes=6)
    assert await marks(connection) == []
    assert await roll_up_sentiment(connection, LATER) == RollupResult()


async def test_an_hour_waits_until_it_is_over(pool: Any, connection: Any) -> None:
    await write(pool, post(1, 0, "0.5000"))
    assert await roll_up_sentiment(connection, HOUR + timedelta(minutes=60, seconds=59)) == RollupResult()
    assert await roll_up_sentiment(connection, HOUR + timedelta(minutes=61)) == RollupResult(taken=1, written=2)


async def test_a_late_post_and_a_corrected_one_make_their_hour_again_and_others_nothing(pool: Any, connection: Any) -> None:
    first, week = post(1, 0, "0.5000"), -7 * 24 * 60
    await write(pool, first, post(9, week, "0.5000"))
    assert await roll_up_sentiment(connection, LATER) == RollupResult(taken=2, written=4)

    assert await write(pool, replace(first, received_at=first.received_at + MINUTE)) == (0, 0, 1)
    assert await marks(connection) == [], "a repeated post changes nothing"

    assert await write(pool, replace(first, engagement=7, received_at=first.received_at + 2 * MINUTE)) == (0, 1, 0)
    assert await roll_up_sentiment(connection, LATER) == RollupResult(taken=1), "a value that is not in the sum changes nothing"

    assert await write(pool, replace(first, score="-0.5000", label="negative", received_at=first.received_at + 3 * MINUTE)) == (
        0,
        1,
        0,
    )
    assert await write(pool, post(10, week + 1, "-0.5000")) == (1, 0, 0)
    assert await roll_up_sentiment(connection, LATER) == RollupResult(taken=2, revised=4)
    assert [row[3:6] for row in await scores(connection) if row[1] == "all"] == [
        (Decimal("50.00"), "neutral", 2),
        (Decimal("25.00"), "negative", 1),
    ]


async def test_a_post_whose_time_its_source_changes_stays_in_its_hour(pool: Any, connection: Any) -> None:
    await write(pool, post(1, 59, "0.5000"))
    await write(pool, post(1, 61, "-0.5000"))
    await roll_up_sentiment(connection, LATER)
    assert [(row[1], row[2], row[3]) for row in await scores(connection)] == [
        ("all", 0, Decimal("25.00")),
        ("mastodon", 0, Decimal("25.00")),
    ]


async def test_shares_that_are_no_round_numbers_are_still_shares(pool: Any, connection: Any) -> None:
    """1 of 800 and 799 of 800 are both rounded up in the last digit that is kept; together they are 100.01 percent."""
    await write(pool, *(post(number, 1, "-1.0000" if number else "1.0000") for number in range(800)))
    await roll_up_sentiment(connection, LATER)
    assert [row[5:9] for row in await scores(connection)] == [(800, Decimal("0.13"), Decimal("0.00"), Decimal("99.88"))] * 2


async def test_a_late_post_of_a_compressed_week_makes_its_hour_again(pool: Any, connection: Any, edition: str) -> None:
    if edition == "apache":
        pytest.skip("there is no compression on the apache edition")
    await write(pool, post(1, 0, "0.5000"), post(2, 1, "0.5000", symbol="ETH"))
    await roll_up_sentiment(connection, LATER)
    await connection.execute(
        "SELECT compress_chunk(chunk) FROM show_chunks('sentiment_posts') chunk"
        " UNION ALL SELECT compress_chunk(chunk) FROM show_chunks('sentiment_scores') chunk"
    )
    await write(pool, post(3, 2, "-0.5000"))
    assert await roll_up_sentiment(connection, LATER) == RollupResult(taken=1, revised=2)
    assert [row[:6] for row in await scores(connection) if row[0] == "BTC"] == [
        ("BTC", platform, 0, Decimal("50.00"), "neutral", 2) for platform in ("all", "mastodon")
    ]


async def test_a_mark_that_a_writer_holds_is_left_until_it_has_committed(market: str, pool: Any, connection: Any) -> None:
    await write(pool, post(1, 0, "0.5000"))
    writer: Any = await asyncpg.connect(market)
    async with committed(writer):
        await writer.execute("UPDATE sentiment_posts SET score = -1")
        await writer.execute("UPDATE sentiment_dirty SET marked_at = now()")
        meanwhile = await roll_up_sentiment(connection, LATER)
    await writer.close()
    assert meanwhile == RollupResult()
    assert await roll_up_sentiment(connection, LATER) == RollupResult(taken=1, written=2)
    assert [row[3] for row in await scores(connection)] == [Decimal("0.00")] * 2


async def test_the_marks_beyond_the_limit_of_a_call_are_left_for_the_next(pool: Any, connection: Any) -> None:
    await write(pool, *(post(number, 1, "0.5000", symbol=f"S{number}") for number in range(1001)))
    assert (await roll_up_sentiment(connection, LATER)).taken == 1000
    assert (await roll_up_sentiment(connection, LATER)).taken == 1
    assert len(await scores(connection)) == 2002
