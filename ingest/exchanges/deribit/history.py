"""The past of Deribit by REST: trades by their number within the instrument, candles by time.

https://docs.deribit.com/#public-get_last_trades_by_instrument
https://docs.deribit.com/#public-get_tradingview_chart_data

How long public trades are kept is not documented. But their numbers are dense: if the first one in the answer is not number 1 and
the one before it cannot be had, older ones are gone, and a request for them is refused.
"""

from __future__ import annotations

from ingest.exchanges.deribit.parse import candles_from_rest, trades_from_rest
from ingest.marketdata.history import Fetch, candle_windows, too_old, trades_by_id
from ingest.marketdata.rest import Rows
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import Trade

ROWS = 1000  # of one answer, trades or bars


def trades(ask: HistoryRequest, options: Options) -> History:
    newest, response = yield from _trades(ask, options, f"end_timestamp={-(-ask.until // 1000)}&count=1&sorting=desc")
    last = ask.last_id or (newest[-1].trade_id if newest else 0)
    first = yield from _first_id(ask, options)

    def fetch(since: int, until: int) -> Fetch[Rows[Trade]]:
        found, _ = yield from _trades(ask, options, f"start_seq={since}&end_seq={until}&count={ROWS}&sorting=asc")
        return found

    yield from trades_by_id(ask, size=ROWS, first=first, last=last, fetch=fetch, response=response)


def _first_id(ask: HistoryRequest, options: Options) -> Fetch[int]:
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
    raise too_old("deribit", ask, f"the oldest trade that is kept is {first.trade_id}", first.time)


def _trades(ask: HistoryRequest, options: Options, query: str) -> Fetch[tuple[Rows[Trade], Response]]:
    """Oldest first."""
    path = f"/api/v2/public/get_last_trades_by_instrument?instrument_name={ask.instrument.symbol}"
    response = yield from answer_to(Request(f"{options.rest_url}{path}&{query}"))
    return trades_from_rest(response.body, ask.instrument, response.received_at), response


def candles(ask: HistoryRequest, options: Options) -> History:
    return candle_windows(ask, options, size=ROWS, question=_bars, read=candles_from_rest)


def _bars(ask: HistoryRequest, options: Options, first: int, last: int) -> Request:
    times = f"start_timestamp={first // 1000}&end_timestamp={last // 1000}"
    path = f"/api/v2/public/get_tradingview_chart_data?instrument_name={ask.instrument.symbol}&{times}&resolution=1"
    return Request(f"{options.rest_url}{path}")
