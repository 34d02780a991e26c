"""The past of Deribit by REST: trades by their number within the instrument, candles by time.

https://docs.deribit.com/#public-get_last_trades_by_instrument
https://docs.deribit.com/#public-get_tradingview_chart_data

How long public trades are kept is not documented. But their numbers are dense: if the one before the first that is told cannot be
had, and the first is not number 1, then older ones are gone, and who asks for them is refused.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from ingest.errors import Reject
from ingest.exchanges._deribit_rest import candles_from_rest, trades_from_rest
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import MINUTE, Trade

VIA: tuple[str, ...] = ("rest",)
ROWS = 1000  # of one answer, trades or bars

T = TypeVar("T")
_Found = Generator[Request, Response | None, T]


def history(ask: HistoryRequest, options: Options, via: str) -> History:
    """As in `flow.Exchange`."""
    if via not in VIA:
        raise Reject(f"deribit: no way '{via}' to the past; known: {', '.join(VIA)}", reason="history")
    match ask.channel:
        case "trades":
            return _trade_history(ask, options)
        case "candles":
            return _candle_history(ask, options)
    raise Reject(f"deribit: no past of '{ask.channel}'; there is one of: trades, candles", reason="history")


def _trade_history(ask: HistoryRequest, options: Options) -> History:
    newest, response = yield from _trades(ask, options, f"end_timestamp={-(-ask.until // 1000)}&count=1&sorting=desc")
    last = ask.last_id or (newest[-1].trade_id if newest else 0)
    cursor = yield from _first_id(ask, options)
    while cursor <= last:
        end = min(cursor + ROWS - 1, last)
        trades, response = yield from _trades(ask, options, f"start_seq={cursor}&end_seq={end}&count={ROWS}&sorting=asc")
        if trades:
            yield ask.page(trades, response, trades[-1].time)
        cursor = end + 1
    yield ask.page((), response)


def _first_id(ask: HistoryRequest, options: Options) -> _Found[int]:
    """The number to begin with. Raises Reject where the exchange no longer has it."""
    since = f"start_timestamp={ask.since // 1000}" if ask.first_id is None else f"start_seq={ask.first_id}"
    found, _ = yield from _trades(ask, options, f"{since}&count=1&sorting=asc")
    if not found:
        return ask.first_id or 1 << 62  # nothing since
    first = found[0]
    if first.trade_id in (ask.first_id, 1):
        return first.trade_id
    if ask.first_id is None:
        before, _ = yield from _trades(ask, options, f"start_seq={first.trade_id - 1}&end_seq={first.trade_id - 1}&count=1")
        if before:
            return first.trade_id
    message = f"the oldest trade that is kept is {first.trade_id} of {first.time} us; asked for since {ask.since} us"
    raise Reject(f"deribit: {ask.instrument.symbol}: {message}", reason="history", code=str(first.time))


def _trades(ask: HistoryRequest, options: Options, query: str) -> _Found[tuple[list[Trade], Response]]:
    """Oldest first."""
    path = f"/api/v2/public/get_last_trades_by_instrument?instrument_name={ask.instrument.symbol}"
    response = yield from answer_to(Request(f"{options.rest_url}{path}&{query}"))
    return trades_from_rest(response.body, ask.instrument, response.received_at), response


def _candle_history(ask: HistoryRequest, options: Options) -> History:
    cursor = ask.since // MINUTE * MINUTE
    while cursor < ask.until:
        last = min(cursor + (ROWS - 1) * MINUTE, (ask.until - 1) // MINUTE * MINUTE)
        times = f"start_timestamp={cursor // 1000}&end_timestamp={last // 1000}"
        path = f"/api/v2/public/get_tradingview_chart_data?instrument_name={ask.instrument.symbol}&{times}&resolution=1"
        response = yield from answer_to(Request(f"{options.rest_url}{path}"))
        candles = candles_from_rest(response.body, ask.instrument, response.received_at)
        yield ask.page([candle for candle in candles if cursor <= candle.time <= last], response, last + MINUTE)
        cursor = last + MINUTE
