"""The past of Kraken, by REST: trades from the first day on, candles of the last twelve hours.

https://docs.kraken.com/api-reference/market-data/get-recent-trades
https://docs.kraken.com/api-reference/market-data/get-ohlc-data

`since` and `last` are nanoseconds, finer than a row's own time. Whether the trade at `since` itself is said is not documented, so
each page is asked for from a nanosecond before the end of the one before, and what that one had is left out by its id. Candles:
720 closed ones and no more, whatever is asked.
"""

from __future__ import annotations

from ingest.errors import Reject
from ingest.exchanges._kraken_rest import candles_from_rest, pair_name, trades_and_cursor
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, answer_to

VIA: tuple[str, ...] = ("rest",)
TRADES = 1000  # of one answer
BARS = 720


def history(ask: HistoryRequest, options: Options, via: str) -> History:
    """As in `protocol.exchange.Exchange`."""
    if via not in VIA:
        raise Reject(f"kraken: no way '{via}' to the past; known: {', '.join(VIA)}", reason="history")
    match ask.channel:
        case "trades":
            return _trade_history(ask, options)
        case "candles":
            return _candle_history(ask, options)
    raise Reject(f"kraken: no past of '{ask.channel}'; there is one of: trades, candles", reason="history")


def _trade_history(ask: HistoryRequest, options: Options) -> History:
    url = f"{options.rest_url}/0/public/Trades?pair={pair_name(ask.instrument)}&count={TRADES}"
    cursor = (ask.since - 1) * 1000  # a microsecond early: the rows' times are rounded
    known: set[int] = set()
    while True:
        response = yield from answer_to(Request(f"{url}&since={cursor}"))
        trades, end = trades_and_cursor(response.body, ask.instrument, response.received_at)
        new = [trade for trade in trades if trade.trade_id not in known]
        if not new and len(trades) >= TRADES:
            raise Reject(f"kraken: {ask.instrument.symbol}: {len(trades)} trades at {end} ns, no way past them", reason="history")
        if not new or ask.is_past(new[-1]):
            yield ask.page(new, response)
            return
        yield ask.page(new, response, new[-1].time)
        cursor, known = end - 1, {trade.trade_id for trade in trades}


def _candle_history(ask: HistoryRequest, options: Options) -> History:
    response = yield from answer_to(Request(f"{options.rest_url}/0/public/OHLC?pair={pair_name(ask.instrument)}&interval=1"))
    candles = candles_from_rest(response.body, ask.instrument, response.received_at)
    if len(candles) >= BARS and ask.since < candles[0].time:
        text = f"candles of the last {BARS} minutes alone are given, from {candles[0].time} us on; {ask.since} was asked for"
        raise Reject(f"kraken: {ask.instrument.symbol}: {text}", reason="history", code=str(candles[0].time))
    yield ask.page(candles, response)
