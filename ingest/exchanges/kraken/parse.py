"""From Kraken's messages to records. A bad value raises ValueError.

The websocket gives 6 decimals of a second and REST 7: a trade's time is cut to microseconds everywhere, or one trade would be two
rows. The book has no sequence but a CRC32 over the ten best levels, with the digits of the pair's full precision:
https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from ingest.errors import Reject, Retry
from ingest.exchanges.kraken.messages import BarRow, Body, BookRow, Level, Listed, QuoteRow, RestBar, RestTrade, TradeRow
from ingest.marketdata.order_book import Book
from ingest.marketdata.rest import Rows, decode, make_rows, rows
from ingest.marketdata.streamed_book import Update
from ingest.marketdata.values import (
    PRICE_DIGITS,
    SIZE_DIGITS,
    checked_market,
    decimal_digits,
    decimal_price,
    decimal_side,
    decimal_size,
    digits,
    event_time,
    from_iso,
    identifier,
    micros,
    minute_bar,
    price_and_size,
    step_of,
    volume_digits,
)
from ingest.protocol.exchange import ExchangeOptions
from ingest.records import SECOND, Candle, Instrument, Quote, Trade

DEPTHS = (10, 25, 100, 500, 1000)  # levels that can be subscribed
CHECKED_LEVELS = 10
_NEW_NAMES = {"XBT": "BTC", "XDG": "DOGE"}  # websocket v2 has the new names, REST the old names
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}
_UNIFIED = {"LUNA": "LUNC", "LUNA2": "LUNA", "UST": "USTC", "REP": "REPV1", "REPV2": "REP"}  # Kraken's name -> ccxt's
_HALTED = {"cancel_only", "post_only", "maintenance"}  # states without trades
_RETRIED = ("EService:", "EAPI:Rate limit", "EGeneral:Too many requests", "EGeneral:Internal error", "EGeneral:Temporary lockout")

_decode_listed = msgspec.json.Decoder(Listed).decode


def trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    time, price, size = from_iso(row.timestamp), decimal_price(row.price), decimal_size(row.qty)
    return Trade(instrument_id, time, row.trade_id, price, size, row.side, received_at)


def candle(row: BarRow, instrument_id: int, received_at: int, origin: str) -> Candle:
    if row.interval != 1:
        raise ValueError(f"a bar of {row.interval} minutes; subscribed to 1")
    time, numbers = from_iso(row.interval_begin), (row.open, row.high, row.low, row.close, row.volume)
    return minute_bar(instrument_id, time, numbers, origin=origin, received_at=received_at, read=decimal_digits, trades=row.trades)


def book(row: BookRow) -> Update:
    time = None if row.timestamp is None else event_time(from_iso, row.timestamp)
    return Update(time, row.bids, row.asks, checksum=row.checksum)


def level(row: Level) -> tuple[str, str]:
    """Hot: the usual level is read without another call."""
    price, size = str(row.price), str(row.qty)
    plain = price.replace(".", "", 1).isdecimal() and size.replace(".", "", 1).isdecimal() and row.price
    if plain and len(price) <= PRICE_DIGITS and len(size) <= SIZE_DIGITS:
        return price, size
    return decimal_price(row.price), volume_digits(decimal_digits(row.qty))


def depth(options: ExchangeOptions) -> int:
    """The smallest depth of a subscription that covers `book_depth`."""
    return next((depth for depth in DEPTHS if depth >= options.book_depth), DEPTHS[-1])


def agrees(state: Book, update: Update, instrument: Instrument | None) -> bool:
    """CRC32 over the ten best asks, then the ten best bids.

    Without an instrument, whose decimals may be old, with the digits as they were sent, or padded to the most decimals of the book.
    """
    levels = state.asks.best(CHECKED_LEVELS) + state.bids.best(CHECKED_LEVELS)
    if instrument is not None:
        return _checksum(levels, decimals(instrument.price_step), decimals(instrument.size_step)) == update.checksum
    every = state.asks.best(len(state.asks)) + state.bids.best(len(state.bids))
    prices, sizes = (max((decimals(level[column]) for level in every), default=0) for column in (0, 1))
    return update.checksum in (_checksum(levels, 0, 0), _checksum(levels, prices, sizes))


def _checksum(levels: Sequence[tuple[str, str]], prices: int, sizes: int) -> int:
    return crc32("".join(_bare(price, prices) + _bare(size, sizes) for price, size in levels).encode())


def decimals(step: str | None) -> int:
    """The number of decimals of a step or a number: "0.10" -> 2, None -> 0."""
    return len((step or "").partition(".")[2])


def _bare(number: str, places: int) -> str:
    # padded, because a JSON number may lack trailing zeros; never cut, because listings lag behind the frames
    whole, _, fraction = number.partition(".")
    return (whole + fraction.ljust(places, "0")).lstrip("0")


def quote(row: QuoteRow, instrument_id: int, received_at: int) -> Quote:
    time = None if row.timestamp is None else event_time(from_iso, row.timestamp)
    bid, bid_size = decimal_side(row.bid, row.bid_qty)
    ask, ask_size = decimal_side(row.ask, row.ask_qty)
    return Quote(instrument_id, time or 0, "", bid, bid_size, ask, ask_size, None, received_at)


# --- REST -------------------------------------------------------------------------------------------------------------


def result(body: bytes) -> msgspec.Raw:
    """The result of a response. Raises Retry for a temporary error, else Reject."""
    answer = decode("kraken", body, Body)
    if not answer.error:
        return answer.result
    message, code = f"kraken: {', '.join(answer.error)}", answer.error[0]
    if code.startswith(_RETRIED):
        raise Retry(message, code=code)
    raise Reject(message, reason="refused", code=code)


def listing(body: bytes) -> Rows[Instrument]:
    pairs = decode("kraken", result(body), dict[str, msgspec.Raw])
    return make_rows("kraken", pairs.values(), lambda pair: _instrument(_decode_listed(pair)), bytes)


def _instrument(listed: Listed) -> Instrument | None:
    """None for a pair that the websocket does not support, or of another venue: `BTC/USD:BTNL` (Bitnomial, since 2026-04-28)."""
    if not listed.wsname or ":" in listed.wsname:
        return None
    base, _, quote = (_NEW_NAMES.get(name, name) for name in listed.wsname.partition("/"))
    unified = _UNIFIED.get(base, base), _UNIFIED.get(quote, quote)
    status = "halted" if listed.status in _HALTED else "trading"
    steps = _step(listed.tick_size, listed.pair_decimals), step_of(listed.lot_decimals)
    return checked_market(Instrument("kraken", f"{base}/{quote}", "/".join(unified), *unified, "spot", status, *steps))


def _step(tick: str, places: int) -> str:
    """The tick with as many decimals as the exchange prints, because the checksum needs them: a tick of 0.5 may have 2 decimals."""
    step = Decimal(step_of(places))
    return f"{Decimal(digits(tick)) or step:.{places}f}"


def pair_name(instrument: Instrument) -> str:
    """The market's name in REST: XBTUSD."""
    return "".join(_OLD_NAMES.get(name, name) for name in instrument.symbol.split("/"))


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Trade]:
    """Every trade of one response of /0/public/Trades, oldest first. Raises Retry or Reject."""
    return trades_and_cursor(body, instrument, received_at)[0]


