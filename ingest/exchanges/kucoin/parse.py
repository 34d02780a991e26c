"""From KuCoin's messages to records. A bad value raises ValueError.

A bar is time, open, **close, high, low**, volume, turnover. A trade's `sequence` rises with gaps.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingest.exchanges.kucoin.messages import ENVELOPE, BarRow, BookAnswer, BookRow, Listed, QuoteRow, RawBar, TradeRow
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.synced_book import Diff, Snapshot
from ingest.marketdata.values import (
    MILLISECOND,
    Level,
    check_levels,
    checked_market,
    event_time,
    from_text,
    identifier,
    micros,
    minute_bar,
    price_and_size,
    quote_side,
)
from ingest.records import SECOND, Candle, Instrument, Quote, Trade

_decode_book = msgspec.json.Decoder(BookAnswer).decode


def trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    if row.side not in ("buy", "sell"):
        raise ValueError(f"side {row.side!r}")
    time = micros(int(row.time) // 1000)
    price, size = price_and_size(row.price, row.size)
    return Trade(instrument_id, time, identifier(row.sequence), price, size, row.side, received_at)


def candle(row: BarRow, instrument_id: int, received_at: int, origin: str) -> Candle:
    time, opened, close, high, low, volume, turnover = row.candles
    numbers = opened, high, low, close, volume, turnover
    return minute_bar(instrument_id, from_text(time, SECOND), numbers, origin=origin, received_at=received_at)


def quote(row: QuoteRow, instrument_id: int, received_at: int) -> Quote:
    bid, bid_size = quote_side(row.bid_price, row.bid_size)
    ask, ask_size = quote_side(row.ask_price, row.ask_size)
    time, sequence = event_time(micros, row.time_ms * MILLISECOND), identifier(row.sequence)
    return Quote(instrument_id, time or 0, "", bid, bid_size, ask, ask_size, sequence, received_at)


def diff(row: BookRow) -> Diff:
    time = None if row.time_ms is None else event_time(micros, row.time_ms * MILLISECOND)
    return Diff(time, row.first, row.last, _in_order(row.changes.bids), _in_order(row.changes.asks))


def _sequence(level: tuple[str, str, str]) -> int:
    return int(level[2])


def _in_order(levels: list[tuple[str, str, str]]) -> Sequence[Level]:
    """Sorted by sequence, so that of two changes of one price the later is applied last; without levels of price 0."""
    levels.sort(key=_sequence)
    return check_levels([level for level in levels if level[0].strip("0.")])


def snapshot(body: bytes) -> Snapshot:
    book = _decode_book(body).data
    return Snapshot(identifier(book.sequence), book.bids or (), book.asks or ())


def instrument(listed: Listed) -> Instrument:
    base, _, quote = listed.name.partition("-")
    status = "trading" if listed.trading else "halted"
    return checked_market(
        Instrument("kucoin", listed.symbol, f"{base}/{quote}", base, quote, "spot", status, listed.price_step, listed.size_step)
    )


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Trade]:
    """Every trade of one response of /market/histories, oldest first. Raises Retry or Reject."""
    trades = rows("kucoin", ENVELOPE.open(body), TradeRow, lambda row: trade(row, instrument.id, received_at))
    return trades.ordered(lambda trade: trade.trade_id)


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Candle]:
    """The bars of one response of /market/candles of 1min, oldest first, open bars included. Raises Retry or Reject."""
    bars = rows("kucoin", ENVELOPE.open(body), RawBar, lambda bar: candle(BarRow(bar), instrument.id, received_at, "rest"))
    return bars.ordered(lambda bar: bar.time)
