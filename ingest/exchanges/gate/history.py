"""The history of Gate by REST: trades and candles, both by time in whole seconds.

https://www.gate.com/docs/developers/apiv4/en/#query-market-transaction-records
https://www.gate.com/docs/developers/apiv4/en/#market-k-line-chart

Trades are kept for 30 days, bars for 10,000 minutes (ccxt/ccxt, issue 27887).
"""

from __future__ import annotations

from msgspec import Struct

from ingest.exchanges.gate.parse import candles_from_rest, trades_from_rest
from ingest.marketdata.history import Fetch, candle_windows, page_of, too_old
from ingest.marketdata.rest import Rows, decode
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Flow, Request, Response, answer_to
from ingest.records import MINUTE, SECOND, Instrument, Trade

ROWS = 1000  # of one response
WIDEST = 86_400  # seconds of the longest request of trades
BARS = 999  # of one response: a range of 1,000 is refused as too broad (ccxt/ccxt, issue 10561)
KEPT = {"trades": 30 * 1440 * MINUTE, "candles": 9_990 * MINUTE}
_KEPT_TEXT = {"trades": "trades are kept for 30 days", "candles": "candles are kept for 10,000 minutes"}


class _Listed(Struct):
    buy_start: int = 0  # seconds
    sell_start: int = 0


def trades(request: HistoryRequest, options: ExchangeOptions) -> History:
    """Ranges of whole seconds, [since, until). A range that fills a response is halved, down to one second, of which all pages are
    read. So neither the order of the rows matters, nor whether the exchange's ranges include their last second.
    """
    cursor, end, width = (yield from _begin(request, options)) // SECOND, request.until // SECOND + 1, 60
    while cursor < end:
        stop = min(cursor + width, end)
        found, response = yield from _fetch(request, options, cursor, stop)
        if found.read >= ROWS and stop - cursor > 1:
            width = (stop - cursor) // 2
            continue
        within = {trade.trade_id: trade for trade in found if cursor <= trade.time // SECOND < stop}
        in_order = sorted(within.values(), key=lambda trade: (trade.time, trade.trade_id))
        yield page_of(request, found.select(in_order), response, stop * SECOND)
        width = min(2 * width, WIDEST) if 4 * len(within) < ROWS else width
        cursor = stop


def candles(request: HistoryRequest, options: ExchangeOptions) -> History:
    begin = yield from _begin(request, options)
    yield from candle_windows(request, options, size=BARS, make_request=_bars, read=candles_from_rest, begin=begin)


def opening(instrument: Instrument, options: ExchangeOptions) -> Flow[int | None]:
    """The time of the market's first candle, where the exchange keeps it; else that of its opening, 0 where it is not known."""
    opened, response = yield from _opened(instrument, options)
    if opened < response.received_at - KEPT["candles"]:
        return opened
    first = opened // MINUTE * MINUTE
    request = HistoryRequest(instrument=instrument, channel="candles", since=first, until=first + BARS * MINUTE)
    response = yield from answer_to(_bars(request, options, first, request.until - MINUTE))
    return min((candle.time for candle in candles_from_rest(response.body, instrument, response.received_at)), default=None)


def _opened(instrument: Instrument, options: ExchangeOptions) -> Flow[tuple[int, Response]]:
    response = yield from answer_to(Request(f"{options.rest_url}/api/v4/spot/currency_pairs/{instrument.symbol}"))
    listed = decode("gate", response.body, _Listed)
    return min(listed.buy_start, listed.sell_start) * SECOND, response


def _begin(request: HistoryRequest, options: ExchangeOptions) -> Fetch[int]:
    """The begin of the range, at the earliest the opening of the market. Raises Reject where the exchange no longer keeps it."""
    opened, response = yield from _opened(request.instrument, options)
    kept_since = response.received_at - KEPT[request.channel]
    begin = max(request.since, opened)
    if begin < kept_since:
        raise too_old("gate", request, _KEPT_TEXT[request.channel], kept_since)
    return begin


def _fetch(request: HistoryRequest, options: ExchangeOptions, since: int, until: int) -> Fetch[tuple[Rows[Trade], Response]]:
    """The first page of a range of more than one second, every page of one second."""
    url = f"{options.rest_url}/api/v4/spot/trades?currency_pair={request.instrument.symbol}&limit={ROWS}&from={since}&to={until}"
    found: Rows[Trade] = Rows()
    number = 1
    while True:
        response = yield from answer_to(Request(f"{url}&page={number}"))
        page = trades_from_rest(response.body, request.instrument, response.received_at)
        found += page
        found.rejected, found.read = [*found.rejected, *page.rejected], found.read + page.read
        if page.read < ROWS or until - since > 1:
            return found, response
        number += 1


def _bars(request: HistoryRequest, options: ExchangeOptions, first: int, last: int) -> Request:
    query = f"currency_pair={request.instrument.symbol}&interval=1m&from={first // SECOND}&to={last // SECOND}"
    return Request(f"{options.rest_url}/api/v4/spot/candlesticks?{query}")
