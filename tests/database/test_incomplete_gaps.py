"""How the gap filler closes a gap in candles where the exchange lacks some of the minutes: by the ledger's rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from ingest import registry
from ingest.config.sections import ExchangeSection
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.errors import Reject
from ingest.pipeline.batch import Outcome
from ingest.records import MINUTE
from ingest.sources.gap_filler import PUBLISHED, TRIES, GapFiller, Piece
from ingest.sources.history_loader import INCOMPLETE, LoadResult
from ingest.store import gap_backlog
from ingest.store.coverage import to_datetime
from ingest.store.gap_backlog import OpenGap
from ingest.store.jobs import to_micros
from ingest.store.pool import Connection, Pool, open_pool
from tests.support.daemon import on_apache

pytestmark = on_apache  # the ledger is a plain table
NOW = to_micros(datetime.now(UTC)) // MINUTE * MINUTE
OLD = NOW - 2 * PUBLISHED
_INSTRUMENT = """
    INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status, trade_kind)
    VALUES ('binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading', 'trade')"""
_GAP = """
    INSERT INTO coverage (source, writer, instrument_id, channel, interval, state, reason, since, until, tries)
    VALUES ('binance', 'one', 1, 'candles', '1m', 'open', 'disconnect', $1, $2, $3)
    RETURNING id"""
_LEDGER = "SELECT state, since, until, tries FROM coverage ORDER BY since"


@pytest_asyncio.fixture
async def pool(market: str) -> AsyncIterator[Pool]:
    made = await open_pool(market, 2)
    await made.execute(_INSTRUMENT)
    yield made
    await made.close()


def gap_filler(pool: Pool) -> GapFiller:
    settings = Settings(database={"dsn": "postgresql://x/y"})  # type: ignore[arg-type]
    section = ExchangeSection(instruments=("BTC/USDT",))
    exchange: Any = registry.exchanges()["binance"]
    return GapFiller("binance", exchange, section, settings, pool=pool, edition="apache", counters=Counters())


async def settle(
    pool: Pool, begin: int, missing: list[tuple[int, int]], *, tries: int = 0, piece: int = 0
) -> list[tuple[Any, ...]]:
    """The ledger after a gap of 100 minutes from `begin` was read from minute `piece` on; `missing` are minutes of the gap."""
    since, until = begin, begin + 100 * MINUTE
    async with pool.acquire() as connection:
        number = await connection.fetchval(_GAP, to_datetime(since), to_datetime(until), tries)
        gap = OpenGap(number, 1, "candles", "disconnect", since, until, None, None, tries)
        ranges = tuple((begin + first * MINUTE, begin + end * MINUTE) for first, end in missing)
        result = LoadResult(Outcome(written=90), until, Reject("binance: incomplete", reason=INCOMPLETE), ranges)
        await gap_filler(pool)._settle(connection, gap, Piece(begin + piece * MINUTE, until, "rest"), result)
        return await ledger(connection, begin)


async def ledger(connection: Connection, begin: int) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(_LEDGER)
    return [(row[0], *((to_micros(time) - begin) // MINUTE for time in row[1:3]), row[3]) for row in rows]


async def test_old_minutes_that_the_exchange_lacks_are_unrecoverable_and_the_others_are_healed(pool: Pool) -> None:
    assert await settle(pool, OLD, [(10, 12), (50, 51)]) == [
        ("healed", 0, 10, 0),
        ("unrecoverable", 10, 12, 0),
        ("healed", 12, 50, 0),
        ("unrecoverable", 50, 51, 0),
        ("healed", 51, 100, 0),
    ]


async def test_a_gap_whose_minutes_are_all_missing_is_unrecoverable(pool: Pool) -> None:
    assert await settle(pool, OLD, [(0, 100)]) == [("unrecoverable", 0, 100, 0)]


async def test_the_part_of_a_gap_before_the_piece_stays_open(pool: Pool) -> None:
    assert await settle(pool, OLD, [(40, 60)], piece=30) == [
        ("open", 0, 30, 0),
        ("healed", 30, 40, 0),
        ("unrecoverable", 40, 60, 0),
        ("healed", 60, 100, 0),
    ]


@pytest.mark.parametrize(("minutes", "tries"), [(101, 0), (101, TRIES), (2000, 0)])
async def test_young_minutes_are_requested_again(pool: Pool, minutes: int, tries: int) -> None:
    """Within the hour whatever the number of attempts, later as often as any other gap."""
    found = await settle(pool, NOW - minutes * MINUTE, [(60, 70)], tries=tries)
    assert found == [("open", 0, 70, 1), ("healed", 70, 100, 0)]


async def test_minutes_older_than_an_hour_are_unrecoverable_after_some_attempts(pool: Pool) -> None:
    found = await settle(pool, NOW - 2000 * MINUTE, [(60, 70)], tries=TRIES - 1)
    assert [row[:3] for row in found] == [("healed", 0, 60), ("unrecoverable", 60, 70), ("healed", 70, 100)]


async def test_a_gap_that_reaches_beyond_the_history_is_healed_up_to_what_is_missing(pool: Pool) -> None:
    async with pool.acquire() as connection:
        number = await connection.fetchval(_GAP, to_datetime(OLD), to_datetime(OLD + 100 * MINUTE), 0)
        gap = OpenGap(number, 1, "candles", "disconnect", OLD, OLD + 100 * MINUTE, None, None, 0)
        result = LoadResult(
            Outcome(written=90),
            OLD + 90 * MINUTE,
            Reject("binance: incomplete", reason=INCOMPLETE),
            ((OLD + 10 * MINUTE, OLD + 12 * MINUTE),),
        )
        await gap_filler(pool)._settle(connection, gap, Piece(OLD, OLD + 100 * MINUTE, "rest"), result)
        assert await ledger(connection, OLD) == [("healed", 0, 10, 0), ("open", 10, 100, 1)]
        assert await gap_backlog.summary(connection, "binance") == {"candles": (1, 5400.0)}
