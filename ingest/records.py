"""The records that are stored, one frozen struct each. Field order is column order; the annotation is the column's type.

The comment at a field describes the column; `ingest/store/docs/columns.md` is generated from these comments. Three rules hold for
every record:

- a **time** is an integer, microseconds since the Unix epoch, UTC (`Micros`); `time` is when the event happened, `received_at` when
  the daemon received it;
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
    """One market of an exchange, as its own listing describes it. `id` is the database's key, 0 until it is stored."""

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

    instrument_id: Int  # the market, in `instruments`
    time: Micros  # when it happened, by the exchange's clock
    trade_id: Big  # the exchange's number of the trade; if its id is not a number, a negative one from the SHA-256 of that id
    price: Digits  # in quote
    size: Digits  # in base; for inverse contracts in the exchange's unit, such as USD
    side: Word  # of the taker: buy, sell
    received_at: Micros  # when the daemon received it
    native_id: Text | None = None  # the exchange's id, if `trade_id` is another number


class Candle(Struct, frozen=True, gc=False):
    """One closed candle. None means that the exchange does not provide the value, never zero."""

    instrument_id: Int  # the market, in `instruments`
    interval: Word  # 1m, 5m, 15m, 1h, 4h, 1d
    time: Micros  # when the candle begins
    open: Digits  # first price
    high: Digits  # highest price
    low: Digits  # lowest price
    close: Digits  # last price
    volume: Digits  # in base, for contracts as well
    quote_volume: Digits | None  # in quote
    trades_count: Int | None  # number of trades
    taker_buy_volume: Digits | None  # part of the volume that takers bought, in base
    taker_buy_quote_volume: Digits | None  # the same in quote
    first_trade_id: Big | None  # the exchange's id of the candle's first trade
    last_trade_id: Big | None  # the exchange's id of the candle's last trade
    parts: Int  # number of 1m candles that it is made from; 1 for a 1m candle
    origin: Word  # archive, rest, ws or trades; an origin revises those after it in this list
    received_at: Micros  # when the daemon received it


class Quote(Struct, frozen=True, gc=False):
    """The best bid and ask at one tick of the grid."""

    instrument_id: Int  # the market, in `instruments`
    time: Micros  # tick of the grid: the state after the last event before it
    writer: Text  # empty if the exchange provides event time, so that two daemons write the same row; else the daemon's name
    bid_price: Digits | None  # None if there is no bid
    bid_size: Digits | None  # in base
    ask_price: Digits | None  # None if there is no ask
    ask_size: Digits | None  # in base
    sequence: Big | None  # the exchange's counter at that state
    received_at: Micros  # when the daemon received the last event of that state


class BookSnapshot(Struct, frozen=True, gc=False):
    """The best levels of an order book at one tick of the grid; arrays are best first, prices and sizes of equal length."""

    instrument_id: Int  # the market, in `instruments`
    time: Micros  # tick of the grid: the state after the last event before it
    writer: Text  # as in `quotes`
    bid_prices: Levels  # from the highest down
    bid_sizes: Levels  # in base
    ask_prices: Levels  # from the lowest up
    ask_sizes: Levels  # in base
    sequence: Big | None  # the exchange's counter at that state
    received_at: Micros  # when the daemon received the last event of that state


# --- polled records ---------------------------------------------------------------------------------------------------------


class Asset(Struct, frozen=True):
    """One coin. A symbol is not unique among coins; `coingecko_id` identifies the coin. `id` is 0 until it is stored."""

    symbol: str  # BTC
    coingecko_id: str  # bitcoin
    name: str = ""
    id: int = 0


class Price(Struct, frozen=True, gc=False):
    """The price of a coin across all venues."""

    asset_id: Int  # the coin, in `assets`
    source: Word  # the provider
    time: Micros  # a whole minute
    price_usd: Digits  # in USD
    price_aud: Digits | None  # in AUD
    market_cap_usd: Digits | None  # in USD
    market_cap_aud: Digits | None  # in AUD
    volume_24h_usd: Digits | None  # in USD
    volume_24h_aud: Digits | None  # in AUD
    change_1h: Digits | None  # in percent
    change_24h: Digits | None  # in percent
    change_7d: Digits | None  # in percent
    high_24h: Digits | None  # in USD
    low_24h: Digits | None  # in USD
    received_at: Micros  # when the daemon received it


