"""The past of KuCoin by REST: bars by time, and no more than the last hundred trades.

https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-klines
https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-trade-history

The hundred trades cannot be paged: what is older is refused. An answer has at most 1,500 bars, newest first.
"""

from __future__ import annotations

from ingest.exchanges.kucoin.parse import candles_from_rest, trades_from_rest
from ingest.marketdata.history import candle_windows, page_of, too_old
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, answer_to
from ingest.records import MINUTE, SECOND

TRADES = 100  # of the only answer there is
BARS = 1000  # asked for at once


def trades(ask: HistoryRequest, options: Options) -> History:
    url = f"{options.rest_url}/api/v1/market/histories?symbol={ask.instrument.symbol}"
    response = yield from answer_to(Request(url, weight=2))
    found = trades_from_rest(response.body, ask.instrument, response.received_at)
    # with fewer the market has no more; of the oldest one's moment some may be cut off
    if found.read >= TRADES and ask.since <= found[0].time:
        raise too_old("kucoin", ask, f"REST has only the last {TRADES} trades", found[0].time + 1)
    yield page_of(ask, found, response)


def candles(ask: HistoryRequest, options: Options) -> History:
    return candle_windows(ask, options, size=BARS, question=_bars, read=candles_from_rest)


def _bars(ask: HistoryRequest, options: Options, first: int, last: int) -> Request:
    query = f"symbol={ask.instrument.symbol}&type=1min&startAt={first // SECOND}&endAt={(last + MINUTE) // SECOND}"
    return Request(f"{options.rest_url}/api/v1/market/candles?{query}", weight=3)
