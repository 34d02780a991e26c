"""Alpha Vantage: days of the funds that follow the indices. https://www.alphavantage.co/documentation/#daily

It has no index itself: SPY and QQQ stand under their own names, in dollars a share, not in points. A limit that is reached is said
with status 200, as "Note" or "Information", and repeats the key. More than the last 100 days are for paying customers.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from msgspec import Struct, field
from msgspec.json import Decoder

from ingest.errors import Reject, Retry
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts
from ingest.polling.trading_day import AGAIN, is_over, to_time
from ingest.protocol.decode import Number
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import StockIndex

NAME = "alphavantage"
TABLES = ("stock_indices",)
FUNDS = ("SPY", "QQQ")
_TERMS = "https://www.alphavantage.co/terms_of_service/: personal, non-commercial use, unless agreed otherwise"
PLANS = {
    "free": Plan(
        base_url="https://www.alphavantage.co",
        key="apikey",
        key_in="query",
        per_minute=5,
        spread=True,  # not two in a second
        per_month=750,  # 25 a day
        interval=6 * 3600,
        requests=len(FUNDS),
        history=140,  # the last 100 bars
        terms=_TERMS,
        default_on=False,
    ),
    "premium": Plan(
        base_url="https://www.alphavantage.co",
        key="apikey",
        key_in="query",
        per_minute=75,
        spread=True,
        interval=3600,
        requests=len(FUNDS),
        terms=_TERMS,
        default_on=False,
    ),
}
ASSETS: dict[str, str] = {}
CHUNK = None
LIMIT_SECONDS = 6 * 3600.0  # what a day has of requests is gone


class _Day(Struct, rename={"opened": "1. open", "high": "2. high", "low": "3. low", "close": "4. close", "volume": "5. volume"}):
    opened: Number
    high: Number
    low: Number
    close: Number
    volume: Number


class _Answer(Struct):
    days: dict[str, _Day] | None = field(name="Time Series (Daily)", default=None)
    note: str = field(name="Note", default="")
    information: str = field(name="Information", default="")
    error: str = field(name="Error Message", default="")


_Decoder = Decoder(_Answer)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The last 100 days, of which those that may be new are said. The cursor is the oldest of the newest days, in microseconds."""
    since = int(cursor) - AGAIN if cursor else 0
    newest: list[int] = []

    def read(fund: str) -> Poll:
        days = yield from _ask(options, fund, "compact")
        yield [day for day in days if day.time >= since]
        newest.extend(day.time for day in days[-1:])
        return ""

    whole = yield from run_parts((fund, read(fund)) for fund in FUNDS)
    return str(min(newest)) if whole and newest else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    for fund in FUNDS:
        days = yield from _ask(options, fund, "full" if options.plan == "premium" else "compact")
        yield [day for day in days if since <= day.time < until]
    return ""


def _ask(options: PollOptions, fund: str, size: str) -> Part[list[StockIndex]]:
    query = urlencode({"function": "TIME_SERIES_DAILY", "symbol": fund, "outputsize": size})
    answer = yield from answer_to(Request(f"{options.base_url}/query?{query}", secret=options.secret))
    return sorted(_days(fund, answer), key=lambda day: day.time)


def _days(fund: str, answer: Response) -> Iterator[StockIndex]:
    told = decoded(answer, _Decoder)
    said = told.note or told.information or told.error
    if told.days is None:
        raise _refusal(fund, said)
    for date, day in told.days.items():
        if is_over(time := to_time(date), answer.as_of):
            yield StockIndex(fund, NAME, time, day.opened, day.high, day.low, day.close, day.volume, answer.received_at)


def _refusal(fund: str, said: str) -> Retry | Reject:
    """What an answer without days means: a limit (it passes), a key or plan that is wrong (a person mends it), or nothing known."""
    if "rate limit" in said or "call frequency" in said or "spreading out" in said:  # they praise the premium plans, too
        return Retry(f"{fund}: {said}", after=60.0 if "spreading out" in said else LIMIT_SECONDS, code="429")
    if "premium endpoint" in said or "apikey" in said:
        return Reject(f"{fund}: {said}", reason="http", code="403")
    return Reject(f"{fund}: {said or 'no days'}", reason="unknown")
