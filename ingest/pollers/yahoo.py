"""Yahoo Finance's charts: daily bars of stock indices. Unofficial: https://query1.finance.yahoo.com/v8/finance/chart/%5EGSPC

Yahoo does not document it; https://github.com/gadicc/node-yahoo-finance2 describes it. The terms allow only personal use, so it is
off by default. The timestamp of a bar is the opening of the exchange, that of the last bar the last trade; its date in New York is
the trading day. `gmtoffset` is that of today: for days of the other half of the year it is an hour off, which moves no opening to
another day. The lists are parallel and have null for days without trades. An answer without bars has no `timestamp`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from urllib.parse import quote, urlencode

from msgspec import Raw, Struct, field
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.polling.day_bars import Bar, day_bars
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import elements
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts, within
from ingest.polling.trading_day import DAY
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import SECOND, StockIndex

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
    open: list[Raw] = []
    high: list[Raw] = []
    low: list[Raw] = []
    close: list[Raw] = []
    volume: list[Raw] = []


class _Day(Struct, array_like=True):
    """One place of the parallel lists."""

    stamp: int  # seconds
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    volume: Decimal | None


class _Indicators(Struct):
    quote: list[_Quotes]


class _Meta(Struct):
    gmtoffset: int  # seconds


class _Result(Struct):
    meta: _Meta
    indicators: _Indicators
    timestamp: list[Raw] = []


class _Chart(Struct):
    result: list[_Result] | None
    error: dict[str, str] | None = None


class _Answer(Struct):
    chart: _Chart = field()


_Decoder, _PLACE = Decoder(_Answer), Decoder(_Day)


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
        yield within(days, since, until)
    return ""


def _fetch(
    options: PollOptions, symbol: str, index_name: str, span: dict[str, str]
) -> Part[list[StockIndex | Malformed | Filtered]]:
    query = urlencode({"interval": "1d", **span})
    answer = yield from answer_to(Request(f"{options.base_url}/v8/finance/chart/{quote(symbol)}?{query}", headers=AGENT))
    chart = decoded(answer, _Decoder).chart
    if not chart.result:
        raise Reject(f"no chart of {index_name}: {chart.error}", reason="unknown")
    result = chart.result[0]
    quotes = result.indicators.quote[0] if result.indicators.quote else _Quotes()
    columns = (result.timestamp, quotes.open, quotes.high, quotes.low, quotes.close, quotes.volume)
    if len({len(column) for column in columns}) > 1:
        raise Reject(f"the lists of {index_name} have {[len(column) for column in columns]} values", reason="shape")
    days = (Raw(b"[%s]" % b",".join(map(bytes, day))) for day in zip(*columns, strict=True))
    return day_bars(index_name, NAME, elements(days, _PLACE, partial(_bars, result.meta.gmtoffset)), answer)


def _bars(offset: int, day: _Day) -> Iterator[Bar]:
    time = (day.stamp + offset) * SECOND
    if day.close is not None:
        volume = str(day.volume) if day.volume else None  # 0 means that there is no volume
        yield Bar(time - time % DAY, (day.open, day.high, day.low, day.close), volume)
