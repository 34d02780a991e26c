"""Made-up rows of the queues' tables, and batches of them as a queue makes them, for the tests of the batch writer."""

from __future__ import annotations

from ingest.counters import Tally
from ingest.pipeline.batch import Batch
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.records import SECOND, Candle, Record, SentimentPost, Trade
from ingest.tables import BY_RECORD

NOW = 1_790_000_000 * SECOND


def trade(number: int, **changes: object) -> Trade:
    values = {
        "instrument_id": 1 + number % 3,
        "time": NOW + number * 1000,
        "trade_id": number,
        "price": f"{16578 + number % 7}.50",
        "size": "0.00012000",
        "side": "buy" if number % 2 else "sell",
        "received_at": NOW + number * 1000 + 31_234,
    }
    return Trade(**(values | changes))  # type: ignore[arg-type]


async def batch_of(rows: list[Record]) -> Batch:
    table = BY_RECORD[type(rows[0])]
    queue = TableQueue(table, Tally(table.name), Limits(batch_rows=100_000), on_gap=lambda gap: None, clock=lambda: NOW)
    for row in rows:
        assert queue.put(row) is None
    queue.seal()
    return await queue.take()


def candle(**changes: object) -> Candle:
    values = {
        "instrument_id": 1,
        "interval": "1m",
        "time": NOW // (60 * SECOND) * 60 * SECOND,
        **dict.fromkeys(("open", "close", "volume"), "1.5"),
        "high": "2",
        "low": "1",
        **dict.fromkeys(("quote_volume", "trades_count", "taker_buy_volume", "taker_buy_quote_volume"), None),
        **dict.fromkeys(("first_trade_id", "last_trade_id"), None),
        "parts": 1,
        "origin": "ws",
        "received_at": NOW,
    }
    return Candle(**(values | changes))  # type: ignore[arg-type]


def post(number: int, **changes: object) -> SentimentPost:
    values = {"platform": "reddit", "post_id": str(number), "symbol": "BTC", "time": NOW + number, "text": "t", "author": None}
    values |= {"score": "0", "label": "neutral", "engagement": None, "received_at": NOW, "followers": None}
    return SentimentPost(**(values | changes))  # type: ignore[arg-type]
