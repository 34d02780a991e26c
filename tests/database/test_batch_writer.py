"""The batch writer on a real database: each row ends in one outcome, and the stored values are those that were sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest
import pytest_asyncio
from msgspec.structs import replace

from ingest.errors import Hold, Retry
from ingest.records import SECOND, BookSnapshot, Trade
from ingest.store.batch_writer import CLEAN_BATCHES, BatchWriter
from ingest.store.coverage import to_datetime
from ingest.store.pool import Pool, open_pool
from ingest.tables import CANDLES, ORDER_BOOKS, TRADES
from tests.support.write_rows import NOW, batch_of, candle, trade


@pytest_asyncio.fixture
async def pool(market: str) -> AsyncIterator[Pool]:
    made = await open_pool(market, 4)
    yield made
    await made.close()


async def stored_trades(pool: Pool) -> list[tuple[object, ...]]:
    rows = await pool.fetch("SELECT * FROM trades ORDER BY trade_id")
    return [tuple(row.values()) for row in rows]


def as_stored(row: Trade) -> tuple[object, ...]:
    return (
        row.instrument_id,
        to_datetime(row.time),
        row.trade_id,
        Decimal(row.price),
        Decimal(row.size),
        row.side,
        to_datetime(row.received_at),
        row.native_id,
    )


async def test_a_clean_batch_is_one_copy(pool: Pool) -> None:
    rows = [trade(number) for number in range(500)]
    outcome = await BatchWriter(TRADES, pool).write(await batch_of(rows))
    assert (outcome.method, outcome.written, outcome.duplicate) == ("copy", 500, 0)
    assert await stored_trades(pool) == [as_stored(row) for row in rows]
    digits = await pool.fetchval("SELECT size::text FROM trades LIMIT 1")
    assert digits == "0.00012000"  # the exchange's own digits, trailing zeros and all


async def test_the_same_batch_twice_is_stored_once(pool: Pool) -> None:
    rows = [trade(number) for number in range(500)]
    batch_writer, batch = BatchWriter(TRADES, pool), await batch_of(rows)
    await batch_writer.write(batch)
    outcome = await batch_writer.write(batch)
    assert (outcome.method, outcome.written, outcome.duplicate) == ("stage", 0, 500)
    assert await stored_trades(pool) == [as_stored(row) for row in rows]


async def test_a_duplicate_within_a_batch_costs_no_other_row(pool: Pool) -> None:
    rows = [trade(number) for number in range(100)]
    outcome = await BatchWriter(TRADES, pool).write(await batch_of([*rows, rows[7], rows[8]]))
    assert (outcome.written, outcome.duplicate) == (100, 2)


async def test_a_table_stays_staged_until_batches_are_clean(pool: Pool) -> None:
    batch_writer = BatchWriter(TRADES, pool)
    first = await batch_of([trade(0)])
    await batch_writer.write(first)
    batches = [first] + [await batch_of([trade(number)]) for number in range(1, CLEAN_BATCHES + 2)]
    methods = [(await batch_writer.write(batch)).method for batch in batches]
    assert methods == ["stage"] * (CLEAN_BATCHES + 1) + ["copy"]


@pytest.mark.parametrize(
    ("changes", "reason", "sqlstate"),
    [
        ({"price": "NaN"}, "check", "23514"),
        ({"price": "Infinity"}, "check", "23514"),
        ({"price": "-1"}, "check", "23514"),
        ({"size": "0"}, "check", "23514"),
        ({"size": "abc"}, "value", "22P02"),
        ({"trade_id": 2**63}, "value", "22003"),
        ({"native_id": "a\0b"}, "value", "22021"),
        ({"native_id": "\ud800"}, "value", "22021"),
        ({"time": NOW + 2 * 86_400 * SECOND}, "future", None),
        ({"size": "1\n2"}, "value", None),
    ],
)
async def test_a_bad_row_is_rejected_and_no_other(
    pool: Pool, changes: dict[str, object], reason: str, sqlstate: str | None
) -> None:
    rows = [trade(number) for number in range(5000)]
    rows[3210] = trade(3210, **changes)
    outcome = await BatchWriter(TRADES, pool).write(await batch_of(list(rows)))
    assert (outcome.written, outcome.duplicate, outcome.rejected) == (4999, 0, {reason: 1})
    expected = [as_stored(row) for row in rows if row.trade_id != rows[3210].trade_id or row is not rows[3210]]
    assert await stored_trades(pool) == expected
    (reject,) = await pool.fetch("SELECT table_name, stage, reason, sqlstate, payload FROM rejects")
    assert tuple(reject.values())[:4] == ("trades", "write", reason, sqlstate)
    assert reject["payload"].startswith(f"{rows[3210].instrument_id}\t")


async def test_a_batch_of_one_bad_row_is_rejected(pool: Pool) -> None:
    outcome = await BatchWriter(TRADES, pool).write(await batch_of([trade(1, price="NaN")]))
    assert (outcome.written, outcome.rejected) == (0, {"check": 1})


async def test_a_clock_that_is_wrong_rejects_and_never_holds(pool: Pool) -> None:
    late = [trade(number, time=NOW + 2 * 86_400 * SECOND) for number in range(500)]
    outcome = await BatchWriter(TRADES, pool).write(await batch_of(list(late)))
    assert (outcome.written, outcome.rejected) == (0, {"future": 500})


async def alter_trades(pool: Pool, alter: str) -> None:
    """Alter `trades` as a person may by hand, after the views that depend on it are dropped."""
    await pool.execute("DROP SCHEMA market, ai_trading CASCADE; DROP VIEW daily_ohlcv, bars_1h, bars_1m")
    if await pool.fetchval("SELECT to_regclass('bars_1m_cagg') IS NOT NULL"):
        await pool.execute("DROP MATERIALIZED VIEW bars_1h_cagg")
        await pool.execute("DROP MATERIALIZED VIEW bars_1m_cagg")
        await pool.execute("ALTER TABLE trades SET (timescaledb.enable_columnstore = false)")
    await pool.execute(f"ALTER TABLE trades {alter}")


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        ("ALTER COLUMN price TYPE integer", "column trades.price is integer; expected numeric"),
        ("ALTER COLUMN price TYPE double precision", "column trades.price is double precision; expected numeric"),
        ("RENAME COLUMN size TO amount", "column trades.size does not exist"),
        ("ADD COLUMN venue text NOT NULL", "column trades.venue is unknown"),
    ],
)
async def test_a_table_altered_by_hand_is_held_and_nothing_rejected(pool: Pool, alter: str, message: str) -> None:
    await alter_trades(pool, alter)
    batch = await batch_of([trade(number) for number in range(100)])
    batch_writer = BatchWriter(TRADES, pool)
    with pytest.raises(Hold, match=message):
        await batch_writer.write(batch)
    assert await pool.fetchval("SELECT count(*) FROM rejects") == 0


async def test_a_table_altered_under_a_live_writer(pool: Pool) -> None:
    batch_writer = BatchWriter(TRADES, pool)
    await batch_writer.write(await batch_of([trade(number) for number in range(100)]))
    await pool.execute("ALTER TABLE trades DROP CONSTRAINT trades_side_check")
    await alter_trades(pool, "ALTER COLUMN side TYPE integer USING 1")
    batch = await batch_of([trade(number) for number in range(100, 200)])
    with pytest.raises(Hold, match=r"trades\.side is integer; expected text"):
        await batch_writer.write(batch)
    await pool.execute("ALTER TABLE trades ALTER COLUMN side TYPE text USING 'buy'")
    assert (await batch_writer.write(batch)).written == 100
    assert await pool.fetchval("SELECT count(*) FROM rejects") == 0


async def test_a_missing_table_is_held(pool: Pool) -> None:
    await pool.execute("ALTER TABLE trades RENAME TO elsewhere")
    with pytest.raises(Hold, match="table trades does not exist: run `ingest migrate`"):
        await BatchWriter(TRADES, pool).write(await batch_of([trade(1)]))


async def test_a_backend_that_is_terminated_in_a_copy_is_a_retry(pool: Pool, market: str) -> None:
    batch, batch_writer = await batch_of([trade(number) for number in range(5000)]), BatchWriter(TRADES, pool)
    other, locker = await asyncpg.connect(market), await asyncpg.connect(market)
    async with locker.transaction():
        await locker.execute("LOCK TABLE trades IN SHARE MODE")  # the COPY has begun and waits
        writing = asyncio.create_task(batch_writer.write(batch))
        victim = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event_type = 'Lock'"
        async with asyncio.timeout(10):
            while (pid := await other.fetchval(f"{victim} AND datname = current_database()")) is None:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(Retry, match="terminating connection"):
            await writing
    await other.close()
    await locker.close()
    assert (await batch_writer.write(batch)).written == 5000
    assert len(await stored_trades(pool)) == 5000


@pytest.mark.parametrize(
    ("second", "outcomes", "close"),
    [
        ({}, (0, 0, 1), "1.5"),  # the same again
        ({"received_at": NOW + 5}, (0, 0, 1), "1.5"),  # received again with the same values
        ({"close": "1.4"}, (0, 1, 0), "1.4"),  # another value of equal rank revises
        ({"close": "1.4", "origin": "archive"}, (0, 1, 0), "1.4"),
        ({"close": "1.4", "received_at": NOW - 1}, (0, 0, 1), "1.5"),  # received earlier, and recovered from a spool
        ({"origin": "rest"}, (0, 1, 0), "1.5"),  # a higher rank revises though the values agree
        ({"close": "1.4", "origin": "trades"}, (0, 0, 1), "1.5"),  # a lower rank never does
    ],
)
async def test_a_candle_is_revised_by_rank(
    pool: Pool, second: dict[str, object], outcomes: tuple[int, int, int], close: str
) -> None:
    """`outcomes`: written, revised, duplicate."""
    batch_writer = BatchWriter(CANDLES, pool)
    assert (await batch_writer.write(await batch_of([candle()]))).written == 1
    outcome = await batch_writer.write(await batch_of([candle(**second)]))
    assert (outcome.written, outcome.revised, outcome.duplicate) == outcomes
    assert await pool.fetchval("SELECT close::text FROM candles") == close


async def test_of_candles_with_one_key_in_a_batch_the_highest_rank_is_stored(pool: Pool) -> None:
    rows = [candle(close="1.1"), candle(close="1.2", origin="rest"), candle(close="1.3", received_at=NOW + 1)]
    outcome = await BatchWriter(CANDLES, pool).write(await batch_of(list(rows)))
    assert (outcome.written, outcome.revised, outcome.duplicate) == (1, 0, 2)
    assert await pool.fetchval("SELECT close::text FROM candles") == "1.2"


async def test_a_book_keeps_its_digits_and_its_order(pool: Pool) -> None:
    book = BookSnapshot(1, NOW, "", ("2.10", "2.0"), ("1", "0.50"), ("2.2", "3"), ("7", "8"), None, NOW)
    assert (await BatchWriter(ORDER_BOOKS, pool).write(await batch_of([book]))).written == 1
    row = await pool.fetchrow(
        "SELECT bid_prices::text, bid_sizes::text, ask_prices::text, ask_sizes::text, sequence FROM order_books"
    )
    assert tuple(row.values()) == ("{2.10,2.0}", "{1,0.50}", "{2.2,3}", "{7,8}", None)


# --- batches that a spool kept across a migration -------------------------------------------------------------------------


async def test_rows_are_stored_by_their_own_list_of_columns(pool: Pool) -> None:
    rows = [trade(number) for number in range(5)]
    swapped = [reversed(line.split("\t")[:-1]) for line in (await batch_of(rows)).data.decode().splitlines()]
    names = tuple(column.name for column in TRADES.columns)
    batch = replace(
        await batch_of(rows),
        data="".join("\t".join(fields) + "\n" for fields in swapped).encode(),
        columns=names[-2::-1],  # without the last, native_id, which a later migration would have added
        source="trades-00000001.spool",
    )
    batch_writer = BatchWriter(TRADES, pool)
    assert (await batch_writer.write(batch)).written == 5
    assert (await batch_writer.write(batch)).duplicate == 5
    assert await stored_trades(pool) == [as_stored(row) for row in rows]


async def test_a_column_that_does_not_exist_holds_and_names_the_segment(pool: Pool) -> None:
    batch = await batch_of([trade(1)])
    names = tuple(column.name for column in TRADES.columns)
    batch = replace(batch, columns=(*names[:-1], "venue"), source="trades-00000007.spool")
    with pytest.raises(Hold, match=r"segment trades-00000007\.spool of the spool has rows with the column trades\.venue") as held:
        await BatchWriter(TRADES, pool).write(batch)
    assert held.value.code == "42703"
    assert await stored_trades(pool) == []
