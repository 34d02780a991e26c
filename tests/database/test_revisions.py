"""Which of two rows with one key is stored: in a batch, of a bar that contradicts itself, and where a person asks for it anew."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ingest.pipeline.batch import Outcome
from ingest.records import MINUTE, SECOND, Candle, Price, StockIndex
from ingest.store.batch_writer import BatchWriter
from ingest.store.pool import Pool, open_pool
from ingest.tables import BY_RECORD, CANDLES, STOCK_INDICES, TRADES
from tests.support.daemon import on_apache
from tests.support.write_rows import NOW, batch_of, candle, trade

DAY = 86_400 * SECOND
MIDNIGHT = NOW // DAY * DAY
FLAGS = "SELECT source, table_name, stage, reason, message, payload FROM rejects ORDER BY id"


@pytest_asyncio.fixture
async def pool(market: str) -> AsyncIterator[Pool]:
    made = await open_pool(market, 2)
    yield made
    await made.close()


async def write(pool: Pool, *rows: Candle | StockIndex | Price, force: bool = False) -> tuple[int, int, int]:
    """Returns written, revised, duplicate."""
    outcome: Outcome = await BatchWriter(BY_RECORD[type(rows[0])], pool, force=force).write(await batch_of(list(rows)))
    return outcome.written, outcome.revised, outcome.duplicate


def session(close: str, **changes: object) -> StockIndex:
    """A daily bar of Cboe's VIX."""
    values = {"index_name": "VIX", "source": "cboe", "time": MIDNIGHT, "open": "11", "high": "12", "low": "10", "close": close}
    return StockIndex(**(values | {"volume": None, "received_at": NOW} | changes))  # type: ignore[arg-type]


# --- the later of two rows with one key in a batch ----------------------------------------------------------------------


@on_apache
@pytest.mark.parametrize("others", [0, 1, 7, 50, 500])
async def test_of_a_session_that_is_twice_in_an_answer_the_later_row_is_stored(pool: Pool, others: int) -> None:
    """Yahoo's chart has the last session twice: as the exchange closed, and after a correction."""
    rows = [session("10.5", time=MIDNIGHT - back * DAY) for back in range(others, 0, -1)]
    outcome = await write(pool, *rows, session("11.0"), session("11.75"))
    assert outcome == (others + 1, 0, 1)
    assert await pool.fetchval("SELECT close::text FROM stock_indices ORDER BY time DESC LIMIT 1") == "11.75"
    assert await write(pool, session("11.0"), session("11.75")) == (0, 0, 2)


@on_apache
async def test_of_candles_and_prices_alike_but_for_their_values_the_later_one_is_stored(pool: Pool) -> None:
    await write(pool, *(candle(close=close) for close in ("1.1", "1.9", "1.2")))
    assert await pool.fetchval("SELECT close::text FROM candles") == "1.2"
    await write(pool, *(Price(1, "coingecko", NOW, usd, *[None] * 10, NOW) for usd in ("3", "1", "2")))
    assert await pool.fetchval("SELECT price_usd::text FROM prices") == "2"


@on_apache
async def test_of_trades_with_one_key_the_first_one_is_stored(pool: Pool) -> None:
    """In one batch as in two, because a stored trade never changes."""
    outcome = await BatchWriter(TRADES, pool).write(await batch_of([trade(1, size="3"), trade(1, size="1"), trade(1, size="2")]))
    assert (outcome.written, outcome.duplicate) == (1, 2)
    assert await pool.fetchval("SELECT size::text FROM trades") == "3"


# --- a bar that contradicts itself --------------------------------------------------------------------------------------

ODD = candle(close="9.99", origin="archive")  # as a month file had it, with a high of 2; the daily file and REST had 1.5


