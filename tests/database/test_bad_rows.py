"""Bad rows are rejected one by one, whatever their number, at a bounded cost; the table is held only for its own schema."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from pooler import PGBOUNCER, Pooler

from ingest.errors import Hold
from ingest.records import MINUTE
from ingest.store import batch_writer as module
from ingest.store.bad_rows import RowError, find_bad_rows
from ingest.store.batch_writer import BatchWriter
from ingest.store.pool import Pool, open_pool
from ingest.store.rejects import KEPT, SAMPLES, Rejected, RejectSampler, delete_expired
from ingest.tables import SENTIMENT_POSTS, TABLES, TRADES, Table
from tests.support.daemon import on_apache, until
from tests.support.table_rows import ROWS, bad_rows
from tests.support.write_rows import NOW, batch_of, post, trade


@pytest_asyncio.fixture
async def pool(market: str) -> AsyncIterator[Pool]:
    made = await open_pool(market, 6)
    yield made
    await made.close()


def long_id() -> str:
    return random.Random(1).randbytes(4000).hex()  # 8,000 characters that do not compress to the size of an index entry


@pytest.mark.parametrize(("changes", "reason"), [({"price": "0"}, "check"), ({"size": "x"}, "value")])
async def test_ten_thousand_bad_rows_of_ten_thousand_are_rejected_within_five_seconds(
    pool: Pool, changes: dict[str, object], reason: str
) -> None:
    batch_writer, batch = BatchWriter(TRADES, pool), await batch_of([trade(number, **changes) for number in range(10_000)])
    started = time.perf_counter()
    outcome = await batch_writer.write(batch)
    assert time.perf_counter() - started < 5
    assert (outcome.written, outcome.rejected) == (0, {reason: 10_000})
    assert (await batch_writer.write(await batch_of([trade(1)]))).written == 1


async def test_the_good_rows_between_any_number_of_bad_ones_are_stored(pool: Pool) -> None:
    rows = [trade(number, price="0" if number % 2 else "1") for number in range(2000)]
    outcome = await BatchWriter(TRADES, pool).write(await batch_of(list(rows)))
    assert (outcome.written, outcome.rejected) == (1000, {"check": 1000})
    stored = await pool.fetch("SELECT trade_id FROM trades ORDER BY 1")
    assert [row["trade_id"] for row in stored] == list(range(0, 2000, 2))


async def test_ten_thousand_ids_with_nul_are_rejected_without_the_server(pool: Pool) -> None:
    rows = [*(post(number, text="a\0b") for number in range(10_000)), post(10_000)]
    started = time.perf_counter()
    outcome = await BatchWriter(SENTIMENT_POSTS, pool).write(await batch_of(list(rows)))
    assert time.perf_counter() - started < 5
    assert (outcome.written, outcome.rejected) == (1, {"value": 10_000})


async def test_an_id_that_is_too_long_for_an_index_is_rejected_and_no_other(pool: Pool) -> None:
    rows = [post(1, post_id=long_id()), post(2), post(3, post_id="a" * 8000)]  # the last one compresses, and is stored
    outcome = await BatchWriter(SENTIMENT_POSTS, pool).write(await batch_of(list(rows)))
    assert (outcome.written, outcome.rejected) == (2, {"value": 1})
    reject = await pool.fetchrow("SELECT sqlstate, message FROM rejects")
    assert reject is not None
    assert reject["sqlstate"] == "54000"
    assert "exceeds btree version 4 maximum 2704" in reject["message"]


async def test_ids_too_long_for_an_index_are_found_within_five_seconds(pool: Pool) -> None:
    rows = [post(number, post_id=f"{number}{long_id()}") for number in range(1000)]
    started = time.perf_counter()
    outcome = await BatchWriter(SENTIMENT_POSTS, pool).write(await batch_of(list(rows)))
    assert time.perf_counter() - started < 5
    assert outcome.rejected == {"value": 1000}


def line_of(table: Table, row: dict[str, Any]) -> bytes:
    """The row as COPY text."""

    def text(value: object) -> str:
        if value is None:
            return r"\N"
        if isinstance(value, list):
            return "{" + ",".join("NULL" if part is None else str(part) for part in value) + "}"
        return str(value)

    return ("\t".join(text(row[column.name]) for column in table.columns) + "\n").encode()


@on_apache
async def test_every_row_that_a_table_refuses_is_found_with_the_same_error(pool: Pool) -> None:
    """Each bad value of the tables' own tests: SQLSTATE and message are those that the INSERT gives."""
    async with pool.acquire() as connection:
        for table in TABLES:
            columns = tuple(column.name for column in table.columns)
            good = line_of(table, ROWS[table.name])
            lines = [line_of(table, ROWS[table.name] | {column: value}) for name, column, value in bad_rows() if name == table.name]
            found = await find_bad_rows(connection, table, columns, [good, *lines, good])
            assert sorted(found) == list(range(1, len(lines) + 1)), table.name
            for index, line in enumerate(lines, 1):
                with pytest.raises(asyncpg.PostgresError) as refused:
                    await connection.copy_to_table(table.name, source=iterate(line), columns=columns, format="text")
                assert found[index].sqlstate == refused.value.sqlstate
                assert found[index].message == message_of(refused.value, table)


