"""The buffer of claims, gaps and unreadable frames, which it writes to the tables `coverage` and `rejects`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from line import CutLine

from ingest.counters import Counters
from ingest.errors import Hold, Retry
from ingest.metrics import Metrics
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Gap
from ingest.records import SECOND
from ingest.store import coverage_buffer
from ingest.store.coverage import Claim, to_datetime
from ingest.store.coverage_buffer import CoverageBuffer
from ingest.store.pool import Pool, open_pool
from ingest.store.rejects import PENDING
from tests.support.daemon import on_apache

pytestmark = on_apache  # both are plain tables

NOW = 1_790_000_000 * SECOND
GAPS = """
    SELECT source, writer, instrument_id, channel, state, reason, since, until, first_id, last_id, expected
      FROM coverage ORDER BY id"""


@pytest_asyncio.fixture
async def pool(market: str) -> AsyncIterator[Pool]:
    made = await open_pool(market, 2)
    yield made
    await made.close()


async def gaps(pool: Pool) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in await pool.fetch(GAPS)]


async def test_a_gap_with_both_ends_is_written_once(pool: Pool) -> None:
    buffer = CoverageBuffer(pool, Counters(), "one")
    buffer.gap("binance", Gap(7, "trades", "sequence", NOW, NOW + 5, first_id=10, last_id=12), "trade")
    await buffer.flush()
    await buffer.flush()  # nothing is written twice
    expected = ("binance", "one", 7, "trades", "open", "sequence", to_datetime(NOW), to_datetime(NOW + 5), 10, 12, 3)
    assert await gaps(pool) == [expected]
    assert await pool.fetchval("SELECT trade_kind FROM coverage") == "trade"


@pytest.mark.parametrize("flush_between", [True, False])
async def test_a_gap_that_opens_and_ends_is_one(pool: Pool, flush_between: bool) -> None:
    metrics = Metrics()
    buffer = CoverageBuffer(pool, metrics.counters, "one")
    buffer.gap("kraken", Gap(7, "book", "checksum", NOW), None)
    if flush_between:
        await buffer.flush()
        assert (await gaps(pool))[0][6:8] == (to_datetime(NOW), None)
    buffer.gap("kraken", Gap(7, "book", "checksum", NOW, NOW + 9), None)
    await buffer.flush()
    expected = ("kraken", "one", 7, "book", "unrecoverable", "checksum", to_datetime(NOW), to_datetime(NOW + 9), None, None, None)
    assert await gaps(pool) == [expected]
    counted = {"source": "kraken", "channel": "book", "reason": "checksum"}
    assert metrics.registry.get_sample_value("ingest_gaps_total", counted) == 1


async def test_a_gap_whose_commit_was_not_confirmed_is_not_written_twice(pool: Pool) -> None:
    whole, opened = Gap(7, "trades", "sequence", NOW, NOW + 5, first_id=10, last_id=12), Gap(7, "book", "checksum", NOW)
    for _ in range(2):
        buffer = CoverageBuffer(pool, Counters(), "one")
        buffer.gap("kraken", whole, "trade")
        buffer.gap("kraken", opened, None)
        await buffer.flush()
    assert [(row[3], row[6], row[7]) for row in await gaps(pool)] == [
        ("trades", to_datetime(NOW), to_datetime(NOW + 5)),
        ("book", to_datetime(NOW), None),
    ]


async def test_two_gaps_of_one_moment_are_two(pool: Pool) -> None:
    buffer = CoverageBuffer(pool, Counters(), "one")
    for first_id in (10, 20):
        buffer.gap("binance", Gap(7, "trades", "sequence", NOW, NOW, first_id=first_id, last_id=first_id), "trade")
    await buffer.flush()
    assert [row[8] for row in await gaps(pool)] == [10, 20]


async def test_two_daemons_write_their_own_gaps(pool: Pool) -> None:
    for name in ("one", "two"):
        buffer = CoverageBuffer(pool, Counters(), name)
        buffer.gap("kraken", Gap(7, "book", "checksum", NOW), None)
        await buffer.flush()
    buffer.gap("kraken", Gap(7, "book", "checksum", NOW, NOW + 9), None)
    await buffer.flush()
    assert [(row[1], row[7]) for row in await gaps(pool)] == [("one", None), ("two", to_datetime(NOW + 9))]


async def test_garbage_is_kept_where_a_person_can_read_it(pool: Pool) -> None:
    buffer = CoverageBuffer(pool, Counters(), "one")
    buffer.malformed("okx", Malformed(b'{"a\0":\xff', "json", "invalid\0 character"))
    await buffer.flush()
    row = await pool.fetchrow("SELECT source, table_name, stage, reason, sqlstate, message, payload FROM rejects")
    assert tuple(row.values()) == ("okx", None, "decode", "json", None, "invalid\\0 character", '{"a\\0":\\xff')


async def test_a_flood_of_garbage_is_counted_and_bounded_and_costs_no_other_source_its_evidence(pool: Pool) -> None:
    metrics = Metrics()
    buffer = CoverageBuffer(pool, metrics.counters, "one")
    for _ in range(1000):
        buffer.malformed("okx", Malformed(b"x", "json", "no JSON"))
    buffer.malformed("gate", Malformed(b"y", "shape", "no list"))
    await buffer.flush()
    stored = "SELECT source, count(*) AS stored, sum(rows) AS counted FROM rejects GROUP BY 1 ORDER BY 1"
    assert [tuple(row) for row in await pool.fetch(stored)] == [("gate", 1, 1), ("okx", PENDING, 1000)]
    errors = {"source": "okx", "stage": "decode", "error_type": "json"}
    assert metrics.registry.get_sample_value("ingest_errors_total", errors) == 1000


async def test_garbage_waits_for_the_database(pool: Pool) -> None:
    buffer = CoverageBuffer(pool, Counters(), "one")
    buffer.malformed("okx", Malformed(b"x", "json", "no JSON"))
    await pool.execute("ALTER TABLE rejects RENAME TO elsewhere")
    with pytest.raises(Hold):
        await buffer.flush()
    await pool.execute("ALTER TABLE elsewhere RENAME TO rejects")
    await buffer.flush()
    assert await pool.fetchval("SELECT sum(rows) FROM rejects") == 1


@pytest.fixture
async def line(market: str) -> AsyncIterator[CutLine]:
    async with CutLine(market) as cut:
        yield cut


async def cut_pool(line: CutLine) -> Pool:
    """A pool without a connection, on a line whose server is away."""
    pool = await open_pool(line.dsn, 1)
    line.redirect("postgresql://nobody@127.0.0.1:1/nothing")
    return pool


async def test_gaps_are_kept_while_the_database_is_away(pool: Pool, market: str, line: CutLine) -> None:
    away = await cut_pool(line)
    buffer = CoverageBuffer(away, Counters(), "one")
    buffer.gap("okx", Gap(1, "trades", "disconnect", NOW, NOW + 1), "trades-all")
    with pytest.raises(Retry, match="writing 0 claims, 1 gaps and 0 rejects"):
        await buffer.flush()
    line.redirect(market)
    await buffer.flush()
    away.terminate()
    assert len(await gaps(pool)) == 1


def claim(seconds: int, since: int = 0) -> Claim:
    return Claim("okx", "one", 1, "trades", "trades-all", NOW + since * SECOND, NOW + seconds * SECOND)


async def claimed(pool: Pool) -> list[tuple[int, int]]:
    """The covered ranges, in seconds after NOW."""
    rows = await pool.fetch("SELECT since, until FROM coverage WHERE state = 'covered' ORDER BY since")
    return [tuple(int((time - to_datetime(NOW)).total_seconds()) for time in row.values()) for row in rows]


async def test_a_claim_is_written_at_the_next_flush(pool: Pool) -> None:
    buffer = CoverageBuffer(pool, Counters(), "one")
    buffer.claim([claim(10)])
    assert await claimed(pool) == []
    await buffer.flush()
    assert await claimed(pool) == [(0, 10)]
    buffer.claim([claim(20), claim(40, since=30)])
    await buffer.flush()
    assert await claimed(pool) == [(0, 20), (30, 40)]


async def test_a_claim_that_could_not_be_written_is_written_later(pool: Pool, market: str, line: CutLine) -> None:
    away = await cut_pool(line)
    buffer = CoverageBuffer(away, Counters(), "one")
    buffer.claim([claim(10)])  # the last claim of a connection that has ended is not computed again
    with pytest.raises(Retry, match="writing 1 claims, 0 gaps and 0 rejects"):
        await buffer.flush()
    buffer.claim([claim(40, since=30)])
    line.redirect(market)
    await buffer.flush()
    away.terminate()
    assert await claimed(pool) == [(0, 10), (30, 40)]


async def test_of_two_claims_with_one_beginning_the_longer_is_written(pool: Pool) -> None:
    buffer = CoverageBuffer(pool, Counters(), "one")
    buffer.claim([claim(20)])
    buffer.claim([claim(15)])  # the margin grew, because late rows were seen
    await buffer.flush()
    assert await claimed(pool) == [(0, 20)]


async def test_claims_are_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_buffer, "MAX_CLAIMS", 2)
    metrics = Metrics()
    buffer = CoverageBuffer(pool, metrics.counters, "one")
    buffer.claim([claim(10), claim(30, since=20), claim(50, since=40), claim(15)])
    await buffer.flush()
    assert await claimed(pool) == [(0, 15), (20, 30)]
    dropped = {"source": "okx", "stage": "coverage_buffer", "error_type": "claim_dropped"}
    assert metrics.registry.get_sample_value("ingest_errors_total", dropped) == 1
