"""The history of exchanges without a module here: spot trades and one-minute candles, through ccxt's REST classes.

https://docs.ccxt.com/#/README?id=exchange-structure

ccxt builds the requests and reads the answers; the daemon's HTTP client sends them. ccxt converts JSON numbers to floats, so they
are decoded as digits here. Its candles have six columns, so the exchange's own row is kept beside them. Many exchanges ignore
`since` and send their latest trades; these must not pass for all trades of the range.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.protocol.exchange import Rate
from ingest.protocol.history import HistoryRequest, Page
from ingest.protocol.http import Flow, Request, Response
from ingest.records import MINUTE, SECOND, Candle, Instrument, Record, Trade, hashed_id
from ingest.store.coverage import to_datetime
from ingest.transports.http import Http

# by ccxt's name of the exchange: the position in its own bar of the fields that ccxt's bar lacks
EXTRA_FIELDS: dict[str, dict[str, int | str]] = {
    "binanceus": {"quote_volume": 7, "trades_count": 8, "taker_buy_volume": 9, "taker_buy_quote_volume": 10},
    "bybit": {"quote_volume": 6},
    "htx": {"quote_volume": "vol", "trades_count": "count"},
    "poloniex": {"quote_volume": 4, "taker_buy_quote_volume": 6, "taker_buy_volume": 7, "trades_count": 8},
}
STEP = 60 * MINUTE  # by which the next request advances where an answer has nothing new, but later rows exist
_DIGITS = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")

Read = Callable[[int | None], Awaitable[list[Record]]]  # the records from a time (microseconds) on, or the latest, in time order


class Ccxt:
    """An exchange of ccxt as an `Origin` of history. `name` is the section's name, `protocol` is ccxt's id."""

    VIA: tuple[str, ...] = ("rest",)
    trade_kind = "trade"
    every_minute = False

    def __init__(self, name: str, protocol: str, rest_url: str | None) -> None:
        library = import_module(
            "ccxt.async_support"
        )  # imported only here, because that loads a hundred exchanges and takes a second
        self._errors = import_module("ccxt.base.errors")
        self._name = name
        self._ccxt = exchange = getattr(library, protocol)()
        # the backfill uses half of it; ccxt, which knows the weight of each request, keeps to the same half
        self.rate = Rate(2, 2 * exchange.rateLimit / 1000)
        exchange.rateLimit *= 2
        self.alternative = "a proxy: `proxy` in this exchange's section"
        exchange.number = str
        exchange.has["fetchCurrencies"] = False
        if isinstance(choice := exchange.options.get("fetchMarkets"), dict) and "types" in choice:
            choice["types"] = ["spot"]
        parse = exchange.parse_ohlcv
        exchange.parse_ohlcv = lambda row, market=None: [*parse(row, market), row]
        if rest_url is not None:
            exchange.urls["api"] = _moved(exchange.urls["api"], rest_url)
        self._extra_fields = EXTRA_FIELDS.get(protocol, {})
        self._behind = 0  # microseconds by which the exchange's clock is behind ours

    async def listing(self, http: Http) -> list[Instrument]:
        """Every spot market. Raises Retry or Reject."""
        self._ccxt.fetch = partial(self._fetch, http)
        markets = await self._call(self._ccxt.load_markets())
        return [self._instrument(market) for market in markets.values() if market["spot"]]

    def _instrument(self, market: Mapping[str, Any]) -> Instrument:
        steps = {}
        if self._ccxt.precisionMode == import_module("ccxt").TICK_SIZE:
            steps = {f"{ours}_step": market["precision"][theirs] for ours, theirs in (("price", "price"), ("size", "amount"))}
        return Instrument(
            exchange=self._name,
            symbol=market["id"],
            instrument=market["symbol"],
            base=market["base"],
            quote=market["quote"],
            kind="spot",
            status="halted" if market["active"] is False else "trading",
            **steps,
        )

    async def pages(self, http: Http, request: HistoryRequest, via: str) -> AsyncGenerator[Page, None]:
        """See `Origin`. `listing` must be called before."""
        read = partial(self._trades if request.channel == "trades" else self._candles, request.instrument)
        async for page in pages(request, read, self._name, self._now):
            yield page

    async def opening(self, http: Http, instrument: Instrument) -> int | None:
        """Unknown: its candles are not counted."""
        return None

    def _now(self) -> Response:
        """A response of now; the exchange's clock decides which bars are closed."""
        now = _now()
        return replace(now, made_at=now.received_at - self._behind)

    # --- the answers of ccxt ---------------------------------------------------------------------------------------------------

    async def _trades(self, instrument: Instrument, since: int | None) -> list[Record]:
        now = time.time_ns() // 1000
        rows = await self._call(self._ccxt.fetch_trades(instrument.instrument, _millis(since), self._limit("fetchTrades")))
        return [self._trade(row, instrument, now) for row in rows]

    def _trade(self, row: Mapping[str, Any], instrument: Instrument, received_at: int) -> Trade:
        native = self._required(row, "id")
        is_number = native.isdecimal() and native.isascii() and str(int(native)) == native and int(native) < 1 << 63
        side = self._required(row, "side")
        if side not in ("buy", "sell"):
            raise Reject(f"{self._name}: a trade's side is '{side}'; right would be buy or sell", reason="value")
        return Trade(
            instrument_id=instrument.id,
            time=int(self._required(row, "timestamp")) * 1000,
            trade_id=int(native) if is_number else hashed_id(native),
            price=self._digits(row, "price"),
            size=self._digits(row, "amount"),
            side=side,
            received_at=received_at,
            native_id=None if is_number else native,
        )

    async def _candles(self, instrument: Instrument, since: int | None) -> list[Record]:
        now, limit = time.time_ns() // 1000, self._limit("fetchOHLCV")
        rows = await self._call(self._ccxt.fetch_ohlcv(instrument.instrument, "1m", _millis(since), limit))
        return [self._candle(row, instrument, now) for row in rows]

    def _candle(self, row: list[Any], instrument: Instrument, received_at: int) -> Candle:
        own = row[6] if len(row) > 6 else None
        extra = {field: str(own[place]) for field, place in self._extra_fields.items()} if own is not None else {}
        digits = {name: self._digits(row, place) for place, name in enumerate(("open", "high", "low", "close", "volume"), start=1)}
        count = extra.pop("trades_count", None)
        return Candle(
            instrument_id=instrument.id,
            interval="1m",
            time=int(row[0]) * 1000,
            **digits,
            quote_volume=extra.get("quote_volume"),
            trades_count=None if count is None else int(count),
            taker_buy_volume=extra.get("taker_buy_volume"),
            taker_buy_quote_volume=extra.get("taker_buy_quote_volume"),
            first_trade_id=None,
            last_trade_id=None,
            parts=1,
            origin="rest",
            received_at=received_at,
        )

    def _digits(self, row: Any, name: str | int) -> str:
        text = self._required(row, name)
        if not _DIGITS.fullmatch(text):
            raise Reject(f"{self._name}: '{text}' is not a number: {row!r:.200}", reason="value")
        return text

    def _required(self, row: Any, name: str | int) -> str:
        if row[name] is None:
            raise Reject(f"{self._name}: a row without {name}: {row!r:.200}", reason="shape")
        return str(row[name])

    def _limit(self, method: str) -> int | None:
        """The largest number of rows in one answer, where ccxt knows it."""
        features = (self._ccxt.features or {}).get("spot") or {}
        limit: int | None = (features.get(method) or {}).get("limit")
        return limit

    # --- the requests of ccxt -----------------------------------------------------------------------------------------------------

    async def _fetch(self, http: Http, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Send a request of ccxt, which calls this method. Numbers with a fraction stay text, so that digits are exact."""
        response = await http.run(_get(url))
        if response.made_at is not None:
            self._behind = response.received_at - response.made_at
        text = response.body.decode("utf-8", "replace")
        answer = json.loads(text, parse_float=str)
        self._ccxt.handle_errors(response.status, "OK", url, method, response.headers, text, answer, headers, body)
        return answer

    async def _call(self, call: Awaitable[Any]) -> Any:
        """Await a call of ccxt and translate its exceptions. Raises Retry or Reject."""
        try:
            return await call
        except self._errors.NetworkError as error:
            raise Retry(f"{self._name}: {error}") from error
        except (self._errors.BaseError, LookupError, TypeError, ValueError) as error:
            raise Reject(f"{self._name}: ccxt: {type(error).__name__}: {error}", reason="shape") from error


def _get(url: str) -> Flow[Response]:
    return (yield Request(url))


def _millis(time: int | None) -> int | None:
    return None if time is None else time // 1000


def _moved(urls: Any, rest_url: str) -> Any:
    """The same addresses on another host."""
    if isinstance(urls, dict):
        return {name: _moved(url, rest_url) for name, url in urls.items()}
    return rest_url + urlsplit(urls).path


# --- page by page ---------------------------------------------------------------------------------------------------------


async def pages(
    request: HistoryRequest, read: Read, name: str, clock: Callable[[], Response] | None = None
) -> AsyncGenerator[Page, None]:
    """The pages of the requested range, one for each answer of `read`. `clock` gives a response of now, by the exchange's clock.

    An answer proves that nothing is missing before its rows only where it also has an earlier row: the last one of the page before,
    or one before the range. Raises Reject (reason `history`, code the earliest time that is known to be complete) where

    - the exchange ignores `since` and sends its latest records: an answer then begins no earlier than one without `since`;
    - it has no row before the first one of the range, which may begin with rows that it does not keep; all others are loaded;
    - an answer skips rows: it lacks the last row of the page before.
    """
    now = clock or _now
    received = now()
    latest = await read(None)
    if not latest or latest[0].time < request.since:
        yield request.page(latest, received)
        return
    answer = await _first_answer(request, read, latest, name)
    earliest = (answer or latest)[0].time
    proven = earliest <= request.since
    cursor, seen = request.since, set[object]()
    while True:
        new = [record for record in answer if record.time >= cursor and _key(record) not in seen]
        if new:
            if new[-1].time == cursor == answer[0].time and len(answer) >= len(latest):
                raise Reject(f"{name}: one millisecond has more rows than an answer holds, {len(answer)}", reason="history")
            cursor = new[-1].time
        elif cursor >= latest[-1].time:
            break
        else:
            cursor = min(cursor + STEP, latest[-1].time)
        seen = {_key(record) for record in answer if record.time == cursor}
        yield request.page(new, received, cursor if proven else request.since)
        if cursor >= request.until:
            break
        received = now()
        answer = await _next_answer(read, cursor, seen, name)
    if not proven:
        message = f"its first row is of {to_datetime(earliest):%Y-%m-%d %H:%M:%S}, and nothing shows that there is none before it"
        raise _incomplete(name, message, earliest)
    yield request.page((), received)


async def _first_answer(request: HistoryRequest, read: Read, latest: list[Record], name: str) -> list[Record]:
    """The answer that begins the range, if possible with a row at its beginning or before it."""
    overlap = _overlap(request)
    answer = await read(request.since - overlap)
    if not answer or answer[0].time > request.since:
        answer = await read(request.since - STEP)  # the range may begin with a quiet hour
    if answer and latest[0].time <= answer[0].time:
        # this millisecond may have more rows
        raise _incomplete(name, f"sends its latest {len(latest)} rows only", latest[0].time + 1000)
    if answer and answer[-1].time < request.since:  # the earlier answer ends before the range
        answer = [*answer, *await read(request.since - overlap)]
    return answer


async def _next_answer(read: Read, cursor: int, seen: set[object], name: str) -> list[Record]:
    """The answer from `cursor` on, with the rows `seen` at that time; where the exchange excludes them, it is requested earlier."""
    answer = await read(cursor)
    if not seen or not answer or seen & {_key(record) for record in answer if record.time == cursor}:
        return answer
    earlier = await read(cursor - MINUTE)
    if seen & {_key(record) for record in earlier if record.time == cursor}:
        return earlier
    message = f"the rows after {to_datetime(cursor):%Y-%m-%d %H:%M:%S} begin at {to_datetime(answer[0].time):%H:%M:%S}"
    raise _incomplete(name, f"{message}, without the last row before them", answer[0].time)


def _overlap(request: HistoryRequest) -> int:
    """How much earlier than the range the first request begins: an exchange may exclude the row at `since`."""
    return MINUTE if request.channel == "candles" else SECOND


def _incomplete(name: str, message: str, earliest: int) -> Reject:
    return Reject(f"{name}: {message}", reason="history", code=str(earliest))


def _key(record: Record) -> object:
    return record.trade_id if isinstance(record, Trade) else record.time


def _now() -> Response:
    """A response with the current time. Made before a request, it bounds the time up to which the page is complete."""
    return Response(200, b"", received_at=time.time_ns() // 1000)