class WhaleTransaction(Struct, frozen=True, gc=False):
    """One large transfer. A chain reorganisation may change its time, never its native id (blockchain, hash, token, index)."""

    blockchain: Text  # bitcoin, ethereum, or as the provider names it
    hash: Text  # of the transaction
    token: Text  # symbol of the token
    index: Int  # of this transfer among those of the token in the transaction; 0 is the largest
    time: Micros  # of the block
    from_address: Text  # the sender; of several, the one with the largest net loss
    from_label: Text | None  # its owner
    to_address: Text  # the address that gained
    to_label: Text | None  # its owner
    amount_token: Digits  # in the token
    amount_usd: Digits  # in USD, at the price at the time of the block
    alert_level: Word  # low, medium, high, critical
    block_height: Big | None  # of the block
    block_hash: Text | None  # of the block
    source: Word  # the provider
    received_at: Micros  # when the daemon received it


class OnchainMetric(Struct, frozen=True, gc=False):
    """One metric of a chain, in the unit that its provider's page names."""

    asset: Text  # symbol of the coin: BTC
    metric: Text  # name of the metric: hash_rate
    source: Word  # the provider
    time: Micros  # of the value; midnight UTC for a daily value
    value: Digits  # in the metric's unit
    received_at: Micros  # when the daemon received it


class SentimentPost(Struct, frozen=True, gc=False):
    """A post about one symbol; a post about several symbols is one record for each."""

    platform: Word  # the provider
    post_id: Text  # the platform's id
    symbol: Text  # symbol of the coin
    time: Micros  # when it was posted
    text: Text  # plain text
    author: Text | None  # name of the account
    score: Digits  # -1 to 1
    label: Word  # positive, neutral, negative
    engagement: Int | None  # likes, shares and comments; None if the platform does not provide them
    received_at: Micros  # when the daemon received it
    followers: Int | None = None  # of its author, when the post was last read; None if the platform does not provide them


class SentimentScore(Struct, frozen=True, gc=False):
    """The sentiment about a coin over one interval."""

    symbol: Text  # symbol of the coin
    platform: Word  # the provider; `all` for all social platforms together
    interval: Word  # 1h, 1d
    time: Micros  # when the interval begins
    social_score: Digits | None  # 0 to 100
    label: Text | None  # the platform's own word for the score
    mentions: Int | None  # number of posts
    positive: Digits | None  # share in percent
    neutral: Digits | None  # share in percent
    negative: Digits | None  # share in percent
    influencer_mentions: Int | None  # posts of authors with many followers
    received_at: Micros  # when the daemon received or computed it


class News(Struct, frozen=True, gc=False):
    """One article or announcement: title, summary and link, without its text."""

    source: Word  # the publisher or aggregator
    id: Text  # the publisher's id, such as a guid
    time: Micros  # when it was published
    title: Text  # plain text
    summary: Text | None  # plain text
    url: Text  # link to the article
    author: Text | None  # as the feed names it
    image_url: Text | None  # link to its image
    symbols: Texts  # symbols of the coins that it names
    categories: Texts  # the publisher's categories, and the topics by the rules of news
    sentiment: Digits | None  # -1 to 1
    relevance: Digits | None  # 0 to 1
    impact_level: Word | None  # low, medium, high, critical
    received_at: Micros  # when the daemon received it


class StockIndex(Struct, frozen=True, gc=False):
    """One trading day of a stock index. None if the source has closes only."""

    index_name: Text  # SPX, NASDAQ, VIX
    source: Word  # the provider
    time: Micros  # midnight UTC of the date in New York
    open: Digits | None  # in points
    high: Digits | None  # in points
    low: Digits | None  # in points
    close: Digits  # in points
    volume: Digits | None  # in shares
    received_at: Micros  # when the daemon received it


class Indicator(Struct, frozen=True, gc=False):
    """One technical indicator of one closed candle."""

    instrument_id: Int  # the market, in `instruments`
    interval: Word  # of the candle
    name: Text  # kind and parameters: SMA_20, RSI_14
    time: Micros  # when the candle begins
    value: Digits  # its main value
    metadata: Json | None  # its other values; `candles` if the window is not complete
    received_at: Micros  # when it was computed


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
