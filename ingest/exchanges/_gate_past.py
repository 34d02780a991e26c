"""The past of Gate: trades and candles, both by time, in whole seconds, by REST.

https://www.gate.com/docs/developers/apiv4/en/#query-market-transaction-records
https://www.gate.com/docs/developers/apiv4/en/#market-k-line-chart

The documentation does not say in which order rows come, nor whether the last second belongs to them. So nothing here depends on it:
a stretch that fits into one answer is sorted and cut; one that fills the answer is asked for anew in halves, down to a second,
which is read by pages. Trades are kept for 30 days; of bars, the last 10,000 (ccxt/ccxt, issue 27887).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from msgspec import Struct

from ingest.errors import Reject
from ingest.exchanges._gate_rest import candles_from_rest, result, trades_from_rest
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import MINUTE, SECOND, Trade

VIA: tuple[str, ...] = ("rest",)
ROWS = 1000  # of one answer
BARS = 999  # of one answer: with 1,000 a range is refused as too broad (ccxt/ccxt, issue 10561)
WIDEST = 86_400  # seconds asked for at once
KEPT = {"trades": 30 * 1440 * MINUTE, "candles": 9_990 * MINUTE}

T = TypeVar("T")
_Found = Generator[Request, Response | None, T]


class _Listed(Struct):
    buy_start: int = 0  # seconds
    sell_start: int = 0


def history(ask: HistoryRequest, options: Options, via: str) -> History:
    """As in `flow.Exchange`."""
    if via not in VIA:
        raise Reject(f"gate: no way '{via}' to the past; known: {', '.join(VIA)}", reason="history")
    match ask.channel:
        case "trades":
            return _trade_history(ask, options)
        case "candles":
            return _candle_history(ask, options)
    raise Reject(f"gate: no past of '{ask.channel}'; there is one of: trades, candles", reason="history")


def _trade_history(ask: HistoryRequest, options: Options) -> History:
    begin = yield from _begin(ask, options)
    cursor, end, width = begin // SECOND, ask.until // SECOND + 1, 60
    while cursor < end:
        stop = min(cursor + width, end)
        trades, response = yield from _trades(ask, options, cursor, stop)
        if len(trades) >= ROWS and stop - cursor > 1:
            width = (stop - cursor) // 2
            continue
        trades = sorted({t.trade_id: t for t in trades if cursor <= t.time // SECOND < stop}.values(), key=_place)
        yield ask.page(trades, response, stop * SECOND)
        width = min(2 * width, WIDEST) if 4 * len(trades) < ROWS else width
        cursor = stop
    yield ask.page((), response)


def _place(trade: Trade) -> tuple[int, int]:
    return trade.time, trade.trade_id


def _trades(ask: HistoryRequest, options: Options, since: int, until: int) -> _Found[tuple[list[Trade], Response]]:
    """The first answer to a stretch of more than a second, else all of its pages."""
    url = f"{options.rest_url}/api/v4/spot/trades?currency_pair={ask.instrument.symbol}&limit={ROWS}&from={since}&to={until}"
    trades: list[Trade] = []
    page = 1
    while True:
        response = yield from answer_to(Request(f"{url}&page={page}"))
        rows = trades_from_rest(response.body, ask.instrument, response.received_at)
        trades += rows
        if len(rows) < ROWS or until - since > 1:
            return trades, response
        page += 1


def _candle_history(ask: HistoryRequest, options: Options) -> History:
    begin = yield from _begin(ask, options)
    cursor = begin // MINUTE * MINUTE
    while cursor < ask.until:
        last = min(cursor + (BARS - 1) * MINUTE, (ask.until - 1) // MINUTE * MINUTE)
        query = f"currency_pair={ask.instrument.symbol}&interval=1m&from={cursor // SECOND}&to={last // SECOND}"
        response = yield from answer_to(Request(f"{options.rest_url}/api/v4/spot/candlesticks?{query}"))
        candles = candles_from_rest(response.body, ask.instrument, response.received_at)
        yield ask.page([candle for candle in candles if cursor <= candle.time <= last], response, last + MINUTE)
        cursor = last + MINUTE


def _begin(ask: HistoryRequest, options: Options) -> _Found[int]:
    """Where to begin: a market that was opened later has nothing before. Raises Reject where what is wanted is no longer kept."""
    response = yield from answer_to(Request(f"{options.rest_url}/api/v4/spot/currency_pairs/{ask.instrument.symbol}"))
    listed = result(response.body, _Listed)
    kept_since = response.received_at - KEPT[ask.channel]
    begin = max(ask.since, min(listed.buy_start, listed.sell_start) * SECOND)
    if begin >= kept_since:
        return begin
    kept = "30 days" if ask.channel == "trades" else "10,000 minutes"
    message = (
        f"gate: {ask.instrument.symbol}: {ask.channel} are kept for {kept}, since {kept_since} us; asked for since {ask.since} us"
    )
    raise Reject(message, reason="history", code=str(kept_since))
