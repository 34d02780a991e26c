"""The past of KuCoin by REST: bars by time, and no more than the last hundred trades.

https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-klines
https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-trade-history

The hundred trades cannot be paged: what is older is refused. Of bars at most 1,500 come in an answer, newest first, and none of a
minute without trades is promised.
"""

from __future__ import annotations

from ingest.errors import Reject
from ingest.exchanges._kucoin_rest import candles_from_rest, trades_from_rest
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, answer_to
from ingest.records import MINUTE, SECOND

VIA: tuple[str, ...] = ("rest",)
TRADES = 100  # of the only answer there is
BARS = 1000  # asked for at once
TRADES_WEIGHT, BARS_WEIGHT = 2, 3


def history(ask: HistoryRequest, options: Options, via: str) -> History:
    """As in `flow.Exchange`."""
    if via not in VIA:
        raise Reject(f"kucoin: no way '{via}' to the past; known: {', '.join(VIA)}", reason="history")
    match ask.channel:
        case "trades":
            return _trade_history(ask, options)
        case "candles":
            return _candle_history(ask, options)
    raise Reject(f"kucoin: no past of '{ask.channel}'; there is one of: trades, candles", reason="history")


def _trade_history(ask: HistoryRequest, options: Options) -> History:
    url = f"{options.rest_url}/api/v1/market/histories?symbol={ask.instrument.symbol}"
    response = yield from answer_to(Request(url, weight=TRADES_WEIGHT))
    trades = trades_from_rest(response.body, ask.instrument, response.received_at)
    # with fewer the market has no more; of the oldest one's moment some may be cut off
    if len(trades) >= TRADES and ask.since <= trades[0].time:
        begins = trades[0].time + 1
        message = f"only the last {TRADES} trades are told, since {begins} us; asked for since {ask.since} us"
        raise Reject(f"kucoin: {ask.instrument.symbol}: {message}", reason="history", code=str(begins))
    yield ask.page(trades, response)


def _candle_history(ask: HistoryRequest, options: Options) -> History:
    cursor = ask.since // MINUTE * MINUTE
    while cursor < ask.until:
        end = min(cursor + BARS * MINUTE, -(-ask.until // MINUTE) * MINUTE)
        query = f"symbol={ask.instrument.symbol}&type=1min&startAt={cursor // SECOND}&endAt={end // SECOND}"
        response = yield from answer_to(Request(f"{options.rest_url}/api/v1/market/candles?{query}", weight=BARS_WEIGHT))
        candles = candles_from_rest(response.body, ask.instrument, response.received_at)
        yield ask.page([candle for candle in candles if cursor <= candle.time < end], response, end)
        cursor = end
