"""The past of OKX: trades by id, candles by time, all by REST.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades-history
https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks-history

`after` means older, `before` newer, both exclusive, and answers are newest first. As the ids of single fills are dense, the page
after `first + 100` begins with `first`: so it is read forward. Trades are kept for three months; the fills of an order merged
(trade_kind `trades`) have no past.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from msgspec import Struct

from ingest.errors import Reject
from ingest.exchanges._okx_rest import candles_from_rest, result, trades_from_rest
from ingest.exchanges._okx_streams import BarRow, to_micros
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import MINUTE, Trade

VIA: tuple[str, ...] = ("rest",)
ROWS = 100  # of one answer
KEPT = 85 * 1440 * MINUTE  # a little less than "last 3 months", whichever they are

T = TypeVar("T")
_Found = Generator[Request, Response | None, T]


class _Listed(Struct):
    listTime: str = ""  # noqa: N815, OKX's name; milliseconds


def history(ask: HistoryRequest, options: Options, via: str) -> History:
    """As in `flow.Exchange`."""
    if via not in VIA:
        raise Reject(f"okx: no way '{via}' to the past; known: {', '.join(VIA)}", reason="history")
    match ask.channel:
        case "trades" if options.trade_kind == "trades-all":
            return _trade_history(ask, options)
        case "trades":
            raise Reject(f"okx: no past of trade_kind '{options.trade_kind}'; there is one of: trades-all", reason="history")
        case "candles":
            return _candle_history(ask, options)
    raise Reject(f"okx: no past of '{ask.channel}'; there is one of: trades, candles", reason="history")


# --- trades ------------------------------------------------------------------------------------------------------------


def _trade_history(ask: HistoryRequest, options: Options) -> History:
    newest, response = yield from _trades(ask, options, f"type=2&after={ask.until // 1000 + 1}&limit=1")
    last = ask.last_id or (newest[0].trade_id if newest else 0)
    cursor = yield from _first_id(ask, options, response.received_at - KEPT)
    while cursor <= last:
        end = min(cursor + ROWS, last + 1)
        trades, _ = yield from _trades(ask, options, f"type=1&after={end}&limit={ROWS}")
        trades = [trade for trade in trades if trade.trade_id >= cursor]
        if trades:
            yield ask.page(trades, response, trades[-1].time)
        cursor = end
    yield ask.page((), response)


def _first_id(ask: HistoryRequest, options: Options, kept_since: int) -> _Found[int]:
    """The id to begin with. Raises Reject where the exchange no longer has it."""
    # by time a millisecond earlier, so that it does not matter whether "earlier than" means that one too
    query = f"type=2&after={ask.since // 1000 - 1}" if ask.first_id is None else f"type=1&after={ask.first_id + 1}"
    before, _ = yield from _trades(ask, options, f"{query}&limit=1")
    if before:
        return ask.first_id or before[0].trade_id + 1
    oldest = yield from _oldest(ask, options)
    if ask.first_id is None and (ask.since >= kept_since or (yield from _listed(ask, options)) >= kept_since):
        return oldest.trade_id if oldest else 1
    code = str(oldest.time) if oldest else ""
    begins = f"trade {oldest.trade_id} of {oldest.time} us" if oldest else "none"
    raise Reject(f"okx: {ask.instrument.symbol}: trades are kept for 3 months; the oldest is {begins}", reason="history", code=code)


def _oldest(ask: HistoryRequest, options: Options) -> _Found[Trade | None]:
    """The first trade that the exchange still has, by bisection."""
    newest, _ = yield from _trades(ask, options, "type=1&limit=1")
    oldest = newest[0] if newest else None
    low = 1
    while oldest is not None and low < oldest.trade_id:
        middle = (low + oldest.trade_id) // 2
        found, _ = yield from _trades(ask, options, f"type=1&after={middle + 1}&limit=1")
        if found:
            oldest = found[0]
        else:
            low = middle + 1
    return oldest


def _listed(ask: HistoryRequest, options: Options) -> _Found[int]:
    """When the market was opened, in microseconds; 0 where that is not said."""
    url = f"{options.rest_url}/api/v5/public/instruments?instType=SPOT&instId={ask.instrument.symbol}"
    response = yield from answer_to(Request(url))
    return max((int(listed.listTime or 0) * 1000 for listed in result(response.body, list[_Listed])), default=0)


def _trades(ask: HistoryRequest, options: Options, query: str) -> _Found[tuple[list[Trade], Response]]:
    """Oldest first."""
    url = f"{options.rest_url}/api/v5/market/history-trades?instId={ask.instrument.symbol}&{query}"
    response = yield from answer_to(Request(url))
    return trades_from_rest(response.body, ask.instrument, response.received_at)[::-1], response


# --- candles -----------------------------------------------------------------------------------------------------------


def _candle_history(ask: HistoryRequest, options: Options) -> History:
    """In windows of 100 minutes; where one is empty, the next bar is looked for."""
    cursor: int | None = ask.since // MINUTE * MINUTE
    while cursor is not None and cursor < ask.until:
        end = cursor + ROWS * MINUTE
        response = yield from answer_to(_bars(ask, options, end, f"&before={cursor // 1000 - 1}&limit={ROWS}"))
        candles = candles_from_rest(response.body, ask.instrument, response.received_at)[::-1]
        yield ask.page(candles, response, end)
        cursor = end if candles else (yield from _next_bar(ask, options, end))
    yield ask.page((), response)


def _next_bar(ask: HistoryRequest, options: Options, start: int) -> _Found[int | None]:
    """Where to go on: at most a window before the first bar from `start` on; None where there is none."""
    high = yield from _newest_bar(ask, options, ask.until)
    if high < start:
        return None
    low = start  # no bar is in [start, low), and one is at `high`
    while high - low > ROWS * MINUTE:
        middle = (low + high) // 2 // MINUTE * MINUTE
        found = yield from _newest_bar(ask, options, middle)
        low, high = (low, found) if found >= start else (middle, high)
    return low


def _newest_bar(ask: HistoryRequest, options: Options, end: int) -> _Found[int]:
    """The time of the last bar before `end`, closed or not; -1 where there is none."""
    response = yield from answer_to(_bars(ask, options, end, "&limit=1"))
    rows = result(response.body, list[BarRow])
    return to_micros(rows[0][0]) if rows else -1


def _bars(ask: HistoryRequest, options: Options, end: int, rest: str) -> Request:
    path = f"/api/v5/market/history-candles?instId={ask.instrument.symbol}&bar=1m"
    return Request(f"{options.rest_url}{path}&after={-(-end // 1000)}{rest}")
