"""From Gate's messages to records. A bad value raises ValueError."""

from __future__ import annotations

import msgspec

from ingest.exchanges.gate.messages import Bar, BookAnswer, BookRow, Pair, QuoteRow, RestBar, RestTrade, TradeRow
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.synced_book import Diff, Snapshot
from ingest.marketdata.values import (
    MILLISECOND,
    check_levels,
    checked_market,
    event_time,
    from_text,
    identifier,
    micros,
    minute_bar,
    price_and_size,
    quote_side,
    step_of,
)
from ingest.records import SECOND, Candle, Instrument, Quote, Trade

_decode_answer = msgspec.json.Decoder(BookAnswer).decode


def trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    """The time is cut to the millisecond, the resolution that REST documents."""
    if row.side not in ("buy", "sell"):
        raise ValueError(f"side {row.side!r}")
    time = from_text(row.create_time_ms.partition(".")[0], MILLISECOND)
    number = row.id if row.id_market is None else row.id_market
    price, size = price_and_size(row.price, row.amount)
    return Trade(instrument_id, time, number, price, size, row.side, received_at)


def first_id(row: TradeRow) -> int | None:
    """The first fill that a message stands for; None where its id numbers the fills of all markets."""
    if row.id_market is None:
        return None
    first = row.range.partition("-")[0]
    return min(row.id_market, identifier(first)) if first.isdecimal() else row.id_market


def candle(bar: Bar, instrument_id: int, received_at: int, origin: str) -> Candle | None:
    """An open or a closed bar; None for an open one of before 2024, which has no volume in base."""
    if bar.volume is None:
        if bar.closed:
            raise ValueError(f"a closed bar without volume in base: {bar}")
        return None
    numbers = bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume
    return minute_bar(instrument_id, from_text(bar.time, SECOND), numbers, origin=origin, received_at=received_at)


def is_open(bar: Bar) -> bool:
    return not bar.closed


def diff(row: BookRow) -> Diff:
    bids, asks = check_levels(row.bids or ()), check_levels(row.asks or ())
    return Diff(event_time(micros, row.time_ms * MILLISECOND), row.first, row.last, bids, asks, row.full)


def snapshot(body: bytes) -> Snapshot:
    answer = _decode_answer(body)
    return Snapshot(answer.id, answer.bids, answer.asks, answer.update and event_time(micros, answer.update * MILLISECOND))


def quote(row: QuoteRow, instrument_id: int, received_at: int) -> Quote:
    bid, bid_size = quote_side(row.bid_price, row.bid_size)
    ask, ask_size = quote_side(row.ask_price, row.ask_size)
    time = event_time(micros, row.time_ms * MILLISECOND)
    return Quote(instrument_id, time or 0, "", bid, bid_size, ask, ask_size, row.update, received_at)


def instrument(pair: Pair) -> Instrument:
    """A market that can only be bought, only be sold or not be traded is `halted`."""
    status = "trading" if pair.trade_status == "tradable" else "halted"
    steps = step_of(pair.price_digits), step_of(pair.size_digits)
    return checked_market(Instrument("gate", pair.id, f"{pair.base}/{pair.quote}", pair.base, pair.quote, "spot", status, *steps))


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Trade]:
    """Every trade of one response of /spot/trades, in its order. Raises Reject."""

    def make(row: RestTrade) -> Trade:
        number = identifier(row.sequence_id or row.id)
        return trade(TradeRow(number, row.create_time_ms, row.side, row.amount, row.price), instrument.id, received_at)

    return rows("gate", body, RestTrade, make)


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Candle]:
    """The closed bars of one response of /spot/candlesticks with interval=1m, oldest first. Raises Reject."""

    def make(row: RestBar) -> Candle | None:
        time, quote_volume, close, high, low, opened, volume, closed = row
        bar = Bar(time, opened, high, low, close, quote_volume, volume, closed == "true")
        return candle(bar, instrument.id, received_at, "rest") if bar.closed else None

    return rows("gate", body, RestBar, make).ordered(lambda candle: candle.time)
