"""The past of Coinbase Exchange: trades by id, candles by time, all by REST.

https://docs.cdp.coinbase.com/exchange/rest-api/pagination
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles

`after` means older: the page after id 1001 are the ids up to 1000, newest first. As ids are dense, that reads forward as well: the
page after `first + 1000` begins with `first`, and no trade that comes meanwhile moves it. There is no question by time: the first
id of a time is found by bisection. Candles: a selection of more than 300 is refused, and minutes without a trade have none.
"""

from __future__ import annotations

from collections.abc import Generator

from ingest.errors import Reject
from ingest.exchanges._coinbase_frames import to_iso
from ingest.exchanges._coinbase_rest import candles_from_rest, trades_from_rest
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import MINUTE, SECOND, Candle, Trade

VIA: tuple[str, ...] = ("rest",)
TRADES = 1000  # of one answer
BARS = 300
DAY = 1440 * MINUTE

_Trades = Generator[Request, Response | None, tuple[list[Trade], Response]]
_Candles = Generator[Request, Response | None, tuple[list[Candle], Response]]


def history(ask: HistoryRequest, options: Options, via: str) -> History:
    """As in `protocol.exchange.Exchange`."""
    if via not in VIA:
        raise Reject(f"coinbase: no way '{via}' to the past; known: {', '.join(VIA)}", reason="history")
    match ask.channel:
        case "trades":
            return _trade_history(ask, options)
        case "candles":
            return _candle_history(ask, options)
    raise Reject(f"coinbase: no past of '{ask.channel}'; there is one of: trades, candles", reason="history")


# --- trades ------------------------------------------------------------------------------------------------------------


def _trade_history(ask: HistoryRequest, options: Options) -> History:
    newest, response = yield from _trades(ask, options, "limit=1")
    last = newest[0].trade_id if newest else 0
    cursor = ask.first_id
    if cursor is None:
        cursor = yield from _first_id(ask, options, last)
    if ask.last_id is not None:
        last = min(last, ask.last_id)
    while cursor <= last:
        end = min(cursor + TRADES, last + 1)
        trades, _ = yield from _trades(ask, options, f"after={end}&limit={TRADES}")
        trades = [trade for trade in trades if trade.trade_id >= cursor]
        if trades:
            yield ask.page(trades, response, trades[-1].time)
        if trades and ask.is_past(trades[-1]):
            break
        cursor = end
    # what came after the first answer was not looked at: it is that answer that says how far all was told
    yield ask.page((), response)


def _first_id(ask: HistoryRequest, options: Options, last: int) -> Generator[Request, Response | None, int]:
    """The first id at or after `ask.since`, `last` + 1 where there is none."""
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        trades, _ = yield from _trades(ask, options, f"after={middle + 1}&limit=1")
        if trades and trades[0].time >= ask.since:
            high = trades[0].trade_id
        else:
            low = middle + 1
    return low


def _trades(ask: HistoryRequest, options: Options, query: str) -> _Trades:
    response = yield from answer_to(Request(f"{options.rest_url}/products/{ask.instrument.symbol}/trades?{query}"))
    return trades_from_rest(response.body, ask.instrument, response.received_at), response


# --- candles -----------------------------------------------------------------------------------------------------------


def _candle_history(ask: HistoryRequest, options: Options) -> History:
    """In windows of 300 minutes; where one is empty, the bars of a day say where the next one is not."""
    cursor, busy_until = ask.since // MINUTE * MINUTE, 0
    while cursor < ask.until:
        end = cursor + BARS * MINUTE
        candles, response = yield from _bars(ask, options, cursor, MINUTE)
        candles = [candle for candle in candles if cursor <= candle.time < end]
        yield ask.page(candles, response, end)
        cursor = end
        if not candles and cursor >= busy_until:
            cursor = yield from _next_busy(ask, options, cursor)
            busy_until = (cursor // DAY + 1) * DAY
    yield ask.page((), response)


def _next_busy(ask: HistoryRequest, options: Options, cursor: int) -> Generator[Request, Response | None, int]:
    """`cursor`, or, where its day has no trade from then on, the beginning of the first day that has."""
    day = cursor // DAY * DAY
    while day < ask.until:
        days, _ = yield from _bars(ask, options, day, DAY)
        busy = [candle.time for candle in days if candle.time >= day]
        if busy:
            return max(cursor, busy[0])
        day += BARS * DAY
    return max(cursor, day)


def _bars(ask: HistoryRequest, options: Options, start: int, length: int) -> _Candles:
    """Up to 300 bars from `start` on; some may be older."""
    span = f"start={to_iso(start)}&end={to_iso(start + (BARS - 1) * length)}"  # both are inclusive
    url = f"{options.rest_url}/products/{ask.instrument.symbol}/candles?granularity={length // SECOND}&{span}"
    response = yield from answer_to(Request(url))
    return candles_from_rest(response.body, ask.instrument, response.received_at), response
