"""The history of Deribit by REST: trades by `trade_seq`, candles by time.

https://docs.deribit.com/#public-get_last_trades_by_instrument
https://docs.deribit.com/#public-get_tradingview_chart_data

The documentation does not state how long public trades are kept. But their numbers are dense: if the first trade of a response is
not number 1 and its predecessor is missing, older trades are gone, and a request for them is refused.
"""

from __future__ import annotations

from ingest.exchanges.deribit.parse import candles_from_rest, trades_from_rest
from ingest.marketdata.history import Fetch, candle_windows, too_old, trades_by_id
from ingest.marketdata.rest import Rows
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import Trade

ROWS = 1000  # of one response, trades or bars


def trades(request: HistoryRequest, options: ExchangeOptions) -> History:
    newest, response = yield from _trades(request, options, f"end_timestamp={-(-request.until // 1000)}&count=1&sorting=desc")
    last = request.last_id or (newest[-1].trade_id if newest else 0)
    first = yield from _first_id(request, options)

    def fetch(since: int, until: int) -> Fetch[Rows[Trade]]:
        found, _ = yield from _trades(request, options, f"start_seq={since}&end_seq={until}&count={ROWS}&sorting=asc")
        return found

    yield from trades_by_id(request, size=ROWS, first=first, last=last, fetch=fetch, response=response)


def _first_id(request: HistoryRequest, options: ExchangeOptions) -> Fetch[int]:
    """The `trade_seq` of the first requested trade. Raises Reject where the exchange no longer has it."""
    since = f"start_timestamp={request.since // 1000}" if request.first_id is None else f"start_seq={request.first_id}"
    found, _ = yield from _trades(request, options, f"{since}&count=1&sorting=asc")
    if not found:
        return request.first_id or 1 << 62  # nothing since
    first = found[0]
    if first.trade_id in (request.first_id, 1):
        return first.trade_id
    if request.first_id is None:
        before, _ = yield from _trades(request, options, f"start_seq={first.trade_id - 1}&end_seq={first.trade_id - 1}&count=1")
        if before:
            return first.trade_id
    raise too_old("deribit", request, f"the oldest trade that is kept is {first.trade_id}", first.time)


def _trades(request: HistoryRequest, options: ExchangeOptions, query: str) -> Fetch[tuple[Rows[Trade], Response]]:
    """Oldest first."""
    path = f"/api/v2/public/get_last_trades_by_instrument?instrument_name={request.instrument.symbol}"
    response = yield from answer_to(Request(f"{options.rest_url}{path}&{query}"))
    return trades_from_rest(response.body, request.instrument, response.received_at), response


def candles(request: HistoryRequest, options: ExchangeOptions) -> History:
    return candle_windows(request, options, size=ROWS, make_request=_bars, read=candles_from_rest)


def _bars(request: HistoryRequest, options: ExchangeOptions, first: int, last: int) -> Request:
    times = f"start_timestamp={first // 1000}&end_timestamp={last // 1000}"
    path = f"/api/v2/public/get_tradingview_chart_data?instrument_name={request.instrument.symbol}&{times}&resolution=1"
    return Request(f"{options.rest_url}{path}")
