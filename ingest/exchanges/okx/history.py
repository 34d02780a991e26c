"""The history of OKX by REST: trades by id, candles by time.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades-history
https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks-history

`after` means older, `before` newer, both exclusive, and responses are newest first. The ids of single fills are dense, so pages can
be read forward: the page after `first + 100` begins with `first`. Trades are kept for three months; the merged fills of an order
(trade_kind `trades`) have no history.
"""

from __future__ import annotations

from msgspec import Struct

from ingest.errors import Reject
from ingest.exchanges.okx.messages import ENVELOPE, BarRow
from ingest.exchanges.okx.parse import candles_from_rest, trades_from_rest
from ingest.marketdata.history import Fetch, page_of, trades_by_id
from ingest.marketdata.rest import Rows, rows
from ingest.marketdata.values import MILLISECOND, from_text
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import MINUTE, Trade

ROWS = 100  # of one response
KEPT = 85 * 1440 * MINUTE  # a little less than the "last 3 months" of the documentation


class _Listed(Struct):
    listTime: str = ""  # noqa: N815, OKX's name; milliseconds


# --- trades ------------------------------------------------------------------------------------------------------------


def trades(request: HistoryRequest, options: ExchangeOptions) -> History:
    if options.trade_kind != "trades-all":
        raise Reject(f"okx: trade_kind '{options.trade_kind}' has no history; right would be trades-all", reason="history")
    return _fills(request, options)


def _fills(request: HistoryRequest, options: ExchangeOptions) -> History:
    newest, response = yield from _trades(request, options, f"type=2&after={request.until // 1000 + 1}&limit=1")
    last = request.last_id or (newest[0].trade_id if newest else 0)
    first = yield from _first_id(request, options, response.received_at - KEPT)

    def fetch(since: int, until: int) -> Fetch[Rows[Trade]]:
        found, _ = yield from _trades(request, options, f"type=1&after={until + 1}&limit={ROWS}")
        return found.select(trade for trade in reversed(found) if trade.trade_id >= since)

    yield from trades_by_id(request, size=ROWS, first=first, last=last, fetch=fetch, response=response)


def _first_id(request: HistoryRequest, options: ExchangeOptions, kept_since: int) -> Fetch[int]:
    """The first requested id. Raises Reject where the exchange no longer has it."""
    # by time a millisecond earlier, so that it does not matter whether `after` includes its own millisecond
    query = f"type=2&after={request.since // 1000 - 1}" if request.first_id is None else f"type=1&after={request.first_id + 1}"
    before, _ = yield from _trades(request, options, f"{query}&limit=1")
    if before:
        return request.first_id or before[0].trade_id + 1
    oldest = yield from _oldest(request, options)
    if request.first_id is None and (request.since >= kept_since or (yield from _listed(request, options)) >= kept_since):
        return oldest.trade_id if oldest else 1
    code = str(oldest.time) if oldest else ""
    begins = f"trade {oldest.trade_id} of {oldest.time} us" if oldest else "none"
    raise Reject(
        f"okx: {request.instrument.symbol}: trades are kept for 3 months; the oldest is {begins}", reason="history", code=code
    )


def _oldest(request: HistoryRequest, options: ExchangeOptions) -> Fetch[Trade | None]:
    """The oldest trade that the exchange still has, by bisection."""
    newest, _ = yield from _trades(request, options, "type=1&limit=1")
    oldest = newest[0] if newest else None
    low = 1
    while oldest is not None and low < oldest.trade_id:
        middle = (low + oldest.trade_id) // 2
        found, _ = yield from _trades(request, options, f"type=1&after={middle + 1}&limit=1")
        if found:
            oldest = found[0]
        else:
            low = middle + 1
    return oldest


def _listed(request: HistoryRequest, options: ExchangeOptions) -> Fetch[int]:
    """When the market was opened, in microseconds; 0 where the listing has no time."""
    url = f"{options.rest_url}/api/v5/public/instruments?instType=SPOT&instId={request.instrument.symbol}"
    response = yield from answer_to(Request(url))
    data = ENVELOPE.open(response.body)
    return max(rows("okx", data, _Listed, lambda row: from_text(row.listTime, MILLISECOND) if row.listTime else 0), default=0)


def _trades(request: HistoryRequest, options: ExchangeOptions, query: str) -> Fetch[tuple[Rows[Trade], Response]]:
    """Newest first."""
    url = f"{options.rest_url}/api/v5/market/history-trades?instId={request.instrument.symbol}&{query}"
    response = yield from answer_to(Request(url))
    return trades_from_rest(response.body, request.instrument, response.received_at), response


# --- candles -----------------------------------------------------------------------------------------------------------


def candles(request: HistoryRequest, options: ExchangeOptions) -> History:
    """Pages of 100 minutes. After an empty page the next bar is found by bisection."""
    cursor: int | None = request.since // MINUTE * MINUTE
    while cursor is not None and cursor < request.until:
        end = cursor + ROWS * MINUTE
        response = yield from answer_to(_bars(request, options, end, f"&before={cursor // 1000 - 1}&limit={ROWS}"))
        found = candles_from_rest(response.body, request.instrument, response.received_at)
        yield page_of(request, found.select(reversed(found)), response, end)
        cursor = end if found else (yield from _next_bar(request, options, end))
    yield request.page((), response)


def _next_bar(request: HistoryRequest, options: ExchangeOptions, start: int) -> Fetch[int | None]:
    """A time at most one page before the first bar from `start` on; None where there is no such bar."""
    high = yield from _newest_bar(request, options, request.until)
    if high < start:
        return None
    low = start  # no bar is in [start, low), and one is at `high`
    while high - low > ROWS * MINUTE:
        middle = (low + high) // 2 // MINUTE * MINUTE
        found = yield from _newest_bar(request, options, middle)
        low, high = (low, found) if found >= start else (middle, high)
    return low


def _newest_bar(request: HistoryRequest, options: ExchangeOptions, end: int) -> Fetch[int]:
    """The time of the last bar before `end`, closed or open; -1 where there is none."""
    response = yield from answer_to(_bars(request, options, end, "&limit=1"))
    return max(rows("okx", ENVELOPE.open(response.body), BarRow, lambda row: from_text(row[0], MILLISECOND)), default=-1)


def _bars(request: HistoryRequest, options: ExchangeOptions, end: int, rest: str) -> Request:
    path = f"/api/v5/market/history-candles?instId={request.instrument.symbol}&bar=1m"
    return Request(f"{options.rest_url}{path}&after={-(-end // 1000)}{rest}")