async def test_a_candle_that_contradicts_itself_is_stored_and_flagged(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status)"
        " VALUES (1, 'binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')"
    )
    assert await write(pool, ODD, candle(time=ODD.time - MINUTE)) == (2, 0, 0)
    (flag,) = await pool.fetch(FLAGS)
    message = "stored; not between low and high: close"
    assert tuple(flag.values())[:5] == ("binance", "candles", "flag", "contradiction", message)
    assert json.loads(flag["payload"])["close"] == 9.99
    assert await write(pool, ODD) == (0, 0, 1)
    assert len(await pool.fetch(FLAGS)) == 1, "a duplicate is not flagged again"


@pytest.mark.parametrize("origin", ["trades", "ws", "rest", "archive"])
async def test_a_candle_that_contradicts_itself_outranks_nothing(pool: Pool, origin: str) -> None:
    good = candle(origin=origin, received_at=NOW - MINUTE)
    assert await write(pool, ODD) == (1, 0, 0)
    assert await write(pool, good) == (0, 1, 0), "a consistent candle of any origin replaces it"
    assert await write(pool, ODD) == (0, 0, 1)
    assert await write(pool, ODD, good, ODD) == (0, 0, 3)
    assert await pool.fetchval("SELECT close::text FROM candles") == "1.5"


@on_apache
async def test_of_two_candles_that_contradict_themselves_the_later_one_is_stored(pool: Pool) -> None:
    later = candle(close="8.88", received_at=NOW + SECOND)
    assert await write(pool, ODD) == (1, 0, 0)
    assert await write(pool, later) == (0, 1, 0)
    assert await write(pool, ODD) == (0, 0, 1)


@on_apache
async def test_an_open_outside_the_range_is_no_contradiction_of_a_candle(pool: Pool) -> None:
    """Some exchanges open a candle at the last price of the candle before."""
    assert await write(pool, candle(open="2.5")) == (1, 0, 0)
    assert await pool.fetch(FLAGS) == []


@pytest.mark.parametrize("changes", [{"open": "12.5"}, {"close": "9.9"}, {"high": "10.5", "open": "10", "close": "11"}])
async def test_a_day_of_an_index_that_contradicts_itself_is_flagged_and_replaces_no_other(
    pool: Pool, changes: dict[str, str]
) -> None:
    """Cboe's file has days of 2006 whose high is below the open."""
    odd = session(**({"close": "11"} | changes))  # type: ignore[arg-type]
    assert await write(pool, odd) == (1, 0, 0)
    assert [tuple(row)[:4] for row in await pool.fetch(FLAGS)] == [("cboe", "stock_indices", "flag", "contradiction")]
    assert await write(pool, session("11.5")) == (0, 1, 0)
    assert await write(pool, odd) == (0, 0, 1)


@on_apache
async def test_a_day_that_has_only_a_close_contradicts_nothing(pool: Pool) -> None:
    """FRED has no other values."""
    assert await write(pool, session("11", open=None, high=None, low=None)) == (1, 0, 0)
    assert await pool.fetch(FLAGS) == []


# --- a range that a person asks for anew --------------------------------------------------------------------------------


async def test_a_candle_asked_for_anew_revises_whatever_its_rank(pool: Pool) -> None:
    archive = candle(close="1.7", origin="archive", received_at=NOW + MINUTE)
    rest = candle(close="1.25", origin="rest")
    assert await write(pool, archive) == (1, 0, 0)
    assert await write(pool, rest) == (0, 0, 1)
    assert await write(pool, rest, force=True) == (0, 1, 0)
    assert await write(pool, rest, force=True) == (0, 0, 1), "equal values change nothing"
    assert [tuple(row) for row in await pool.fetch("SELECT close::text, origin FROM candles")] == [("1.25", "rest")]


@on_apache
async def test_a_day_of_an_index_asked_for_anew_revises_a_newer_one(pool: Pool) -> None:
    assert await write(pool, session("11", received_at=NOW + MINUTE)) == (1, 0, 0)
    assert await write(pool, session("11.5")) == (0, 0, 1)
    assert await write(pool, session("11.5"), force=True) == (0, 1, 0)


def test_the_tables_with_bars_say_what_contradicts_them() -> None:
    assert [table.name for table in BY_RECORD.values() if table.within] == [CANDLES.name, STOCK_INDICES.name]
