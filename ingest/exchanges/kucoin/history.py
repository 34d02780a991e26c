"""The history of KuCoin by REST: bars by time, and the last hundred trades.

https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-klines
https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-trade-history

Trades have no pages: a request of older ones is refused. A response has at most 1,500 bars, newest first.
"""

from __future__ import annotations

from ingest.exchanges.kucoin.parse import candles_from_rest, trades_from_rest
from ingest.marketdata.history import candle_windows, page_of, too_old
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, answer_to
from ingest.records import MINUTE, SECOND

TRADES = 100  # of the response
BARS = 1000  # of one request


def trades(request: HistoryRequest, options: ExchangeOptions) -> History:
    url = f"{options.rest_url}/api/v1/market/histories?symbol={request.instrument.symbol}"
    response = yield from answer_to(Request(url, weight=2))
    found = trades_from_rest(response.body, request.instrument, response.received_at)
    # fewer trades are all of the market; a full response may lack trades of the oldest one's microsecond
    if found.read >= TRADES and request.since <= found[0].time:
        raise too_old("kucoin", request, f"REST has only the last {TRADES} trades", found[0].time + 1)
    yield page_of(request, found, response)


def candles(request: HistoryRequest, options: ExchangeOptions) -> History:
    return candle_windows(request, options, size=BARS, make_request=_bars, read=candles_from_rest)


def _bars(request: HistoryRequest, options: ExchangeOptions, first: int, last: int) -> Request:
    query = f"symbol={request.instrument.symbol}&type=1min&startAt={first // SECOND}&endAt={(last + MINUTE) // SECOND}"
    return Request(f"{options.rest_url}/api/v1/market/candles?{query}", weight=3)
