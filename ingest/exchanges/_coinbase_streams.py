"""What each subscription to Coinbase Exchange remembers, and the records that come out of it.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels

The book has no sequence and no checksum: that it is wrong shows only when it is crossed. An update whose time is missing (it comes
as the year 1) is applied, and counted to the moment of the update before it; so every state still has the time of an event.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingest.exchanges._coinbase_frames import (
    Bar,
    Heartbeat,
    LastMatch,
    Match,
    RestTrade,
    Snapshot,
    Ticker,
    Update,
    decode_bars,
    to_digits,
    to_iso,
    to_micros,
    to_taker,
)
from ingest.marketdata.order_book import Book, Resync, SampledBook, SampledQuote
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import Options
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Gap, Output, Send
from ingest.records import MINUTE, SECOND, Candle, Instrument, Quote, Trade

RESUBSCRIBE_PAUSE = 15 * SECOND  # a book that breaks again and again must not become a storm of snapshots

CANDLE_DELAY = 2 * SECOND  # from the end of a minute to the first question
CANDLE_WINDOW = 4 * MINUTE  # each question reaches back so far: a bar that was late, or grew, is seen by the next ones
CANDLE_TRIES = 2  # questions in one minute
CANDLE_RETRY = 5 * SECOND  # from an answer without the minute to the next question
ANSWER_WITHIN = 20 * SECOND


class Trades:
    """Ids are dense, so a jump is a hole. `last_match` repeats an old trade: it is yielded, the key removes it."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument_id = instrument.id
        self._last_id: int | None = None
        self._last_time = 0
        self._announced = 0  # by the heartbeat before; its trade has had a second to arrive

    def feed(self, match: Match | LastMatch, received_at: int) -> Sequence[Output]:
        trade = to_trade(match, self._instrument_id, received_at)
        gap = self._advance(trade.trade_id - 1, trade.time)
        if self._last_id is None or trade.trade_id > self._last_id:
            self._last_id, self._last_time = trade.trade_id, trade.time
        return [*gap, trade]

    def beat(self, heartbeat: Heartbeat) -> Sequence[Output]:
        """A trade that a heartbeat announced and that has not come by the next one is missing."""
        if self._last_id is None:
            self._last_id, self._last_time = heartbeat.last_trade_id, to_micros(heartbeat.time)
        announced, self._announced = self._announced, heartbeat.last_trade_id
        return self._advance(announced, to_micros(heartbeat.time))

    def _advance(self, trade_id: int, time: int) -> list[Gap]:
        """Everything up to `trade_id` should be here."""
        if self._last_id is None or trade_id <= self._last_id:
            return []
        gap = Gap(self._instrument_id, "trades", "sequence", self._last_time, time, self._last_id + 1, trade_id)
        self._last_id, self._last_time = trade_id, time
        return [gap]


class Books:
    """One product's book, from snapshot and updates; a crossed one is dropped and subscribed anew."""

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._product = instrument.symbol
        self._sampled = SampledBook(instrument.id, options.book_depth, options.book_interval)
        self._resync = Resync(RESUBSCRIBE_PAUSE)
        self._time: int | None = None  # of the latest update since the snapshot; the snapshot has none

    def begin(self, snapshot: Snapshot, received_at: int) -> Sequence[Output]:
        """A snapshot. It is not written before the first update after it, which has a time.

        One that comes while the book stands was not asked for: what the exchange mended we cannot know, so it is a hole.
        """
        standing = self._sampled.book is not None
        out = self._gap(self._sampled.broken("sequence", self._time or received_at)) if standing else []
        book = Book()
        book.apply(snapshot.bids, snapshot.asks)
        self._sampled.book = book
        self._resync.came()
        self._time = None
        return out

    def feed(self, update: Update, received_at: int) -> Sequence[Output]:
        book = self._sampled.book
        if book is None:
            return ()  # what was on its way before the new snapshot
        if update.time.year > 1:
            self._time = max(to_micros(update.time), self._time or 0)
        out: list[Output] = [] if self._time is None else list(self._sampled.due(self._time))
        for side, price, size in update.changes:
            (book.bids if side == "buy" else book.asks).set(price, size)
        if self._time is not None:
            out += self._gap(self._sampled.applied(self._time, received_at))
        if self._sampled.book is None:
            out += self._subscribe_anew(self._resync.want(received_at))
        return out

    def lost(self, now: int) -> Sequence[Output]:
        """A message of this book could not be read: without a sequence nothing else would ever tell."""
        hole = self._sampled.broken("sequence", self._time or now)
        return [*self._gap(hole), *self._subscribe_anew(self._resync.want(now))]

    def tick(self, now: int) -> Sequence[Output]:
        return [*self._sampled.idle(now), *self._subscribe_anew(self._resync.due(now))]

    def _gap(self, gaps: Sequence[Gap]) -> list[Gap]:
        return [*gaps]

    def _subscribe_anew(self, allowed: bool) -> Sequence[Output]:
        channels = {"level2_batch": [self._product]}
        return (to_message("unsubscribe", channels), to_message("subscribe", channels)) if allowed else ()


