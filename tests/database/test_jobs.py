"""Jobs and their chunks: a finished chunk is not loaded again, and one process fills each chunk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise

import asyncpg
import pytest
from msgspec.structs import replace

from ingest.pipeline.batch import Outcome
from ingest.sources.exchange_backfill import chunk_edges
from ingest.store.jobs import Chunk, Job, claim, finish, open_job, pending, to_micros
from ingest.store.pool import Connection, connect


def at(*parts: int) -> int:
    return to_micros(datetime(*parts, tzinfo=UTC))  # type: ignore[misc, arg-type]


NOON, FIRST, SECOND, THIRD, LATE = at(2026, 1, 31, 12), at(2026, 2, 1), at(2026, 2, 2), at(2026, 2, 3), at(2026, 2, 3, 9)
JOB = Job(source="demo", instrument_id=7, channel="trades", trade_kind="trade", via="archive", since=NOON, until=LATE)
CUTS = [NOON, FIRST, SECOND, THIRD, LATE]
DONE = Outcome(written=5, revised=1, duplicate=2, rejected={"value": 3})


@pytest.fixture
async def connection(market: str) -> AsyncIterator[Connection]:
    connection = await connect(market)
    yield connection
    await connection.close()


async def chunks(connection: Connection) -> list[tuple[object, ...]]:
    rows = await connection.fetch(
        "SELECT since, until, state, written, revised, duplicate, rejected, verdict FROM job_chunks ORDER BY job_id, since"
    )
    return [(to_micros(row[0]), to_micros(row[1]), *row[2:]) for row in rows]


def test_trades_are_cut_by_days_and_candles_by_months():
    assert chunk_edges("trades", NOON, LATE) == CUTS
    assert chunk_edges("candles", NOON, LATE) == [NOON, FIRST, LATE]
    assert chunk_edges("candles", FIRST, at(2026, 4, 1)) == [FIRST, at(2026, 3, 1), at(2026, 4, 1)]
    assert chunk_edges("trades", FIRST, SECOND) == [FIRST, SECOND]


async def test_a_finished_chunk_is_not_pending_and_a_failed_chunk_is(connection: Connection):
    parts = await pending(connection, JOB, CUTS)
    assert parts == [(THIRD, LATE), (SECOND, THIRD), (FIRST, SECOND), (NOON, FIRST)]
    opened = await open_job(connection, JOB, parts)
    assert {chunk.job_id for chunk in opened} == {opened[0].job_id}
    assert [(chunk.since, chunk.until) for chunk in opened] == parts
    await finish(connection, opened[1], DONE, None)
    await finish(connection, opened[2], Outcome(duplicate=4), "HTTP 500")
    assert await chunks(connection) == [
        (NOON, FIRST, "pending", 0, 0, 0, 0, None),
        (FIRST, SECOND, "failed", 0, 0, 4, 0, "HTTP 500"),
        (SECOND, THIRD, "done", 5, 1, 2, 3, None),
        (THIRD, LATE, "pending", 0, 0, 0, 0, None),
    ]
    left = await pending(connection, JOB, CUTS)
    assert left == [(THIRD, LATE), (FIRST, SECOND), (NOON, FIRST)]
    assert (await open_job(connection, JOB, left))[1] == opened[2]
    assert (await chunks(connection))[1] == (FIRST, SECOND, "failed", 0, 0, 4, 0, "HTTP 500")  # until it is done
    await finish(connection, opened[2], DONE, None)
    assert (await chunks(connection))[1] == (FIRST, SECOND, "done", 5, 1, 2, 3, None)


async def test_another_job_of_the_stream_continues_with_the_unfinished_chunks(connection: Connection):
    for chunk in await open_job(connection, JOB, list(pairwise(CUTS))):
        await finish(connection, chunk, DONE, None)
    later = replace(JOB, until=at(2026, 2, 4))
    assert await pending(connection, later, chunk_edges("trades", later.since, later.until)) == [(THIRD, later.until)]
    others = ({"instrument_id": 8}, {"via": "rest"}, {"trade_kind": "aggTrade"}, {"symbol": "BTC"})
    for other in (replace(JOB, **changed) for changed in others):
        assert len(await pending(connection, other, CUTS)) == 4


async def test_a_chunk_that_is_opened_again_is_pending(connection: Connection):
    parts = [(FIRST, SECOND)]
    (chunk,) = await open_job(connection, JOB, parts)
    await finish(connection, chunk, DONE, None)
    assert not await claim(connection, chunk)
    assert await open_job(connection, JOB, parts) == [chunk]
    assert (await chunks(connection))[0][2] == "pending"
    assert await claim(connection, chunk)


async def test_a_chunk_is_claimed_by_one_connection_until_it_ends(connection: Connection, market: str):
    (first, second) = await open_job(connection, JOB, [(SECOND, THIRD), (FIRST, SECOND)])
    other = await connect(market)
    assert await claim(other, first)
    assert not await claim(connection, first)
    assert await claim(connection, second)
    await finish(connection, second, DONE, None)
    assert not await claim(other, second)  # it is done
    await other.close()
    assert await _claimed(connection, first)


async def _claimed(connection: asyncpg.Connection, chunk: Chunk) -> bool:
    """Claim until it succeeds: the server notices only after a moment that the other client has disconnected."""
    for _ in range(100):
        if await claim(connection, chunk):
            return True
        await connection.execute("SELECT pg_sleep(0.02)")
    return False
