"""A fact whose time its source changes is one row; a value that changes revises it, and an old answer that comes late does not."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from ingest.batch import Batch, Outcome
from ingest.pipeline.encode import encoder
from ingest.records import SECOND, News, Price, Record
from ingest.store.ladder import Ladder
from ingest.store.pool import open_pool
from ingest.tables import BY_RECORD

NOON = 1_795_176_000 * SECOND
ARTICLE = News(
    source="coindesk",
    id="a-guid",
    time=NOON,
    title='He said "up"\\down',
    summary="two\nlines",
    url="https://example.org/a",
    author=None,
    image_url=None,
    symbols=("BTC", 'quo"te', "back\\slash", "a,b{}", "NULL", ""),
    categories=(),
    sentiment="0.25",
    relevance=None,
    impact_level="high",
    received_at=NOON,
)
PRICE = Price(1, "coingecko", NOON, "70187", None, None, None, None, None, None, "-3.5", None, None, None, NOON)


@pytest.fixture
async def pool(market: str) -> Any:
    pool = await open_pool(market, 2)
    yield pool
    pool.terminate()


def batch(*records: Record) -> Batch:
    text = "".join(map(encoder(BY_RECORD[type(records[0])]), records))
    return Batch(text.encode(), len(records), records[-1].time, records[0].received_at, samples=())


async def write(pool: Any, *records: Record) -> tuple[int, int, int]:
    outcome: Outcome = await Ladder(BY_RECORD[type(records[0])], pool).write(batch(*records))
    return outcome.written, outcome.revised, outcome.duplicate


async def rows(pool: asyncpg.Pool[Any], query: str) -> list[tuple[Any, ...]]:
    async with pool.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def test_an_article_whose_time_changes_stays_one_row(pool: Any) -> None:
    later = replace(ARTICLE, time=NOON + 60 * SECOND, received_at=NOON + SECOND)
    assert await write(pool, ARTICLE) == (1, 0, 0)
    assert await write(pool, later) == (0, 0, 1)
    assert await write(pool, replace(later, title="Corrected")) == (0, 1, 0)
    assert await write(pool, replace(later, id="another"), replace(later, id="another", time=NOON)) == (1, 0, 1)
    query = "SELECT id, extract(epoch FROM time)::bigint, title FROM news ORDER BY id"
    title = ARTICLE.title
    assert await rows(pool, query) == [("a-guid", NOON // SECOND, "Corrected"), ("another", NOON // SECOND, title)]


async def test_texts_come_back_as_they_went_in(pool: Any) -> None:
    await write(pool, ARTICLE)
    assert await rows(pool, "SELECT title, summary, symbols, categories FROM news") == [
        (ARTICLE.title, ARTICLE.summary, list(ARTICLE.symbols), [])
    ]


async def test_a_price_that_is_told_again_is_a_duplicate_and_another_value_revises(pool: Any) -> None:
    newer = replace(PRICE, price_aud="105280.5", received_at=NOON + SECOND)
    assert await write(pool, PRICE) == (1, 0, 0)
    assert await write(pool, PRICE) == (0, 0, 1)
    assert await write(pool, newer) == (0, 1, 0)
    assert await write(pool, PRICE) == (0, 0, 1), "what was said earlier does not undo it"
    assert await rows(pool, "SELECT price_usd::text, price_aud::text FROM prices") == [("70187", "105280.5")]