class Quotes:
    """The latest best bid and ask, sampled by event time. The ticker comes with each trade, not with each change of the book.

    The first ticker answers the subscription: it has the quote of now with the time of the last trade, perhaps hours ago. It is
    not written; the second is, and whatever follows.
    """

    def __init__(self, instrument: Instrument, options: Options) -> None:
        self._instrument_id = instrument.id
        self._sampled = SampledQuote(options.quotes_interval)
        self._answered = False

    def feed(self, ticker: Ticker, received_at: int) -> Sequence[Output]:
        if not self._answered:
            self._answered = True
            return ()
        quote = Quote(
            instrument_id=self._instrument_id,
            time=to_micros(ticker.time),
            writer="",
            bid_price=ticker.best_bid,
            bid_size=ticker.best_bid_size,
            ask_price=ticker.best_ask,
            ask_size=ticker.best_ask_size,
            sequence=ticker.sequence,
            received_at=received_at,
        )
        return self._sampled.seen(quote)

    def lost(self, now: int) -> Sequence[Output]:
        """A ticker could not be read."""
        self._sampled.lost()
        return ()

    def tick(self, now: int) -> Sequence[Output]:
        return self._sampled.idle(now)


class Candles:
    """There is no candle channel: every closed minute is asked for by REST, `delay` after its end.

    A minute without trades has no bar, so that one is missing proves nothing; it is asked for again a few times, and left.
    """

    def __init__(self, instrument: Instrument, options: Options, delay: int) -> None:
        self._instrument = instrument
        self._url = f"{options.rest_url}/products/{instrument.symbol}/candles?granularity=60"
        self._delay = delay
        self._ask_at: int | None = None
        self._tries = 0
        self._minute = 0  # the newest closed minute, when it was last asked for
        self._seen: dict[int, Bar] = {}

    def start(self, now: int) -> None:
        self._ask_at = now + self._delay

    def tick(self, now: int) -> Sequence[Output]:
        if self._ask_at is None or now < self._ask_at:
            return ()
        minute = now // MINUTE * MINUTE - MINUTE
        if minute != self._minute:
            self._minute, self._tries = minute, 0
        self._tries += 1
        self._ask_at = self._again_at(now + ANSWER_WITHIN)
        start, end = to_iso(self._minute - CANDLE_WINDOW), to_iso(self._minute)
        return (Request(f"{self._url}&start={start}&end={end}", tag=self._instrument.symbol),)

    def answer(self, response: Response, now: int) -> Sequence[Output]:
        try:
            bars = decode_bars(response.body)
        except UNREADABLE as error:
            return (malformed(response.body, error),)
        as_of = now if response.made_at is None else min(now, response.made_at)
        out = [output for bar in reversed(bars) for output in self._closed(bar, response, now, as_of)]
        self._seen = {time: bar for time, bar in self._seen.items() if time >= self._minute - CANDLE_WINDOW}
        self._ask_at = self._next_minute() if self._minute in self._seen else self._again_at(now + CANDLE_RETRY)
        return out

    def _again_at(self, time: int) -> int:
        return time if self._tries < CANDLE_TRIES else self._next_minute()

    def _next_minute(self) -> int:
        return self._minute + 2 * MINUTE + self._delay

    def _closed(self, bar: Bar, response: Response, now: int, as_of: int) -> Sequence[Output]:
        time = bar.start * SECOND
        outside = time < self._minute - CANDLE_WINDOW or time + MINUTE > as_of
        if outside or self._seen.get(time) == bar:
            return ()
        if not all(number.is_finite() for number in (bar.low, bar.high, bar.open, bar.close, bar.volume)):
            return (Malformed(response.body, "value", f"coinbase: {bar} has a value that is no number"),)
        self._seen[time] = bar
        return (to_candle(bar, self._instrument, now),)


def to_message(kind: str, channels: dict[str, list[str]]) -> Send:
    """`subscribe` or `unsubscribe`, for products by channel."""
    named = [{"name": name, "product_ids": products} for name, products in channels.items() if products]
    return Send(msgspec.json.encode({"type": kind, "channels": named}).decode())


def to_trade(fill: Match | LastMatch | RestTrade, instrument_id: int, received_at: int) -> Trade:
    return Trade(
        instrument_id=instrument_id,
        time=to_micros(fill.time),
        trade_id=fill.trade_id,
        price=fill.price,
        size=fill.size,
        side=to_taker(fill.side),
        received_at=received_at,
    )


def to_candle(bar: Bar, instrument: Instrument, received_at: int) -> Candle:
    return Candle(
        instrument_id=instrument.id,
        interval="1m",
        time=bar.start * SECOND,
        open=to_digits(bar.open),
        high=to_digits(bar.high),
        low=to_digits(bar.low),
        close=to_digits(bar.close),
        volume=to_digits(bar.volume),
        quote_volume=None,
        trades_count=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        first_trade_id=None,
        last_trade_id=None,
        parts=1,
        origin="rest",
        received_at=received_at,
    )
