"""The history of Binance: trades by id, candles by time, and both from the archive, with REST where it has no file yet.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints

REST has trades by id only; the first id of a time is that of the first aggregate at or after it. `historicalTrades` needs no key
since August 2023, but data-api.binance.vision does not serve it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from ingest.errors import Reject
from ingest.exchanges.binance.archive import read_file
from ingest.exchanges.binance.messages import Aggregate
from ingest.exchanges.binance.parse import candles_from_rest, trades_from_rest
from ingest.marketdata.history import Fetch, page_of
from ingest.marketdata.rest import rows
from ingest.marketdata.values import EARLIEST, MILLISECOND
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest, Page
from ingest.protocol.http import Flow, Request, Response, answer_to
from ingest.records import MINUTE, SECOND, Instrument

ROWS = 1000  # of one response
_PATHS = {"trade": ("historicalTrades", 25), "aggTrade": ("aggTrades", 4)}  # path, weight


# --- REST --------------------------------------------------------------------------------------------------------------


def trades(request: HistoryRequest, options: ExchangeOptions) -> History:
    path, weight = _PATHS[options.trade_kind]
    cursor = request.first_id
    if cursor is None:
        aggregates, response = yield from _aggregates(request, options, ROWS)
        ids = (row.first_id if options.trade_kind == "trade" else row.id for row in aggregates)
        cursor = next((number for number in ids if number >= 0), None)
    while cursor is not None:
        url = f"{options.rest_url}/api/v3/{path}?symbol={request.instrument.symbol}&fromId={cursor}&limit={ROWS}"
        response = yield from answer_to(Request(url, weight=weight))
        found = trades_from_rest(response.body, request.instrument, options.trade_kind, response.received_at)
        if found.read < ROWS or request.is_past(found[-1]):
            yield page_of(request, found, response)
            return
        yield page_of(request, found, response, found[-1].time)
        cursor = found[-1].trade_id + 1
    yield request.page((), response)


def candles(request: HistoryRequest, options: ExchangeOptions) -> History:
    cursor = request.since
    while True:
        response = yield from answer_to(_klines(request, options, cursor, ROWS))
        found = candles_from_rest(response.body, request.instrument, response.received_at)
        cursor = found[-1].time + MINUTE if found else request.until
        # a short page is not the last one, but for one with bad rows: they would be all of the next page
        if cursor >= request.complete_until(response) or (found.rejected and found.read < ROWS):
            yield page_of(request, found, response)
            return
        yield page_of(request, found, response, cursor)


def opening(instrument: Instrument, options: ExchangeOptions) -> Flow[int | None]:
    """The time of the market's first candle; None where it has none."""
    query = f"symbol={instrument.symbol}&interval=1m&startTime={EARLIEST // MILLISECOND}&limit=1"
    response = yield from answer_to(Request(f"{options.rest_url}/api/v3/klines?{query}", weight=2))
    found = candles_from_rest(response.body, instrument, response.received_at)
    return found[0].time if found else None


def _aggregates(request: HistoryRequest, options: ExchangeOptions, limit: int) -> Fetch[tuple[list[Aggregate], Response]]:
    path, weight = _PATHS["aggTrade"]
    query = f"symbol={request.instrument.symbol}&startTime={request.since // MILLISECOND}&limit={limit}"
    response = yield from answer_to(Request(f"{options.rest_url}/api/v3/{path}?{query}", weight=weight))
    return rows("binance", response.body, Aggregate, lambda row: row), response


def _klines(request: HistoryRequest, options: ExchangeOptions, since: int, limit: int) -> Request:
    times = f"startTime={since // MILLISECOND}&endTime={(request.until - 1) // MILLISECOND}"  # both are inclusive
    query = f"symbol={request.instrument.symbol}&interval=1m&{times}&limit={limit}"
    return Request(f"{options.rest_url}/api/v3/klines?{query}", weight=2)


# --- archive -----------------------------------------------------------------------------------------------------------


class _Span(NamedTuple):
    since: int
    until: int
    period: str


def files(request: HistoryRequest, options: ExchangeOptions) -> History:
    """Files of whole months, else of days, else REST where there is no file (yet)."""
    cursor, daily_until = request.since, 0
    while cursor < request.until:
        span = _month(cursor)
        if cursor < daily_until or cursor > span.since or span.until > request.until:
            span = _day(cursor)
        try:
            yield from read_file(request, options, span.period, cursor)
            cursor = span.until
            yield Page((), min(cursor, request.until))
        except Reject as error:
            if error.code != "404":
                raise
            part = replace(request, since=cursor)
            first, response = yield from _first_time(part, options)
            if first is None or first >= request.until:
                yield request.page((), response)
                return
            if first >= span.until:
                month = _month(first).since
                cursor = month if month >= span.until else _day(first).since
                yield request.page((), response, cursor)
            elif span == _day(cursor):
                by_rest = trades if request.channel == "trades" else candles
                yield from by_rest(replace(part, until=min(span.until, request.until)), options)
                cursor = span.until
            else:
                daily_until = span.until


def _first_time(request: HistoryRequest, options: ExchangeOptions) -> Fetch[tuple[int | None, Response]]:
    """The time of the first row at or after `request.since`, None where there is none, and the response that has it."""
    if request.channel == "trades":
        aggregates, response = yield from _aggregates(request, options, 1)
        times = [row.time_ms * MILLISECOND for row in aggregates]
    else:
        response = yield from answer_to(_klines(request, options, request.since, 1))
        times = [candle.time for candle in candles_from_rest(response.body, request.instrument, response.received_at)]
    return (times[0] if times else None), response


def _month(time: int) -> _Span:
    day = _date(time).replace(day=1)
    following = (day + timedelta(days=32)).replace(day=1)
    return _Span(_micros(day), _micros(following), f"{day:%Y-%m}")


def _day(time: int) -> _Span:
    day = _date(time)
    return _Span(_micros(day), _micros(day + timedelta(days=1)), f"{day:%Y-%m-%d}")


def _date(time: int) -> datetime:
    return datetime.fromtimestamp(time // SECOND, UTC).replace(hour=0, minute=0, second=0)


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND
