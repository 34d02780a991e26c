"""From Binance's messages to records. A bad value raises ValueError.

`m` means that the **buyer** was the maker, so the taker sold. Times are milliseconds in the websocket and in REST, but microseconds
in the archive since 2025: a trade's time is cut to the millisecond, which all three have.
"""

from __future__ import annotations

import msgspec

from ingest.exchanges.binance import messages
from ingest.exchanges.binance.messages import Frame
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.synced_book import Diff, Snapshot
from ingest.marketdata.values import (
    EARLIEST,
    LATEST,
    MILLISECOND,
    PRICE_DIGITS,
    SIZE_DIGITS,
    check_levels,
    check_range,
    checked_market,
    event_time,
    micros,
    price_and_size,
    price_digits,
    quote_side,
    volume_digits,
)
from ingest.records import Candle, Instrument, Quote, Trade

AnyTrade = messages.TradeEvent | messages.AggTradeEvent | messages.RestTrade

_decode_depth = msgspec.json.Decoder(messages.Depth).decode


def trade(frame: Frame[AnyTrade], instrument_id: int, received_at: int) -> Trade:
    """Hot: calls of `micros` and `price_and_size` would be a tenth of its cost, so the usual case is checked here."""
    event = frame.data
    time, price, size = event.time_ms * MILLISECOND, event.price, event.size
    if not (
        price.replace(".", "", 1).isdecimal()
        and size.replace(".", "", 1).isdecimal()
        and price.isascii()
        and size.isascii()
        and len(price) <= PRICE_DIGITS
        and len(size) <= SIZE_DIGITS
        and price.lstrip("0.")
        and size.lstrip("0.")
        and EARLIEST <= time < LATEST
    ):
        time, (price, size) = micros(time), price_and_size(price, size)
    return Trade(instrument_id, time, event.id, price, size, "sell" if event.buyer_is_maker else "buy", received_at)


def candle(frame: Frame[messages.KlineEvent], instrument_id: int, received_at: int, origin: str) -> Candle | None:
    kline = frame.data.kline
    if not kline.closed:
        return None
    ids = (kline.first_id, kline.last_id) if kline.count else (None, None)
    return bar(kline, instrument_id, received_at, origin, ids)


def bar(
    row: messages.Kline | messages.RestKline,
    instrument_id: int,
    received_at: int,
    origin: str,
    ids: tuple[int | None, int | None] = (None, None),
) -> Candle:
    prices = price_digits(row.open), price_digits(row.high), price_digits(row.low), price_digits(row.close)
    check_range(prices[1], prices[2])
    sums = volume_digits(row.volume), volume_digits(row.quote_volume)
    taker = volume_digits(row.taker_buy_volume), volume_digits(row.taker_buy_quote_volume)
    time = micros(row.time_ms * MILLISECOND)
    return Candle(instrument_id, "1m", time, *prices, *sums, row.count, *taker, *ids, 1, origin, received_at)


def quote(frame: Frame[messages.QuoteEvent], instrument_id: int, received_at: int) -> Quote:
    event = frame.data
    bid, bid_size = quote_side(event.bid_price, event.bid_size)
    ask, ask_size = quote_side(event.ask_price, event.ask_size)
    return Quote(instrument_id, 0, "", bid, bid_size, ask, ask_size, event.update, received_at)


def diff(frame: Frame[messages.DepthEvent]) -> Diff:
    event = frame.data
    time = event_time(micros, event.time_ms * MILLISECOND)
    return Diff(time, event.first, event.last, check_levels(event.bids), check_levels(event.asks))


def snapshot(body: bytes) -> Snapshot:
    depth = _decode_depth(body)
    return Snapshot(depth.last, depth.bids, depth.asks)


def instrument(listed: messages.Listed) -> Instrument:
    """A market in any state other than TRADING is `halted`."""
    filters = {rule.kind: rule for rule in listed.filters}
    prices, sizes = (filters.get(kind, messages.Filter()) for kind in ("PRICE_FILTER", "LOT_SIZE"))
    steps = _step(prices.price_step), _step(sizes.size_step)
    status = "trading" if listed.status == "TRADING" else "halted"
    name = f"{listed.base}/{listed.quote}"
    return checked_market(Instrument("binance", listed.symbol, name, listed.base, listed.quote, "spot", status, *steps))


def _step(step: str | None) -> str | None:
    return step if step and step.strip("0.") else None


def trades_from_rest(body: bytes, instrument: Instrument, trade_kind: str, received_at: int) -> Rows[Trade]:
    """A response of /historicalTrades, or, for `aggTrade`, of /aggTrades, oldest first. Raises Reject."""
    shape = messages.AggTradeEvent if trade_kind == "aggTrade" else messages.RestTrade
    return rows("binance", body, shape, lambda row: trade(Frame(row), instrument.id, received_at))


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Candle]:
    """A response of /klines of one minute, oldest first, with the bar that is still open. Raises Reject."""
    return rows("binance", body, messages.RestKline, lambda row: bar(row, instrument.id, received_at, "rest"))
