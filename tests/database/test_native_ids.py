"""A record stays one row when its source changes its time. A changed value revises it; an older response that is late does not."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from ingest.pipeline.batch import Batch, Outcome
from ingest.pipeline.copy_encoder import encoder
from ingest.records import SECOND, News, Price, Record, WhaleTransaction
from ingest.store.batch_writer import BatchWriter
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
    outcome: Outcome = await BatchWriter(BY_RECORD[type(records[0])], pool).write(batch(*records))
    return outcome.written, outcome.revised, outcome.duplicate


async def rows(pool: asyncpg.Pool[Any], query: str) -> list[tuple[Any, ...]]:
    async with pool.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def test_an_article_whose_time_changes_stays_one_row(pool: Any) -> None:
    later = replace(ARTICLE, time=NOON + 60 * SECOND, received_at=NOON + SECOND)
    assert await write(pool, ARTICLE) == (1, 0, 0)
    assert await write(pool, later) == (0, 0, 1)
    assert await write(pool, replace(later, title="Corrected")) == (0, 1, 0)
    another = replace(later, id="another", url="https://example.org/another", title="Another")
    assert await write(pool, another, replace(another, time=NOON)) == (1, 0, 1)
    query = "SELECT id, extract(epoch FROM time)::bigint, title FROM news ORDER BY id"
    assert await rows(pool, query) == [("a-guid", NOON // SECOND, "Corrected"), ("another", NOON // SECOND, "Another")]


@pytest.mark.parametrize(
    ("again", "title"),
    [
        ({"url": "https://example.org/elsewhere", "title": "Corrected"}, "Corrected"),  # the publisher's id
        ({"id": "b", "url": "http://www.example.org/a/", "title": "Corrected"}, "Corrected"),  # the link, as others spell it
        ({"id": "b", "url": "https://example.org/b", "title": "HE SAID: up, down!"}, "HE SAID: up, down!"),  # the headline that day
    ],
)
async def test_an_article_is_recognised_by_its_id_its_link_or_its_headline(pool: Any, again: dict[str, str], title: str) -> None:
    later = replace(ARTICLE, **again, time=NOON + 60 * SECOND, received_at=NOON + SECOND)
    assert await write(pool, ARTICLE) == (1, 0, 0)
    assert await write(pool, later) == (0, 1, 0)
    assert await write(pool, later) == (0, 0, 1)
    third = replace(later, id="c", title="Once more", received_at=NOON + 2 * SECOND)
    assert await write(pool, third) == (0, 1, 0), "the new names lead to it as well"
    found = await rows(pool, "SELECT id, extract(epoch FROM time)::bigint, title, url FROM news")
    assert found == [(ARTICLE.id, NOON // SECOND, "Once more", later.url)]


async def test_native_ids_count_within_a_batch_and_the_stored_row_does_not_depend_on_the_order(pool: Any) -> None:
    by_link = replace(ARTICLE, id="b", title="Corrected", time=NOON + SECOND)
    by_title = replace(ARTICLE, id="c", url="https://example.org/c", time=NOON + SECOND)
    turn = (by_title, by_link, ARTICLE)
    assert await write(pool, *turn) == (1, 0, 2)
    assert await write(pool, *reversed(turn)) == (0, 0, 3)
    assert await rows(pool, "SELECT id, url FROM news") == [(ARTICLE.id, ARTICLE.url)]


async def test_other_articles_with_the_same_headline_are_rows_of_their_own(pool: Any) -> None:
    """A column has the same headline every day, and two publishers may choose the same headline."""
    tomorrow = replace(ARTICLE, id="b", url="https://example.org/b", time=NOON + 86_400 * SECOND)
    rival = replace(ARTICLE, source="decrypt", id="c", url="https://example.org/c")
    foreign = replace(ARTICLE, id="d", url="https://example.org/d", title="\u5e01\u5b89")
    script = replace(foreign, id="e", url="https://example.org/e", title="\u4e0b\u67b6")
    assert await write(pool, ARTICLE, tomorrow, rival, foreign, script) == (5, 0, 0)


async def test_an_aggregator_that_links_to_a_stored_article_brings_a_duplicate(pool: Any) -> None:
    linked = replace(ARTICLE, source="cryptopanic", id="7", title="As the aggregator calls it", received_at=NOON + SECOND)
    assert await write(pool, ARTICLE) == (1, 0, 0)
    assert await write(pool, linked) == (0, 0, 1)
    assert await write(pool, replace(linked, url="https://example.org/7")) == (0, 0, 1), "it stays the article that it was"
    new = replace(linked, id="9", url="https://example.org/9", title="New")
    again = replace(linked, id="6", url="https://example.org/6")  # recognised by its headline, within the batch and later
    assert await write(pool, replace(linked, id="8"), again, new) == (1, 0, 2)
    assert await write(pool, replace(again, id="5", url="https://example.org/5")) == (0, 0, 1)
    found = await rows(pool, "SELECT source, id, title FROM news ORDER BY source")
    assert found == [("coindesk", ARTICLE.id, ARTICLE.title), ("cryptopanic", "9", "New")]


async def test_two_sources_at_once_have_one_article(pool: Any) -> None:
    """The second waits for the native ids of the first, and then finds them: one row for each article, and no deadlock."""
    articles = [replace(ARTICLE, id=f"{n}", url=f"https://example.org/{n}", title=f"No {n}") for n in range(200)]
    linked = [replace(article, source="cryptopanic", id=f"p{article.id}") for article in reversed(articles)]
    outcomes = await asyncio.gather(write(pool, *articles), write(pool, *linked))
    assert sorted(outcomes) == [(0, 0, 200), (200, 0, 0)]
    assert await rows(pool, "SELECT count(*), count(DISTINCT url), count(DISTINCT source) FROM news") == [(200, 200, 1)]


async def test_texts_come_back_as_they_went_in(pool: Any) -> None:
    await write(pool, ARTICLE)
    assert await rows(pool, "SELECT title, summary, symbols, categories FROM news") == [
        (ARTICLE.title, ARTICLE.summary, list(ARTICLE.symbols), [])
    ]


async def test_a_repeated_price_is_a_duplicate_and_another_value_revises(pool: Any) -> None:
    newer = replace(PRICE, price_aud="105280.5", received_at=NOON + SECOND)
    assert await write(pool, PRICE) == (1, 0, 0)
    assert await write(pool, PRICE) == (0, 0, 1)
    assert await write(pool, newer) == (0, 1, 0)
    assert await write(pool, PRICE) == (0, 0, 1), "an older response does not undo the revision"
    assert await rows(pool, "SELECT price_usd::text, price_aud::text FROM prices") == [("70187", "105280.5")]


WHALE = WhaleTransaction(
    blockchain="ethereum",
    hash="0xab",
    token="USDC",
    index=0,
    time=NOON,
    from_address="0x1",
    from_label=None,
    to_address="0x2",
    to_label=None,
    amount_token="2000000",
    amount_usd="2000000.00",
    alert_level="low",
    block_height=1,
    block_hash="0xcd",
    source="etherscan",
    received_at=NOON + SECOND,
)
ALERT = replace(
    WHALE, from_label="binance", block_hash=None, source="whale_alert", amount_token="2500000", received_at=NOON, time=NOON - SECOND
)


async def test_a_transfer_of_the_chain_replaces_an_alert_and_keeps_its_labels(pool: Any) -> None:
    """In either order, and within one batch. The time of the first stored row stays."""
    again = replace(ALERT, received_at=NOON + 9 * SECOND)
    assert await write(pool, ALERT) == (1, 0, 0)
    assert await write(pool, WHALE) == (0, 1, 0)
    assert await write(pool, again) == (0, 0, 1)
    assert await write(pool, replace(WHALE, received_at=NOON + 10 * SECOND)) == (0, 0, 1)
    moved = replace(WHALE, block_hash="0xef", to_label="kraken", received_at=NOON + 11 * SECOND)
    assert await write(pool, moved) == (0, 1, 0)
    both = [replace(row, hash="0xcd") for row in (WHALE, again)]
    assert await write(pool, *both) == (1, 0, 1)
    query = "SELECT hash, source, from_label, to_label, amount_token::text, block_hash, time FROM whale_transactions ORDER BY hash"
    found = [(*row[:-1], int(row[-1].timestamp()) * SECOND) for row in await rows(pool, query)]
    assert found == [
        ("0xab", "etherscan", "binance", "kraken", "2000000", "0xef", NOON - SECOND),
        ("0xcd", "etherscan", None, None, "2000000", "0xcd", NOON - SECOND),
    ]
