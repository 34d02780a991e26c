"""Rows as COPY text: every kind of column, and the values that PostgreSQL reads from it."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from ingest.pipeline.copy_encoder import columns_encoder, encoder
from ingest.protocol.history import Columns
from ingest.records import SECOND, BookSnapshot, Candle, Quote, Record, Trade, WhaleTransaction
from ingest.store.coverage import to_datetime
from ingest.tables import BY_RECORD, Column, Table

NOW = 1_790_000_000 * SECOND  # 2026-09-21 14:13:20

TRADE = Trade(7, NOW + 123_456, -5, "16578.50", "0.00012000", "buy", NOW + 200_001)
CANDLE = Candle(7, "1m", NOW, "1", "2.0", "0.5", "1.5", "10", None, None, None, None, None, None, 1, "ws", NOW + 1)
FULL_CANDLE = Candle(7, "1m", NOW, "1", "2.0", "0.5", "1.5", "10", "15", 3, "4", "6.0", 11, 13, 1, "ws", NOW + 1)
QUOTE = Quote(7, NOW, "", None, None, "2.2", "7", None, NOW + 1)
BOOK = BookSnapshot(7, NOW, "one", ("2.10", "2.0"), ("1", "0.50"), (), (), 42, NOW + 1)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (TRADE, r"7|2026-09-21 14:13:20.123456+00|-5|16578.50|0.00012000|buy|2026-09-21 14:13:20.200001+00|\N"),
        (
            CANDLE,
            r"7|1m|2026-09-21 14:13:20.000000+00|1|2.0|0.5|1.5|10|\N|\N|\N|\N|\N|\N|1|ws|2026-09-21 14:13:20.000001+00",
        ),
        (
            FULL_CANDLE,
            "7|1m|2026-09-21 14:13:20.000000+00|1|2.0|0.5|1.5|10|15|3|4|6.0|11|13|1|ws|2026-09-21 14:13:20.000001+00",
        ),
        (QUOTE, r"7|2026-09-21 14:13:20.000000+00||\N|\N|2.2|7|\N|2026-09-21 14:13:20.000001+00"),
        (BOOK, "7|2026-09-21 14:13:20.000000+00|one|{2.10,2.0}|{1,0.50}|{}|{}|42|2026-09-21 14:13:20.000001+00"),
    ],
)
def test_a_line_of_each_table(record: Record, line: str) -> None:
    assert encoder(BY_RECORD[type(record)])(record) == line.replace("|", "\t") + "\n"


def test_the_blockchain_that_a_provider_names_is_escaped() -> None:
    transfer = WhaleTransaction("a\tb", "0x1", "ETH", 0, NOW, "x", None, "y", None, "1", "2", "low", None, None, "whale_alert", NOW)
    assert encoder(BY_RECORD[WhaleTransaction])(transfer).startswith("a\\tb\t0x1\t")


CANDLES = Columns(
    Candle,
    [NOW, NOW + 86_399_999_999],
    {
        **{"instrument_id": 7, "interval": "1m", "open": ["1", "2"], "high": ["2.0", "3"], "low": "0.5", "close": ["1.5", "2.50"]},
        **{"volume": ["10", "0"], "quote_volume": None, "trades_count": ["3", "0"], "taker_buy_volume": "4"},
        **{"taker_buy_quote_volume": "6.0", "first_trade_id": None, "last_trade_id": None},
        **{"parts": 1, "origin": "archive", "received_at": NOW + 1},
    },
)
TRADES = Columns(
    Trade,
    [NOW + 123_000],
    {
        "instrument_id": 7,
        "trade_id": ["5"],
        "price": ["1.50"],
        "size": ["2"],
        "side": ["buy"],
        "received_at": NOW,
        "native_id": "a\tb",
    },
)


def test_columns_iterate_as_the_records_of_their_rows() -> None:
    assert list(CANDLES) == [
        Candle(7, "1m", NOW, "1", "2.0", "0.5", "1.5", "10", None, 3, "4", "6.0", None, None, 1, "archive", NOW + 1),
        Candle(7, "1m", NOW + 86_399_999_999, "2", "3", "0.5", "2.50", "0", None, 0, "4", "6.0", None, None, 1, "archive", NOW + 1),
    ]
    assert list(TRADES) == [Trade(7, NOW + 123_000, 5, "1.50", "2", "buy", NOW, "a\tb")]


@pytest.mark.parametrize("columns", [CANDLES, TRADES])
def test_columns_are_encoded_like_their_rows(columns: Columns) -> None:
    table = BY_RECORD[columns.record]
    assert columns_encoder(table)(columns) == "".join(map(encoder(table), columns))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("abc-1", "abc-1"),
        ("a\tb", r"a\tb"),
        ("a\nb\r", r"a\nb\r"),
        (r"\N", r"\\N"),
        (r"\.", r"\\."),
        ("\\\t", r"\\\t"),
        ("", ""),
        ("é日\u2028", "é日\u2028"),
    ],
)
def test_text_is_escaped(text: str, escaped: str) -> None:
    line = encoder(BY_RECORD[Trade])(Trade(7, NOW, 1, "1", "1", "buy", NOW, text))
    assert line.rsplit("\t", 1)[1] == escaped + "\n"


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (0, "1970-01-01 00:00:00.000000+00"),
        (-1, "1969-12-31 23:59:59.999999+00"),
        (NOW - 1, "2026-09-21 14:13:19.999999+00"),
        (NOW, "2026-09-21 14:13:20.000000+00"),
        (NOW + 999, "2026-09-21 14:13:20.000999+00"),
        (NOW + 1_000, "2026-09-21 14:13:20.001000+00"),
        (NOW + 999_999, "2026-09-21 14:13:20.999999+00"),
        (NOW + 1_000_000, "2026-09-21 14:13:21.000000+00"),
        (951_782_400 * SECOND, "2000-02-29 00:00:00.000000+00"),
    ],
)
def test_times_on_both_sides_of_a_second(time: int, shown: str) -> None:
    assert encoder(BY_RECORD[Trade])(Trade(7, time, 1, "1", "1", "buy", NOW)).split("\t")[1] == shown


def test_times_are_right_when_the_cache_of_seconds_is_exceeded() -> None:
    encode = encoder(BY_RECORD[Trade])
    for second in [*range(25_000), *range(25_000)]:
        line = encode(Trade(7, second * SECOND, 1, "1", "1", "buy", NOW))
        assert line.split("\t")[1] == f"1970-01-01 {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000000+00"


# --- what the database reads --------------------------------------------------------------------------------------------


def digits(rand: random.Random) -> str:
    return f"{rand.randrange(1, 10**6)}.{rand.randrange(10**9):09d}"[: rand.randint(3, 14)].rstrip(".")


def maybe(rand: random.Random, value: Any) -> Any:
    return value if rand.random() < 0.5 else None


def text(rand: random.Random) -> str:
    return "".join(rand.choice("ab\\\t\n\r\b\f\vN.,{}\"'é日\u2028\x85\x1c🦊") for _ in range(rand.randrange(12)))


def levels(rand: random.Random, count: int) -> tuple[str, ...]:
    return tuple(digits(rand) for _ in range(count))


def any_value(rand: random.Random, column: Column) -> Any:
    made = {
        "integer": lambda: rand.randrange(2**31),
        "bigint": lambda: rand.randrange(2**63),
        "numeric": lambda: digits(rand),
        "text": lambda: "word" if column.word else text(rand),
        "text[]": lambda: tuple(text(rand) for _ in range(rand.randrange(4))),
        "jsonb": lambda: '{"name": "a\\tb", "upper": 1.50}',
        "timestamptz": lambda: NOW + rand.randrange(10**12),
    }
    value = made[column.type]()
    return maybe(rand, value) if column.nullable else value


def any_record(rand: random.Random, kind: type[Record], number: int) -> Record:
    time, seen = NOW + rand.randrange(10**12), NOW + rand.randrange(10**12)
    if kind is Trade:
        return Trade(
            number, time, rand.randrange(-(2**63), 2**63), digits(rand), digits(rand), "sell", seen, maybe(rand, text(rand))
        )
    if kind is Quote:
        sides = [maybe(rand, digits(rand)) for _ in range(4)]
        return Quote(number, time, text(rand), *sides, maybe(rand, rand.randrange(2**63)), seen)
    if kind is Candle:
        bar, ids = [digits(rand) for _ in range(5)], [maybe(rand, rand.randrange(2**63)) for _ in range(2)]
        more = (maybe(rand, digits(rand)), maybe(rand, rand.randrange(2**31)), maybe(rand, digits(rand)), maybe(rand, digits(rand)))
        return Candle(number, "1m", time, *bar, *more, *ids, 1, "ws", seen)
    if kind is not BookSnapshot:
        return kind(*(any_value(rand, column) for column in BY_RECORD[kind].columns))
    bids, asks = rand.randrange(4), rand.randrange(4)
    sides = [levels(rand, bids), levels(rand, bids), levels(rand, asks), levels(rand, asks)]
    return BookSnapshot(number, time, text(rand), *sides, maybe(rand, rand.randrange(2**63)), seen)


def as_stored(table: Table, record: Record) -> tuple[object, ...]:
    made = {
        "timestamptz": to_datetime,
        "numeric": Decimal,
        "numeric[]": lambda values: [Decimal(number) for number in values],
        "text[]": list,
    }
    values = [(column, getattr(record, column.name)) for column in table.columns]
    return tuple(made.get(column.type, lambda as_is: as_is)(value) if value is not None else None for column, value in values)


@pytest.mark.parametrize("kind", list(BY_RECORD))
async def test_copy_reads_the_same_values_from_the_text(database: str, kind: type[Record]) -> None:
    table, rand = BY_RECORD[kind], random.Random(4711)
    records = [any_record(rand, kind, number) for number in range(500)]
    connection = await asyncpg.connect(database)
    columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
    await connection.execute(f"CREATE TEMP TABLE t ({columns}, number serial)")
    encode = encoder(table)

    async def source() -> Any:
        yield "".join(map(encode, records)).encode()

    await connection.copy_to_table("t", source=source(), columns=[column.name for column in table.columns], format="text")
    rows = await connection.fetch("SELECT * FROM t ORDER BY number")
    assert [tuple(row.values())[:-1] for row in rows] == [as_stored(table, record) for record in records]
    digits_stored = [row[0] for row in await connection.fetch("SELECT t::text FROM t ORDER BY number")]
    if kind is Trade:  # a Decimal compares equal without its trailing zeros
        assert all(record.price in row.split(",") for record, row in zip(records, digits_stored, strict=True))
    await connection.close()