async def iterate(line: bytes) -> AsyncIterator[bytes]:
    yield line


def message_of(error: asyncpg.PostgresError, table: Table) -> str:
    """The server's message, with the table in place of its chunk."""
    message: str = error.as_dict()["message"]
    return message.replace(f'"{error.as_dict().get("table_name")}"', f'"{table.name}"')


async def test_a_row_of_a_spool_without_a_column_is_tried_with_its_default(pool: Pool) -> None:
    columns = tuple(column.name for column in TRADES.columns)[:-1]
    async with pool.acquire() as connection:
        line = line_of(TRADES, ROWS["trades"]).rsplit(b"\t", 1)[0] + b"\n"
        assert await find_bad_rows(connection, TRADES, columns, [line]) == {}
        short = line.rsplit(b"\t", 1)[0] + b"\n"
        assert await find_bad_rows(connection, TRADES, columns, [short]) == {
            0: RowError("value", "22P04", "a row of 7 columns has 6 values")
        }


async def test_no_transaction_id_is_taken_for_a_bad_row(pool: Pool) -> None:
    """Else more than 64 bad rows would make every session read pg_subtrans."""
    lines = (await batch_of([trade(number, price="0" if number % 2 else "x") for number in range(5000)])).data.splitlines(
        keepends=True
    )
    columns = tuple(column.name for column in TRADES.columns)
    async with pool.acquire() as connection:
        before = await pool.fetchval("SELECT pg_current_xact_id()::text::bigint")
        assert len(await find_bad_rows(connection, TRADES, columns, lines)) == 5000
        assert await pool.fetchval("SELECT pg_current_xact_id()::text::bigint") - before < 10


async def test_other_writers_of_the_same_table_go_on_beside_bad_batches(pool: Pool) -> None:
    """Bad batches in a row, while two others write: no batch of theirs takes as long as the bad rows would."""
    bad = [await batch_of([trade(number, price="0") for number in range(10_000)]) for _ in range(3)]
    longest = 0.0
    done = asyncio.Event()

    async def write_good(first: int) -> int:
        nonlocal longest
        batch_writer, written, number = BatchWriter(TRADES, pool), 0, first
        while not done.is_set():
            batch = await batch_of([trade(number + more) for more in range(500)])
            started = time.perf_counter()
            written += (await batch_writer.write(batch)).written
            longest = max(longest, time.perf_counter() - started)
            number += 500
        return written

    good = [asyncio.create_task(write_good(first)) for first in (0, 10_000_000)]
    batch_writer = BatchWriter(TRADES, pool)
    for batch in bad:
        assert (await batch_writer.write(batch)).rejected == {"check": 10_000}
    done.set()
    written = sum(await asyncio.gather(*good))
    assert await pool.fetchval("SELECT count(*) FROM trades") == written > 0
    assert longest < 2.5


@pytest.fixture
def pooler(market: str, tmp_path: Path) -> Iterator[Pooler]:
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian's package pgbouncer)")
    pooler = Pooler(market, tmp_path)
    pooler.start()
    yield pooler
    pooler.kill()


@on_apache
async def test_bad_rows_are_rejected_through_a_pooler(market: str, pooler: Pooler) -> None:
    async def answers() -> bool:
        try:
            await (await asyncpg.connect(pooler.dsn, statement_cache_size=0)).close()
        except OSError:
            return False
        return True

    await until(answers)
    pool = await open_pool(pooler.dsn, 4)
    batches = [await batch_of([trade(first + n, price="0" if n % 2 else "1") for n in range(200)]) for first in range(0, 4000, 200)]
    batch_writer = BatchWriter(TRADES, pool)
    outcomes = await asyncio.gather(*map(batch_writer.write, batches))
    assert [(outcome.written, outcome.rejected) for outcome in outcomes] == [(100, {"check": 100})] * 20
    await pool.close()


# --- what is stored of a flood ----------------------------------------------------------------------------------------

COUNTS = "SELECT source, count(*) AS stored, sum(rows) AS counted FROM rejects GROUP BY 1 ORDER BY 1"
INSTRUMENTS = """
    INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status) OVERRIDING SYSTEM VALUE VALUES
        (1, 'binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading'),
        (2, 'okx', 'BTC-USDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')"""


