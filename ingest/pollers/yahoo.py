"""Yahoo Finance's charts: daily bars of stock indices. Unofficial: https://query1.finance.yahoo.com/v8/finance/chart/%5EGSPC

Yahoo does not document it; https://github.com/gadicc/node-yahoo-finance2 describes it. The terms allow only personal use, so it is
off by default. The timestamp of a bar is the opening of the exchange, that of the last bar the last trade; its date in New York is
the trading day. `gmtoffset` is that of today: for days of the other half of the year it is an hour off, which moves no opening to
another day. The lists are parallel and have null for days without trades. An answer without bars has no `timestamp`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import quote, urlencode

from msgspec import Struct, field
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts
from ingest.polling.trading_day import DAY, is_over
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import SECOND, StockIndex, to_digits

NAME = "yahoo"
TABLES = ("stock_indices",)
INDEXES = {"^GSPC": "SPX", "^IXIC": "NASDAQ", "^VIX": "VIX"}
PLANS = {
    "keyless": Plan(
        base_url="https://query1.finance.yahoo.com",
        per_minute=6,
        interval=3600,
        requests=len(INDEXES),
        pause=6 * 3600,
        terms="https://legal.yahoo.com/us/en/yahoo/terms/product-atos/apiforydn/index.html: personal use; unofficial, undocumented",
        default_on=False,
    )
}
ASSETS: dict[str, str] = {}
CHUNK = None
AGENT = {"User-Agent": "Mozilla/5.0 (compatible; ingest)"}  # agents that are not browsers receive status 429


class _Quotes(Struct):
    open: list[Decimal | None] = []
    high: list[Decimal | None] = []
    low: list[Decimal | None] = []
    close: list[Decimal | None] = []
    volume: list[int | None] = []


class _Indicators(Struct):
    quote: list[_Quotes]


class _Meta(Struct):
    gmtoffset: int  # seconds


class _Result(Struct):
    meta: _Meta
    indicators: _Indicators
    timestamp: list[int] = []  # seconds


class _Chart(Struct):
    result: list[_Result] | None
    error: dict[str, str] | None = None


class _Answer(Struct):
    chart: _Chart = field()


_Decoder = Decoder(_Answer)


def poll(options: PollOptions, cursor: str) -> Poll:
    """A year of days at first, then the last month, which may be revised. The cursor is the requested range."""
    past = "1mo" if cursor else "1y"
    parts = ((index_name, _fetch(options, symbol, index_name, {"range": past})) for symbol, index_name in INDEXES.items())
    complete = yield from run_parts(parts)
    return past if complete else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    for symbol, index_name in INDEXES.items():
        days = yield from _fetch(options, symbol, index_name, {"period1": str(since // SECOND), "period2": str(until // SECOND)})
        yield [day for day in days if since <= day.time < until]
    return ""


def _fetch(options: PollOptions, symbol: str, index_name: str, span: dict[str, str]) -> Part[list[StockIndex]]:
    query = urlencode({"interval": "1d", **span})
    answer = yield from answer_to(Request(f"{options.base_url}/v8/finance/chart/{quote(symbol)}?{query}", headers=AGENT))
    return list(_days(index_name, answer))


def _days(index_name: str, answer: Response) -> Iterator[StockIndex]:
    chart = decoded(answer, _Decoder).chart
    if not chart.result:
        raise Reject(f"no chart of {index_name}: {chart.error}", reason="unknown")
    result = chart.result[0]
    quotes = result.indicators.quote[0] if result.indicators.quote else _Quotes()
    columns = (result.timestamp, quotes.open, quotes.high, quotes.low, quotes.close, quotes.volume)
    if len({len(column) for column in columns}) > 1:
        raise Reject(f"the lists of {index_name} have {[len(column) for column in columns]} values", reason="shape")
    for stamp, opened, high, low, close, volume in zip(*columns, strict=True):
        time = (stamp + result.meta.gmtoffset) * SECOND
        time -= time % DAY
        if close is None or not is_over(time, answer.as_of):
            continue
        yield StockIndex(
            index_name,
            NAME,
            time,
            to_digits(opened),
            to_digits(high),
            to_digits(low),
            f"{close:f}",
            volume=str(volume) if volume else None,  # 0 means that there is no volume
            received_at=answer.received_at,
        )
