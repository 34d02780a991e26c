"""The past of Kraken by REST: trades from the first day on, candles of the last twelve hours.

https://docs.kraken.com/api-reference/market-data/get-recent-trades
https://docs.kraken.com/api-reference/market-data/get-ohlc-data

`since` and `last` are nanoseconds, finer than a row's own time. The documentation does not say whether the trade at `since` itself
is in the answer, so each page begins a nanosecond before the end of the one before, and what that one had is left out by its id.
An answer has 720 closed candles and no more, whatever is asked for. The archive ("time and sales" CSV) has whole seconds and no
trade ids, so its rows cannot be matched with these.
"""

from __future__ import annotations

from ingest.errors import Reject
from ingest.exchanges.kraken.parse import candles_from_rest, pair_name, trades_and_cursor
from ingest.marketdata.history import page_of, too_old
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, answer_to

TRADES = 1000  # of one answer
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
            raise Reject(
                f"kraken: {request.instrument.symbol}: {len(found)} trades at {end} ns, no way past them", reason="history"
            )
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