def trades_and_cursor(body: bytes, instrument: Instrument, received_at: int) -> tuple[Rows[Trade], int]:
    """Every trade of one response of /0/public/Trades, and its `last`, the time of the last trade in nanoseconds."""
    payload, last = _rows_and_last(body)
    trades = rows("kraken", payload, RestTrade, lambda row: rest_trade(row, instrument.id, received_at))
    try:
        return trades, identifier(decode("kraken", last, str))
    except ValueError as error:
        raise Reject(f"kraken: {instrument.symbol}: 'last' of the trades: {error}", reason="value") from error


def rest_trade(row: RestTrade, instrument_id: int, received_at: int) -> Trade:
    time, (price, size) = micros(int(Decimal(decimal_digits(row.time)) * SECOND)), price_and_size(row.price, row.size)
    return Trade(instrument_id, time, row.trade_id, price, size, "buy" if row.side == "b" else "sell", received_at)


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Candle]:
    """The closed bars of one response of /0/public/OHLC?interval=1, oldest first; `last` is the begin of the latest closed bar."""
    payload, last = _rows_and_last(body)
    until = decode("kraken", last, int)

    def closed(row: RestBar) -> Candle | None:
        numbers = row.open, row.high, row.low, row.close, row.volume
        bar = minute_bar(
            instrument.id, micros(row.time * SECOND), numbers, origin="rest", received_at=received_at, trades=row.trades
        )
        return bar if row.time <= until else None

    return rows("kraken", payload, RestBar, closed)


def _rows_and_last(body: bytes) -> tuple[msgspec.Raw, msgspec.Raw]:
    """The rows of the only pair of a response, and its `last`. Raises Retry or Reject."""
    pairs = decode("kraken", result(body), dict[str, msgspec.Raw])
    last = pairs.pop("last", None)
    if last is None or len(pairs) != 1:
        raise Reject(f"kraken: unexpected REST response: {body[:200]!r}; right: rows of one pair and 'last'", reason="shape")
    (payload,) = pairs.values()
    return payload, last
