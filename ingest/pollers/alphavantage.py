"""Alpha Vantage: daily bars of the funds that track the indices. https://www.alphavantage.co/documentation/#daily

It has no index: SPY and QQQ are stored under their own names, in dollars per share, not in points. When a limit is reached, the
answer has status 200 and a "Note" or "Information" that repeats the key. Days before the last 100 need a paid plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from msgspec import Raw, Struct, field
from msgspec.json import Decoder
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.polling.day_bars import Bar, day_bars
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import members
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_day_parts, start_of, within
from ingest.polling.trading_day import OVERLAP
from ingest.protocol.decode import Malformed, Number
from ingest.protocol.http import Request, answer_to
from ingest.records import StockIndex

NAME = "alphavantage"
TABLES = ("stock_indices",)
FUNDS = ("SPY", "QQQ")
_FREE = Plan(
    base_url="https://www.alphavantage.co",
    key="apikey",
    key_in="query",
    per_minute=5,
    spread=True,  # at most one request a second
    per_month=750,  # 25 a day
    interval=6 * 3600,
    requests=len(FUNDS),
    history_days=140,  # the last 100 bars
    terms="https://www.alphavantage.co/terms_of_service/: personal, non-commercial use, unless agreed otherwise",
    default_on=False,
)
PLANS = {
    "free": _FREE,
    "premium": replace(_FREE, per_minute=75, per_month=None, interval=3600, history_days=None),
}
ASSETS: dict[str, str] = {}
CHUNK = None
LIMIT_SECONDS = 6 * 3600.0  # pause after the daily limit is reached


class _Day(Struct, rename={"opened": "1. open", "high": "2. high", "low": "3. low", "close": "4. close", "volume": "5. volume"}):
    opened: Number
    high: Number
    low: Number
    close: Number
    volume: Number | None = None


class _Answer(Struct):
    days: dict[str, Raw] | None = field(name="Time Series (Daily)", default=None)
    note: str = field(name="Note", default="")
    information: str = field(name="Information", default="")
    error: str = field(name="Error Message", default="")


_Decoder, _DAY = Decoder(_Answer), Decoder(_Day)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The last 100 days at first, then those from `OVERLAP` before the cursor on. The cursor is that of `run_day_parts`."""
    parts = ((fund, _fetch(options, fund, "compact")) for fund in FUNDS)
    return run_day_parts(parts, cursor, start_of(cursor, OVERLAP))


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    for fund in FUNDS:
        days = yield from _fetch(options, fund, "full" if options.plan == "premium" else "compact")
        yield within(days, since, until)
    return ""


def _fetch(options: PollOptions, fund: str, size: str) -> Part[list[StockIndex | Malformed | Filtered]]:
    query = urlencode({"function": "TIME_SERIES_DAILY", "symbol": fund, "outputsize": size})
    answer = yield from answer_to(Request(f"{options.base_url}/query?{query}", secret=options.secret))
    body = decoded(answer, _Decoder)
    if body.days is None:
        raise _refusal(fund, body.note or body.information or body.error)
    return day_bars(fund, NAME, members(dict(sorted(body.days.items())), _DAY, _bars), answer)


def _bars(date: str, day: _Day) -> Iterator[Bar]:
    yield Bar(date, (day.opened, day.high, day.low, day.close), day.volume)


def _refusal(fund: str, message: str) -> Retry | Reject:
    """The error of an answer without days: Retry for a limit, Reject for a wrong key or plan and for an unknown message."""
    if "rate limit" in message or "call frequency" in message or "spreading out" in message:  # these mention premium plans too
        return Retry(f"{fund}: {message}", after=60.0 if "spreading out" in message else LIMIT_SECONDS, code="429")
    if "premium endpoint" in message or "apikey" in message:
        return Reject(f"{fund}: {message}", reason="http", code="403")
    return Reject(f"{fund}: {message or 'no days'}", reason="unknown")
