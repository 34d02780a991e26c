"""The history of Kraken by REST: all trades, and candles of the last twelve hours.

https://docs.kraken.com/api-reference/market-data/get-recent-trades
https://docs.kraken.com/api-reference/market-data/get-ohlc-data

`since` and `last` are nanoseconds, finer than a row's own time. The documentation does not state whether the response has the trade
at `since` itself, so each request begins a nanosecond before the end of the previous page, and repeated trades are removed by id.
A response has at most the last 720 closed candles, whatever `since` is. The archive ("time and sales" CSV) has whole seconds and no
trade ids, so its rows cannot be matched with these.
"""

from __future__ import annotations

from ingest.errors import Reject
from ingest.exchanges.kraken.parse import candles_from_rest, pair_name, trades_and_cursor
from ingest.marketdata.history import page_of, too_old
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, answer_to

TRADES = 1000  # of one response
BARS = 720


def trades(request: HistoryRequest, options: ExchangeOptions) -> History:
    url = f"{options.rest_url}/0/public/Trades?pair={pair_name(request.instrument)}&count={TRADES}"
    cursor = (request.since - 1) * 1000  # a microsecond early: the rows' times are rounded
    known: set[int] = set()
    while True:
        response = yield from answer_to(Request(f"{url}&since={cursor}"))
        found, end = trades_and_cursor(response.body, request.instrument, response.received_at)
        new = found.select(trade for trade in found if trade.trade_id not in known)
        if not new and found.read >= TRADES:
            text = f"{len(found)} trades at {end} ns fill a response, so no later trade can be requested"
            raise Reject(f"kraken: {request.instrument.symbol}: {text}", reason="history")
        if not new or request.is_past(new[-1]):
            yield page_of(request, new, response)
            return
        yield page_of(request, new, response, new[-1].time)
        cursor, known = end - 1, {trade.trade_id for trade in found}


def candles(request: HistoryRequest, options: ExchangeOptions) -> History:
    response = yield from answer_to(Request(f"{options.rest_url}/0/public/OHLC?pair={pair_name(request.instrument)}&interval=1"))
    found = candles_from_rest(response.body, request.instrument, response.received_at)
    if found.read >= BARS and request.since < found[0].time:
        raise too_old("kraken", request, f"REST has only the candles of the last {BARS} minutes", found[0].time)
    yield page_of(request, found, response)
