"""The history of Coinbase Exchange by REST: trades by id, candles by time.

https://docs.cdp.coinbase.com/exchange/rest-api/pagination
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles

`after` means older: the page after id 1001 has the ids up to 1000, newest first. Ids are dense, so pages can be read forward too:
the page after `first + 1000` begins with `first`, whatever new trades arrive. There is no request by time: the first id of a time
is found by bisection. A request of more than 300 candles is refused, and minutes without trades have no candle.
"""

from __future__ import annotations

from ingest.exchanges.coinbase.parse import candles_from_rest, candles_path, trades_from_rest
from ingest.marketdata.history import Fetch, page_of, trades_by_id
from ingest.marketdata.rest import Rows
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import MINUTE, SECOND, Candle, Trade

TRADES = 1000  # of one response
BARS = 300
DAY = 1440 * MINUTE


def trades(request: HistoryRequest, options: ExchangeOptions) -> History:
    newest, response = yield from _trades(request, options, "limit=1")
    last = newest[0].trade_id if newest else 0
    first = request.first_id
    if first is None:
        first = yield from _first_id(request, options, last)

    def fetch(since: int, until: int) -> Fetch[Rows[Trade]]:
        found, _ = yield from _trades(request, options, f"after={until + 1}&limit={TRADES}")
        return found.select(trade for trade in found if trade.trade_id >= since)

    last = last if request.last_id is None else min(last, request.last_id)
    yield from trades_by_id(request, size=TRADES, first=first, last=last, fetch=fetch, response=response)


def _first_id(request: HistoryRequest, options: ExchangeOptions, last: int) -> Fetch[int]:
    """The first id at or after `request.since`, `last` + 1 where there is none."""
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        found, _ = yield from _trades(request, options, f"after={middle + 1}&limit=1")
        if found and found[0].time >= request.since:
            high = found[0].trade_id
        else:
            low = middle + 1
    return low


def _trades(request: HistoryRequest, options: ExchangeOptions, query: str) -> Fetch[tuple[Rows[Trade], Response]]:
    response = yield from answer_to(Request(f"{options.rest_url}/products/{request.instrument.symbol}/trades?{query}"))
    return trades_from_rest(response.body, request.instrument, response.received_at), response


def candles(request: HistoryRequest, options: ExchangeOptions) -> History:
    """Pages of 300 minutes. After an empty page, daily bars show where the next candle may be."""
    cursor, busy_until = request.since // MINUTE * MINUTE, 0
    while cursor < request.until:
        end = cursor + BARS * MINUTE
        found, response = yield from _bars(request, options, cursor, MINUTE)
        within = found.select(candle for candle in found if cursor <= candle.time < end)
        yield page_of(request, within, response, end)
        cursor = end
        if not within and cursor >= busy_until:
            cursor = yield from _next_busy(request, options, cursor)
            busy_until = (cursor // DAY + 1) * DAY
    yield request.page((), response)


def _next_busy(request: HistoryRequest, options: ExchangeOptions, cursor: int) -> Fetch[int]:
    """`cursor` if its day has trades, else the beginning of the first later day with trades."""
    day = cursor // DAY * DAY
    while day < request.until:
        days, _ = yield from _bars(request, options, day, DAY)
        busy = [candle.time for candle in days if candle.time >= day]
        if busy:
            return max(cursor, busy[0])
        day += BARS * DAY
    return max(cursor, day)


def _bars(request: HistoryRequest, options: ExchangeOptions, start: int, length: int) -> Fetch[tuple[Rows[Candle], Response]]:
    """Up to 300 bars of `length` from `start` on, both in microseconds; the response may have older bars too."""
    path = candles_path(request.instrument.symbol, start, start + (BARS - 1) * length, length // SECOND)
    response = yield from answer_to(Request(f"{options.rest_url}{path}"))
    return candles_from_rest(response.body, request.instrument, response.received_at), response
