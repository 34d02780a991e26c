"""From OKX's messages to records. A bad value raises ValueError.

An update of a book follows only if its `prevSeqId` is the `seqId` of the update before. A `seqId` below its own `prevSeqId` means
that maintenance reset the counter; the next update follows it. `checksum` is 0 since June 2026, and not needed with a `seqId`.
"""

from __future__ import annotations

from binascii import crc32
from itertools import chain, zip_longest

from ingest.exchanges.okx.messages import ENVELOPE, BarRow, BookRow, Listed, QuoteRow, TradeRow
from ingest.marketdata.order_book import Book
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.streamed_book import Update
from ingest.marketdata.values import (
    MILLISECOND,
    checked_market,
    event_time,
    from_text,
    identifier,
    minute_bar,
    price_and_size,
    quote_side,
)
from ingest.records import Candle, Instrument, Quote, Trade

CHECKED_LEVELS = 25
_STATUS = {"live": "trading", "expired": "delisted"}  # other states (suspend, preopen, test) are halted


def trade(row: TradeRow, instrument_id: int, received_at: int) -> Trade:
    time = from_text(row.ts, MILLISECOND)
    price, size = price_and_size(row.px, row.sz)
    return Trade(instrument_id, time, identifier(row.tradeId), price, size, row.side, received_at)


def candle(row: BarRow, instrument_id: int, received_at: int, origin: str) -> Candle | None:
    """A closed bar; None for an open one. For spot the first volume is in base, the two after it in quote."""
    time, opened, high, low, close, volume, _, quote_volume, confirmed = row
    numbers = opened, high, low, close, volume, quote_volume
    bar = minute_bar(instrument_id, from_text(time, MILLISECOND), numbers, origin=origin, received_at=received_at)
    return bar if confirmed == "1" else None


def book(row: BookRow) -> Update:
    checksum = row.checksum if row.seqId is None and row.checksum else None
    return Update(event_time(from_text, row.ts, MILLISECOND), row.bids, row.asks, row.seqId, row.prevSeqId, checksum)


def agrees(state: Book, update: Update, instrument: Instrument | None) -> bool:
    """Compares the signed CRC32 over the 25 best levels: bid and ask in turn; where one side ends, the rest of the other."""
    pairs = zip_longest(state.bids.best(CHECKED_LEVELS), state.asks.best(CHECKED_LEVELS), fillvalue=())
    crc = crc32(":".join(chain.from_iterable(chain.from_iterable(pairs))).encode())
    return (crc - (1 << 32) if crc >= 1 << 31 else crc) == update.checksum


def quote(row: QuoteRow, instrument_id: int, received_at: int) -> Quote:
    bid, bid_size = quote_side(row.bidPx, row.bidSz)
    ask, ask_size = quote_side(row.askPx, row.askSz)
    time = event_time(from_text, row.ts, MILLISECOND)
    return Quote(instrument_id, time or 0, "", bid, bid_size, ask, ask_size, None, received_at)


def instrument(listed: Listed) -> Instrument:
    base, quote, status = listed.baseCcy, listed.quoteCcy, _STATUS.get(listed.state, "halted")
    return checked_market(
        Instrument("okx", listed.instId, f"{base}/{quote}", base, quote, "spot", status, listed.tickSz, listed.lotSz)
    )


def trades_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Trade]:
    """Every trade of one response of /api/v5/market/trades or history-trades, single fills as in `trades-all`."""
    return rows("okx", ENVELOPE.open(body), TradeRow, lambda row: trade(row, instrument.id, received_at))


def candles_from_rest(body: bytes, instrument: Instrument, received_at: int) -> Rows[Candle]:
    """The closed bars of one response of /api/v5/market/candles or history-candles with bar=1m. Raises Retry or Reject."""
    return rows("okx", ENVELOPE.open(body), BarRow, lambda row: candle(row, instrument.id, received_at, "rest"))
