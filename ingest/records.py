"""The records that are stored, one frozen struct each. Field order is column order; the annotation is the column's type.

Three rules hold for every record:

- a **time** is an integer, microseconds since the Unix epoch, UTC (`Micros`); `time` is when the event happened, `received_at` when
  this daemon received it;
- a price or size has the exchange's **own digits** (`Digits`) and is never converted to a float;
- **side** is the taker's: `buy` means that the taker bought.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from typing import Annotated

from msgspec import Struct

Micros = Annotated[int, "timestamptz"]
Digits = Annotated[str, "numeric"]
Levels = Annotated[tuple[str, ...], "numeric[]"]
Int = Annotated[int, "integer"]
Big = Annotated[int, "bigint"]
Text = Annotated[str, "text"]
Texts = Annotated[tuple[str, ...], "text[]"]
Json = Annotated[str, "jsonb"]  # as text
Word = Annotated[str, "text", "word"]  # a constant of this code, which never needs escaping in COPY text


class Instrument(Struct, frozen=True):
    """One market as the exchange lists it. `id` is the database's key, 0 until the instrument is stored."""

    exchange: str
    symbol: str  # the exchange's spelling: BTCUSDT, BTC-USD, BTC/USD
    instrument: str  # ccxt's unified spelling: BTC/USDT, BTC/USDT:USDT
    base: str
    quote: str
    kind: str  # spot, swap, future, option
    status: str  # trading, halted, delisted
    price_step: str | None = None  # smallest price change, as digits
    size_step: str | None = None  # smallest size change, as digits
    id: int = 0


class Trade(Struct, frozen=True, gc=False):
    """One fill. Key (instrument_id, time, trade_id); `time` has the coarsest resolution of all paths of the exchange."""

    instrument_id: Int
    time: Micros
    trade_id: Big  # the exchange's number, or `hashed_id` of its native id
    price: Digits
    size: Digits
    side: Word
    received_at: Micros
    native_id: Text | None = None  # only if the exchange's id is not a number


class Candle(Struct, frozen=True, gc=False):
    """One closed candle; `time` is its open. None means that the exchange does not provide the value, never zero."""

    instrument_id: Int
    interval: Word  # 1m 5m 15m 1h 4h 1d
    time: Micros
    open: Digits
    high: Digits
    low: Digits
    close: Digits
    volume: Digits  # in base
    quote_volume: Digits | None
    trades_count: Int | None
    taker_buy_volume: Digits | None
    taker_buy_quote_volume: Digits | None
    first_trade_id: Big | None  # Binance's f: the candle consists of the trades first..last, which allows a completeness check
    last_trade_id: Big | None
    parts: Int  # the number of 1m candles that it is made from; 1 for a 1m candle
    origin: Word  # archive > rest > ws > trades: a higher rank revises a lower one
    received_at: Micros


class Quote(Struct, frozen=True, gc=False):
    """Best bid and ask at the grid tick `time`. An empty side is None."""

    instrument_id: Int
    time: Micros
    writer: Text  # '' if the exchange provides event time, so that two daemons write the same row; else the daemon's name
    bid_price: Digits | None
    bid_size: Digits | None
    ask_price: Digits | None
    ask_size: Digits | None
    sequence: Big | None
    received_at: Micros


class BookSnapshot(Struct, frozen=True, gc=False):
    """The best levels of a book at the grid tick `time`. Arrays are best first; prices and sizes have equal length."""

    instrument_id: Int
    time: Micros
    writer: Text  # as in Quote
    bid_prices: Levels
    bid_sizes: Levels
    ask_prices: Levels
    ask_sizes: Levels
    sequence: Big | None  # the exchange's counter at that state
    received_at: Micros


# --- polled records ---------------------------------------------------------------------------------------------------------


class Asset(Struct, frozen=True):
    """One coin. A symbol is not unique among coins; `coingecko_id` identifies the coin. `id` is 0 until it is stored."""

    symbol: str  # BTC
    coingecko_id: str  # bitcoin
    name: str = ""
    id: int = 0


