"""The past of Binance: trades by id, candles by time, and both from the archive, with REST where it has no file yet.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints

REST finds trades by id alone; the first id of a time is that of the first aggregate at or after it. `historicalTrades` needs no key
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
from ingest.marketdata.values import MILLISECOND
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest, Page
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import MINUTE, SECOND

ROWS = 1000  # of one answer
_PATHS = {"trade": ("historicalTrades", 25), "aggTrade": ("aggTrades", 4)}  # with weight


# --- REST --------------------------------------------------------------------------------------------------------------


def trades(ask: HistoryRequest, options: Options) -> History:
    path, weight = _PATHS[options.trade_kind]
    cursor = ask.first_id
    if cursor is None:
        aggregates, response = yield from _aggregates(ask, options, ROWS)
        ids = (one.first_id if options.trade_kind == "trade" else one.id for one in aggregates)
        cursor = next((number for number in ids if number >= 0), None)
    while cursor is not None:
        url = f"{options.rest_url}/api/v3/{path}?symbol={ask.instrument.symbol}&fromId={cursor}&limit={ROWS}"
        response = yield from answer_to(Request(url, weight=weight))
        found = trades_from_rest(response.body, ask.instrument, options.trade_kind, response.received_at)
        if found.read < ROWS or ask.is_past(found[-1]):
            yield page_of(ask, found, response)
            return
        yield page_of(ask, found, response, found[-1].time)
        cursor = found[-1].trade_id + 1
    yield ask.page((), response)


def candles(ask: HistoryRequest, options: Options) -> History:
    cursor = ask.since
    while True:
        response = yield from answer_to(_klines(ask, options, cursor, ROWS))
        found = candles_from_rest(response.body, ask.instrument, response.received_at)
        cursor = found[-1].time + MINUTE if found else ask.until
        if found.read < ROWS or cursor >= ask.until:
            yield page_of(ask, found, response)
            return
        yield page_of(ask, found, response, cursor)


def _aggregates(ask: HistoryRequest, options: Options, limit: int) -> Fetch[tuple[list[Aggregate], Response]]:
    path, weight = _PATHS["aggTrade"]
    query = f"symbol={ask.instrument.symbol}&startTime={ask.since // MILLISECOND}&limit={limit}"
    response = yield from answer_to(Request(f"{options.rest_url}/api/v3/{path}?{query}", weight=weight))
    return rows("binance", response.body, Aggregate, lambda row: row), response


def _klines(ask: HistoryRequest, options: Options, since: int, limit: int) -> Request:
    times = f"startTime={since // MILLISECOND}&endTime={(ask.until - 1) // MILLISECOND}"  # both are inclusive
    query = f"symbol={ask.instrument.symbol}&interval=1m&{times}&limit={limit}"
    return Request(f"{options.rest_url}/api/v3/klines?{query}", weight=2)


# --- archive -----------------------------------------------------------------------------------------------------------


class _Span(NamedTuple):
    since: int
    until: int
    period: str


def files(ask: HistoryRequest, options: Options) -> History:
    """Months where all of one is wanted, else days; where there is no file (yet), REST tells what there is."""
    cursor, daily_until = ask.since, 0
    while cursor < ask.until:
        span = _month(cursor)
        if cursor < daily_until or cursor > span.since or span.until > ask.until:
            span = _day(cursor)
        try:
            yield from read_file(ask, options, span.period, cursor)
            cursor = span.until
            yield Page((), min(cursor, ask.until))
        except Reject as error:
            if error.code != "404":
                raise
            part = replace(ask, since=cursor)
            first, response = yield from _first_time(part, options)
            if first is None or first >= ask.until:
                yield ask.page((), response)
                return
            if first >= span.until:
                month = _month(first).since
                cursor = month if month >= span.until else _day(first).since
                yield ask.page((), response, cursor)
            elif span == _day(cursor):
                by_rest = trades if ask.channel == "trades" else candles
                yield from by_rest(replace(part, until=min(span.until, ask.until)), options)
                cursor = span.until
            else:
                daily_until = span.until


def _first_time(ask: HistoryRequest, options: Options) -> Fetch[tuple[int | None, Response]]:
    """When the first row at or after `ask.since` is, None where there is none; and the answer that tells it."""
    if ask.channel == "trades":
        aggregates, response = yield from _aggregates(ask, options, 1)
        times = [one.time_ms * MILLISECOND for one in aggregates]
    else:
        response = yield from answer_to(_klines(ask, options, ask.since, 1))
        times = [one.time for one in candles_from_rest(response.body, ask.instrument, response.received_at)]
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
