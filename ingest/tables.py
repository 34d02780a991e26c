"""The table of each record, for the writer, the policies and the checks of the schema.

The DDL is in schema/; `tests/database/test_tables.py` compares it with these declarations.
"""

from __future__ import annotations

import types
import typing
from datetime import timedelta
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from ingest.records import (
    BookSnapshot,
    Candle,
    Indicator,
    News,
    OnchainMetric,
    Price,
    Quote,
    Record,
    SentimentPost,
    SentimentScore,
    StockIndex,
    Trade,
    WhaleTransaction,
)


class Column(Struct, frozen=True):
    """One column: its SQL type, whether it may be NULL, and whether it is a `Word`, whose text needs no escaping."""

    name: str
    type: str
    nullable: bool
    word: bool


class Table(Struct, frozen=True, dict=True):
    """One hypertable. `key` is its primary key; every batch that may conflict is sorted by it.

    `revise` is the SQL condition under which a row replaces the stored row with the same key (`t` is the stored row, `EXCLUDED`
    the new one); None means that a stored row never changes. `changed` is the part of it that compares the values: a row that a
    person asks for anew replaces the stored one if they differ. `prefer` orders the rows of one key within a batch, the one to keep
    first; of rows that it does not tell apart, the later one is kept. `within` are triples of columns (value, low, high): a row
    whose value is not between low and high contradicts itself. It is flagged, and replaces no row that does not.

    `native` means that the key without `time` identifies the fact: a source may later report another time for it, and the time that
    was stored first (in the plain table `native_ids`) is kept. `native_ids` are all ids of such a fact, as SQL over a staged row
    `s`, the strongest first; the default is that key. `indexes` are those besides the primary key; each slows every insert, so a
    comment at the table names the query that needs it. A later row does not set a column in `kept` to NULL: another source may lack
    the value.
    """

    record: type[Record]
    name: str
    key: tuple[str, ...]
    chunk: timedelta
    segmentby: tuple[str, ...]
    orderby: tuple[str, ...]
    compress_after: timedelta | None
    retention: timedelta | None
    revise: str | None = None
    changed: str = ""
    prefer: str = ""
    within: tuple[tuple[str, str, str], ...] = ()
    native: bool = False
    native_ids: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    row_bytes: int = 200  # approximate memory of one queued row; books are counted by their levels

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        hints = typing.get_type_hints(self.record, include_extras=True)
        return tuple(_column(name, hints[name]) for name in self.record.__struct_fields__)


def _column(name: str, hint: object) -> Column:
    nullable = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        nullable = True
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    _, sql_type, *marks = typing.get_args(hint)
    return Column(name, sql_type, nullable, "word" in marks)


DAY = timedelta(days=1)


def odd(within: tuple[tuple[str, str, str], ...], row: str) -> str:
    """The SQL condition that `row` (an alias) contradicts itself; see `Table.within`. A value that is NULL contradicts nothing."""
    outside = (f"{row}.{value} NOT BETWEEN {row}.{low} AND {row}.{high}" for value, low, high in within)
    return f"coalesce({' OR '.join(outside)}, false)"


# not the open: some exchanges open a candle at the last price of the candle before
_CANDLE_WITHIN = (("close", "low", "high"),)
_ORIGINS = "ARRAY['trades', 'ws', 'rest', 'archive']"


def _candle_rank(row: str) -> str:
    return f"CASE WHEN {odd(_CANDLE_WITHIN, row)} THEN 0 ELSE array_position({_ORIGINS}, {row}.origin) END"


_BAR = ("open", "high", "low", "close", "volume", "quote_volume", "trades_count", "taker_buy_volume", "taker_buy_quote_volume")
_CANDLE_CHANGED = f"({', '.join(f'EXCLUDED.{name}' for name in _BAR)}) IS DISTINCT FROM ({', '.join(f't.{name}' for name in _BAR)})"
# received_at: rows that a spool replays late must not overwrite newer ones
_CANDLE_REVISED = (
    f"{_candle_rank('EXCLUDED')} > {_candle_rank('t')} OR ({_candle_rank('EXCLUDED')} = {_candle_rank('t')} AND "
    f"EXCLUDED.received_at >= t.received_at AND {_CANDLE_CHANGED})"
)

TRADES = Table(
    record=Trade,
    name="trades",
    key=("instrument_id", "time", "trade_id"),
    chunk=DAY,
    segmentby=("instrument_id",),
    orderby=("time", "trade_id"),
    compress_after=2 * DAY,
    retention=90 * DAY,
)
CANDLES = Table(
    record=Candle,
    name="candles",
    key=("instrument_id", "interval", "time"),
    chunk=7 * DAY,
    segmentby=("instrument_id", "interval"),
    orderby=("time",),
    compress_after=7 * DAY,
    retention=730 * DAY,
    revise=_CANDLE_REVISED,
    changed=_CANDLE_CHANGED,
    prefer=f"{_candle_rank('stage')} DESC, received_at DESC",
    within=_CANDLE_WITHIN,
    row_bytes=500,
)
QUOTES = Table(
    record=Quote,
    name="quotes",
    key=("instrument_id", "time", "writer"),
    chunk=DAY,
    segmentby=("instrument_id",),
    orderby=("time", "writer"),
    compress_after=2 * DAY,
    retention=30 * DAY,
    row_bytes=300,
)
ORDER_BOOKS = Table(
    record=BookSnapshot,
    name="order_books",
    key=("instrument_id", "time", "writer"),
    chunk=DAY,
    segmentby=("instrument_id",),
    orderby=("time", "writer"),
    compress_after=2 * DAY,
    retention=30 * DAY,
    row_bytes=400,
)