class Price(Struct, frozen=True, gc=False):
    """The price of a coin across all venues. Changes are in percent, high and low in USD; `time` is a whole minute."""

    asset_id: Int
    source: Word
    time: Micros
    price_usd: Digits
    price_aud: Digits | None
    market_cap_usd: Digits | None
    market_cap_aud: Digits | None
    volume_24h_usd: Digits | None
    volume_24h_aud: Digits | None
    change_1h: Digits | None
    change_24h: Digits | None
    change_7d: Digits | None
    high_24h: Digits | None
    low_24h: Digits | None
    received_at: Micros


class WhaleTransaction(Struct, frozen=True, gc=False):
    """One large transfer. A chain reorganisation may change its time, never its native id (blockchain, hash, token, index)."""

    blockchain: Word
    hash: Text
    token: Text
    index: Int  # of this transfer among those of the token in the transaction
    time: Micros
    from_address: Text
    from_label: Text | None
    to_address: Text
    to_label: Text | None
    amount_token: Digits
    amount_usd: Digits
    alert_level: Word  # low medium high critical
    block_height: Big | None
    block_hash: Text | None
    source: Word
    received_at: Micros


class OnchainMetric(Struct, frozen=True, gc=False):
    """One metric of a chain, in the unit that its source documents."""

    asset: Text  # BTC
    metric: Text
    source: Word
    time: Micros
    value: Digits
    received_at: Micros


class SentimentPost(Struct, frozen=True, gc=False):
    """One post about one symbol; a post about several symbols is one record for each."""

    platform: Word
    post_id: Text
    symbol: Text
    time: Micros
    text: Text
    author: Text | None
    score: Digits  # -1 to 1
    label: Word  # positive neutral negative
    engagement: Int | None  # likes, shares and comments; None if the platform does not provide them
    received_at: Micros
    followers: Int | None = None  # of its author, when the post was last read; None if the platform does not provide them


class SentimentScore(Struct, frozen=True, gc=False):
    """The sentiment of one interval that begins at `time`. Scores and shares are 0 to 100."""

    symbol: Text
    platform: Word
    interval: Word  # as a candle's
    time: Micros
    social_score: Digits | None
    label: Text | None  # the platform's own word for the score
    mentions: Int | None
    positive: Digits | None
    neutral: Digits | None
    negative: Digits | None
    influencer_mentions: Int | None
    received_at: Micros


class News(Struct, frozen=True, gc=False):
    """One article: title, summary and link, without its text."""

    source: Word
    id: Text  # the publisher's id, such as a guid
    time: Micros  # published
    title: Text
    summary: Text | None
    url: Text
    author: Text | None
    image_url: Text | None
    symbols: Texts
    categories: Texts
    sentiment: Digits | None  # -1 to 1
    relevance: Digits | None  # 0 to 1
    impact_level: Word | None  # low medium high critical
    received_at: Micros


class StockIndex(Struct, frozen=True, gc=False):
    """One trading day of a stock index; `time` is midnight UTC of the date in New York. None if the source has closes only."""

    index_name: Text  # SPX, NASDAQ, VIX
    source: Word
    time: Micros
    open: Digits | None
    high: Digits | None
    low: Digits | None
    close: Digits
    volume: Digits | None
    received_at: Micros


class Indicator(Struct, frozen=True, gc=False):
    """The value of one indicator at one closed candle; `time` is the candle's open."""

    instrument_id: Int
    interval: Word
    name: Text  # SMA_20, RSI_14
    time: Micros
    value: Digits
    metadata: Json | None
    received_at: Micros


Streamed = Trade | Candle | Quote | BookSnapshot
Polled = Price | WhaleTransaction | OnchainMetric | SentimentPost | SentimentScore | News | StockIndex | Indicator
Record = Streamed | Polled

SECOND = 1_000_000  # in Micros
MINUTE = 60 * SECOND
INTERVALS = {"1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "1h": 60 * MINUTE, "4h": 240 * MINUTE, "1d": 1440 * MINUTE}


def to_digits(value: Decimal | None) -> str | None:
    """The digits of a decimal number without an exponent; None stays None."""
    return None if value is None else f"{value:f}"


def hashed_id(native_id: str) -> int:
    """The `trade_id` of a trade whose native id is not a number: minus the low 63 bits of its SHA-256."""
    return -(int.from_bytes(sha256(native_id.encode()).digest()[-8:], "big") & (1 << 63) - 1)