@on_apache
async def test_of_a_flood_a_sample_is_stored_and_every_row_counted(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    await pool.execute(INSTRUMENTS)
    batch_writer = BatchWriter(TRADES, pool)
    for _ in range(3):
        rows = [trade(number, price="0", instrument_id=1) for number in range(1000)]
        assert (await batch_writer.write(await batch_of(list(rows)))).rejected == {"check": 1000}
    await batch_writer.write(await batch_of([trade(1, price="0", instrument_id=2), trade(2, size="x", instrument_id=1)]))
    await batch_writer.write(await batch_of([trade(1, price="0", instrument_id=9)]))
    found = [tuple(row) for row in await pool.fetch(COUNTS)]
    assert found == [("", 1, 1), ("binance", 104, 3001), ("okx", 1, 1)]
    assert [record.message for record in caplog.records] == [
        "trades: more than 100 rejects of binance in a minute (check): a sample is stored"
    ]


@on_apache
async def test_the_reject_of_a_provider_names_it(pool: Pool) -> None:
    assert (await BatchWriter(SENTIMENT_POSTS, pool).write(await batch_of([post(1, score="2")]))).rejected == {"check": 1}
    assert [tuple(row) for row in await pool.fetch(COUNTS)] == [("reddit", 1, 1)]


@on_apache
async def test_rejects_are_deleted_after_their_time(pool: Pool) -> None:
    columns = "source, stage, reason, message, payload, rejected_at"
    insert = f"INSERT INTO rejects ({columns}) VALUES ($1, 'decode', 'json', '', '', now() - $2::interval)"
    await pool.execute(insert, "old", KEPT + timedelta(hours=1))
    await pool.execute(insert, "new", KEPT - timedelta(hours=1))
    async with pool.acquire() as connection:
        await delete_expired(connection)
    assert [row["source"] for row in await pool.fetch(COUNTS)] == ["new"]


def test_a_sample_is_taken_anew_each_minute() -> None:
    now = 0.0
    sampler = RejectSampler(lambda: now)
    flood = [Rejected("kraken", "trades", "write", "check", "23514", "message", "payload")] * 150
    sample = sampler.sample(flood)
    assert [reject.rows for reject in sample] == [1] * SAMPLES + [50]
    assert sampler.sample(flood) == sample  # the first attempt was not committed
    sampler.count(sample)
    assert [(reject.rows, reject.payload) for reject in sampler.sample(flood)] == [(150, "")]
    now = 60.0
    assert sampler.sample(flood) == sample


# --- what only the table can refuse -------------------------------------------------------------------------------------

TRIGGER = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.price = 7 THEN RAISE check_violation USING MESSAGE = 'no sevens'; END IF; RETURN NEW; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON trades FOR EACH ROW EXECUTE FUNCTION refuse()"""


async def test_a_row_that_only_a_trigger_refuses_is_rejected_and_no_other(pool: Pool) -> None:
    await pool.execute(TRIGGER)
    rows = [trade(number, price="7" if number == 321 else "0" if number == 5 else "1") for number in range(1000)]
    outcome = await BatchWriter(TRADES, pool).write(await batch_of(list(rows)))
    assert (outcome.written, outcome.rejected) == (998, {"check": 2})


@on_apache
async def test_refusals_that_no_constraint_explains_are_held_after_a_time(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BISECT_SECONDS", 0.0)
    await pool.execute(TRIGGER)
    batch = await batch_of([trade(number, price="7") for number in range(100)])
    with pytest.raises(Hold, match="the server refuses rows that fit every column and CHECK of the table \\(no sevens\\)"):
        await BatchWriter(TRADES, pool).write(batch)
    assert await pool.fetchval("SELECT count(*) FROM rejects") == 0


@on_apache
async def test_repeated_attempts_reject_once(pool: Pool) -> None:
    batch_writer, batch = BatchWriter(TRADES, pool), await batch_of([trade(number, price="NaN") for number in range(10)])
    await pool.execute("ALTER TABLE rejects RENAME TO elsewhere")
    for _ in range(14):
        with pytest.raises(Hold, match='relation "rejects" does not exist'):
            await batch_writer.write(batch)
    await pool.execute("ALTER TABLE elsewhere RENAME TO rejects")
    assert (await batch_writer.write(batch)).rejected == {"check": 10}
    assert await pool.fetchval("SELECT count(*) FROM rejects") == 10


async def test_a_series_of_bad_batches_is_never_held(pool: Pool) -> None:
    batch_writer = BatchWriter(TRADES, pool)
    for first in range(0, 300, 10):
        batch = await batch_of([trade(first + number, price="0", time=NOW - MINUTE) for number in range(10)])
        assert (await batch_writer.write(batch)).rejected == {"check": 10}