def _polled(
    record: type[Record],
    name: str,
    key: tuple[str, ...],
    chunk: timedelta,
    *,
    compress_after: timedelta,
    retention: timedelta,
    kept: tuple[str, ...] = (),
    weak: str = "",
    within: tuple[tuple[str, str, str], ...] = (),
) -> Table:
    """A table of polled records: a changed value replaces the stored one, an equal value changes nothing.

    It is compressed by the key columns before `time`, or by the first one if the others are a native id. A row of the source
    `weak` never replaces another source's row of the same fact, and is replaced by it.
    """
    values = [field for field in record.__struct_fields__ if field not in (*key, "received_at")]
    newer = ", ".join(f"COALESCE(EXCLUDED.{value}, t.{value})" if value in kept else f"EXCLUDED.{value}" for value in values)
    changed = f"({newer}) IS DISTINCT FROM ({', '.join(f't.{value}' for value in values)})"
    later, rank = "EXCLUDED.received_at >= t.received_at", f"({{}}.source = '{weak}')::int"
    if weak:
        new, stored = rank.format("EXCLUDED"), rank.format("t")
        later = f"({new} < {stored} OR {new} = {stored} AND {later})"
    if within:
        later = f"{later} AND {odd(within, 'EXCLUDED')} <= {odd(within, 't')}"
    native = record in (WhaleTransaction, SentimentPost, News)
    segmentby = key[:1] if native else key[:-1]
    return Table(
        record=record,
        name=name,
        key=key,
        chunk=chunk,
        segmentby=segmentby,
        orderby=("time", *(column for column in key if column not in (*segmentby, "time"))),
        compress_after=compress_after,
        retention=retention,
        revise=f"{later} AND {changed}",
        changed=changed,
        prefer=", ".join(
            ([rank.format("stage")] if weak else []) + ([odd(within, "stage")] if within else []) + ["received_at DESC"]
        ),
        within=within,
        native=native,
        kept=kept,
        row_bytes=1000 if native else 300,
    )


WEEK, MONTH, YEAR = 7 * DAY, 30 * DAY, 365 * DAY
PRICES = _polled(Price, "prices", ("asset_id", "source", "time"), WEEK, compress_after=WEEK, retention=5 * YEAR)
WHALE_TRANSACTIONS = _polled(
    WhaleTransaction,
    "whale_transactions",
    ("blockchain", "hash", "token", "index", "time"),
    WEEK,
    compress_after=MONTH,
    retention=YEAR,
    kept=("from_label", "to_label", "block_height", "block_hash"),
    weak="whale_alert",  # reports the sum of a transaction, without its block; other sources report each transfer
)
ONCHAIN_METRICS = _polled(
    OnchainMetric, "onchain_metrics", ("asset", "metric", "source", "time"), WEEK, compress_after=MONTH, retention=YEAR
)
SENTIMENT_POSTS = _polled(
    SentimentPost, "sentiment_posts", ("platform", "post_id", "symbol", "time"), WEEK, compress_after=MONTH, retention=90 * DAY
)
SENTIMENT_SCORES = _polled(
    SentimentScore, "sentiment_scores", ("symbol", "platform", "interval", "time"), MONTH, compress_after=MONTH, retention=5 * YEAR
)
_HASHED = "encode(sha256(convert_to({}, 'UTF8')), 'hex')"
_LINK = _HASHED.format(r"regexp_replace(s.url, '^https?://(www\.)?|/+$', '', 'g')")
_HEADLINE = _HASHED.format(r"lower(regexp_replace(s.title, '[\s!-/:-@\[-`{-~]+', '', 'g'))")
_DAY = "to_char(s.time AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
NEWS = replace(
    _polled(News, "news", ("source", "id", "time"), MONTH, compress_after=MONTH, retention=2 * YEAR),
    # the link, whatever the source; the publisher's id; the publisher's headline of one day, because a daily column repeats its own
    native_ids=(f"ARRAY['', 'url', {_LINK}]", "ARRAY[s.source, s.id]", f"ARRAY['', 'title', s.source, {_DAY}, {_HEADLINE}]"),
    prefer="received_at DESC, url, title, summary",  # the same choice in every turn if a feed has an article twice
    indexes=("btree (time DESC)",),  # for queries of the newest articles of all sources
)
STOCK_INDICES = _polled(
    StockIndex,
    "stock_indices",
    ("index_name", "source", "time"),
    MONTH,
    compress_after=MONTH,
    retention=YEAR,
    within=(("open", "low", "high"), ("close", "low", "high")),
)
# compressed after two days, when late candles are rare: at 100 instruments and 20 indicators a day has 2.9 million rows
INDICATORS = _polled(
    Indicator, "indicators", ("instrument_id", "interval", "name", "time"), DAY, compress_after=2 * DAY, retention=90 * DAY
)

# relations computed by the database or the daemon; kept forever by default
BARS = ("bars_1m", "bars_1h", "daily_ohlcv", "prices_daily")

POLLED: tuple[Table, ...] = (
    PRICES,
    WHALE_TRANSACTIONS,
    ONCHAIN_METRICS,
    SENTIMENT_POSTS,
    SENTIMENT_SCORES,
    NEWS,
    STOCK_INDICES,
    INDICATORS,
)
TABLES: tuple[Table, ...] = (TRADES, CANDLES, QUOTES, ORDER_BOOKS, *POLLED)
BY_RECORD: dict[type, Table] = {table.record: table for table in TABLES}
