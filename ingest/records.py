"""The facts that are stored, one frozen struct each. Field order is column order; the annotation is the column's type.

Three rules hold for every record:

- a **time** is an integer, microseconds since the Unix epoch, UTC (`Micros`); `time` is when it happened, `received_at` when we
  saw it;
- a price or size is the exchange's **own digits** (`Digits`), never a float on the way;
- **side** is the taker's: `buy` means that the taker bought.
"""

from __future__ import annotations

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
Word = Annotated[str, "text", "word"]  # one of our own words: never needs escaping


class Instrument(Struct, frozen=True):
    """What an exchange's own listing says about one market. `id` is the database's key, 0 until it is stored."""

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
    """One fill. Key (instrument_id, time, trade_id); `time` at the coarsest resolution that any of the exchange's paths gives."""

    instrument_id: Int
    time: Micros
    trade_id: Big  # the exchange's number, else `hashed_id` of its native id
    price: Digits
    size: Digits
    side: Word
    received_at: Micros
    native_id: Text | None = None  # only where the exchange's id is not a number


class Candle(Struct, frozen=True, gc=False):
    """One closed bar; `time` is its open. None means that the exchange does not say, never zero."""

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
    first_trade_id: Big | None  # Binance f: the bar holds trades first..last, a free completeness check
    last_trade_id: Big | None
    parts: Int  # how many 1m bars it is made of; 1 for a 1m bar
    origin: Word  # archive > rest > ws > trades: a higher rank revises a lower one
    received_at: Micros


class Quote(Struct, frozen=True, gc=False):
    """Best bid and ask as they stood at the grid tick `time`. A side that is empty is None."""

    instrument_id: Int
    time: Micros
    writer: Text  # '' where the exchange gives event time (two daemons then write the same row), else the daemon's name
    bid_price: Digits | None
    bid_size: Digits | None
    ask_price: Digits | None
    ask_size: Digits | None
    sequence: Big | None
    received_at: Micros


class BookSnapshot(Struct, frozen=True, gc=False):
    """The book's best levels as they stood at the grid tick `time`; arrays are best first, prices and sizes of equal length."""

    instrument_id: Int
    time: Micros
    writer: Text  # as in Quote
    bid_prices: Levels
    bid_sizes: Levels
    ask_prices: Levels
    ask_sizes: Levels
    sequence: Big | None  # the exchange's counter at that state
    received_at: Micros


# --- what is polled, not streamed ------------------------------------------------------------------------------------------


class Asset(Struct, frozen=True):
    """One coin. A symbol is not unique among coins, so this says which one is meant. `id` is 0 until it is stored."""

    symbol: str  # BTC
    coingecko_id: str  # bitcoin
    name: str = ""
    id: int = 0


class Price(Struct, frozen=True, gc=False):
    """What a coin costs across all venues. Changes are percent; high and low are in USD; `time` is a whole minute."""

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
    """One large transfer. A reorganised block may move it in time; its native id (blockchain, hash, token, index) stays."""

    blockchain: Word
    hash: Text
    token: Text
    index: Int  # of this transfer among the transaction's
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
    """One figure of a chain, in the unit that its source documents for it."""

    asset: Text  # BTC
    metric: Text
    source: Word
    time: Micros
    value: Digits
    received_at: Micros


class SentimentPost(Struct, frozen=True, gc=False):
    """What a post says of one symbol: a post of several symbols is one record a symbol."""

    platform: Word
    post_id: Text
    symbol: Text
    time: Micros
    text: Text
    author: Text | None
    score: Digits  # -1 to 1
    label: Word  # positive neutral negative
    engagement: Int | None  # likes, shares and comments; None where the platform does not say
    received_at: Micros
    followers: Int | None = None  # of its author, when last asked; None where the platform does not say


class SentimentScore(Struct, frozen=True, gc=False):
    """The mood of one interval that begins at `time`. Scores and shares are 0 to 100."""

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
    """One article: title, summary and link, never its text."""

    source: Word
    id: Text  # the publisher's own, a guid
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
    """One trading day of a stock index; `time` is midnight UTC of the date in New York. None where the source has closes only."""

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
    """One indicator of one closed candle; `time` is the candle's open."""

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


def hashed_id(native_id: str) -> int:
    """The `trade_id` of a trade whose native id is no number: minus the low 63 bits of its SHA-256."""
    return -(int.from_bytes(sha256(native_id.encode()).digest()[-8:], "big") & (1 << 63) - 1)
