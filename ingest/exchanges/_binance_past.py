"""The past of Binance spot: trades by id, candles by time, and both from the archive with REST where it has no file yet.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints

REST finds trades by id alone; the first id of a time is what the first aggregate at or after it begins with. `historicalTrades`
needs no key since August 2023, but data-api.binance.vision does not serve it.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import Reject
from ingest.exchanges._binance_archive import file_history
from ingest.exchanges._binance_rest import candle_from_rest, rows_from_rest, trade_from_rest
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest, Page
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import MINUTE

VIA: tuple[str, ...] = ("rest", "archive")
LIMIT = 1000
AGGREGATES_WEIGHT, KLINES_WEIGHT = 4, 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _Aggregate(Struct):
    """As much of an element of `/aggTrades` as finds a place in time."""

    a: int  # its own id
    f: int  # the first of its trades; -1 in old ones that have none
    T: int  # milliseconds


_PATHS = {"trade": ("historicalTrades", 25), "aggTrade": ("aggTrades", AGGREGATES_WEIGHT)}  # with weight


def history(ask: HistoryRequest, options: Options, via: str) -> History:
    """As in `protocol.exchange.Exchange`. What is asked by id is always told by REST: the archive's files are found by time."""
    if ask.channel not in ("trades", "candles"):
        raise Reject(f"binance: no past of '{ask.channel}'; there is one of: trades, candles", reason="history")
    if via not in VIA:
        raise Reject(f"binance: no way '{via}' to the past; known: {', '.join(VIA)}", reason="history")
    if via == "rest" or ask.first_id is not None:
        return _by_rest(ask, options)
    return _by_archive(ask, options)


# --- REST --------------------------------------------------------------------------------------------------------------


def _by_rest(ask: HistoryRequest, options: Options) -> History:
    return _trades(ask, options) if ask.channel == "trades" else _candles(ask, options)


def _trades(ask: HistoryRequest, options: Options) -> History:
    path, weight = _PATHS[options.trade_kind]
    cursor = ask.first_id
    if cursor is None:
        response = yield from answer_to(_aggregates(ask, options, LIMIT))
        aggregates = rows_from_rest(response.body, _Aggregate)
        firsts = (aggregate.f if options.trade_kind == "trade" else aggregate.a for aggregate in aggregates)
        cursor = next((first for first in firsts if first >= 0), None)
    while cursor is not None:
        url = f"{options.rest_url}/api/v3/{path}?symbol={ask.instrument.symbol}&fromId={cursor}&limit={LIMIT}"
        response = yield from answer_to(Request(url, weight=weight))
        rows = rows_from_rest(response.body, dict[str, object])
        trades = [trade_from_rest(row, ask.instrument, options.trade_kind, response.received_at) for row in rows]
        if len(trades) < LIMIT or ask.is_past(trades[-1]):
            yield ask.page(trades, response)
            return
        yield ask.page(trades, response, trades[-1].time)
        cursor = trades[-1].trade_id + 1
    yield ask.page((), response)


def _candles(ask: HistoryRequest, options: Options) -> History:
    cursor = ask.since
    while True:
        response = yield from answer_to(_klines(replace(ask, since=cursor), options, LIMIT))
        rows = rows_from_rest(response.body, list[object])
        candles = [candle_from_rest(row, ask.instrument, response.received_at) for row in rows]
        cursor = candles[-1].time + MINUTE if candles else ask.until
        if len(candles) < LIMIT or cursor >= ask.until:
            yield ask.page(candles, response)
            return
        yield ask.page(candles, response, cursor)


def _aggregates(ask: HistoryRequest, options: Options, limit: int) -> Request:
    query = f"symbol={ask.instrument.symbol}&startTime={ask.since // 1000}&limit={limit}"
    return Request(f"{options.rest_url}/api/v3/aggTrades?{query}", weight=AGGREGATES_WEIGHT)


def _klines(ask: HistoryRequest, options: Options, limit: int) -> Request:
    times = f"startTime={ask.since // 1000}&endTime={(ask.until - 1) // 1000}"  # both are inclusive
    query = f"symbol={ask.instrument.symbol}&interval=1m&{times}&limit={limit}"
    return Request(f"{options.rest_url}/api/v3/klines?{query}", weight=KLINES_WEIGHT)


# --- archive -----------------------------------------------------------------------------------------------------------


class _Span(NamedTuple):
    """The time of one file: a month or a day of UTC, in microseconds."""

    since: int
    until: int
    period: str  # as in the file's name


def _by_archive(ask: HistoryRequest, options: Options) -> History:
    """Months where all of one is wanted, else days; where there is no file (yet), REST says what there is."""
    cursor, daily_until = ask.since, 0
    while cursor < ask.until:
        span = _month(cursor)
        if cursor < daily_until or cursor > span.since or span.until > ask.until:
            span = _day(cursor)
        try:
            yield from file_history(ask, options, span.period, cursor)
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
                yield from _by_rest(replace(part, until=min(span.until, ask.until)), options)
                cursor = span.until
            else:
                daily_until = span.until


def _first_time(ask: HistoryRequest, options: Options) -> Generator[Request, Response | None, tuple[int | None, Response]]:
    """When the first row at or after `ask.since` is, None where there is none; and the answer that said so."""
    if ask.channel == "trades":
        response = yield from answer_to(_aggregates(ask, options, 1))
        times = [aggregate.T for aggregate in rows_from_rest(response.body, _Aggregate)]
    else:
        response = yield from answer_to(_klines(ask, options, 1))
        rows = rows_from_rest(response.body, list[object])
        times = [candle_from_rest(row, ask.instrument, 0).time // 1000 for row in rows]
    return (times[0] * 1000 if times else None), response


def _month(time: int) -> _Span:
    day = _date(time).replace(day=1)
    following = (day + timedelta(days=32)).replace(day=1)
    return _Span(_micros(day), _micros(following), f"{day:%Y-%m}")


def _day(time: int) -> _Span:
    day = _date(time)
    return _Span(_micros(day), _micros(day + timedelta(days=1)), f"{day:%Y-%m-%d}")


def _date(time: int) -> datetime:
    return (_EPOCH + time * _MICROSECOND).replace(hour=0, minute=0, second=0, microsecond=0)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
