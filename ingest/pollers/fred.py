"""FRED, of the Federal Reserve Bank of St. Louis: daily closes of stock indices, one day late. https://fred.stlouisfed.org/series/SP500

A series has only closes; open, high and low are stored as NULL. The value of a holiday is `.` or empty.
"""

from __future__ import annotations

from collections.abc import Iterator

from ingest.errors import Reject
from ingest.polling.csv_rows import csv_rows
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_day_parts, start_of
from ingest.polling.trading_day import OVERLAP, to_time
from ingest.protocol.decode import is_number
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import StockIndex

NAME = "fred"
TABLES = ("stock_indices",)
SERIES = {"SP500": "SPX", "NASDAQCOM": "NASDAQ", "VIXCLS": "VIX"}
PLANS = {
    "keyless": Plan(
        base_url="https://fred.stlouisfed.org",
        per_minute=12,
        interval=6 * 3600,
        requests=len(SERIES),
        terms="https://fred.stlouisfed.org/legal/: series of others (S&P, Nasdaq, Cboe) are for personal, non-commercial use",
        default_on=False,
    )
}
ASSETS: dict[str, str] = {}
CHUNK = None


def poll(options: PollOptions, cursor: str) -> Poll:
    """All days at first, then those from `OVERLAP` before the cursor on. The cursor is that of `run_day_parts`."""
    parts = ((index_name, _fetch(options, series, index_name)) for series, index_name in SERIES.items())
    return run_day_parts(parts, cursor, start_of(cursor, OVERLAP))


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds; the file of a series has all days."""
    for series, index_name in SERIES.items():
        days = yield from _fetch(options, series, index_name)
        yield [day for day in days if since <= day.time < until]
    return ""


def _fetch(options: PollOptions, series: str, index_name: str) -> Part[list[StockIndex]]:
    answer = yield from answer_to(Request(f"{options.base_url}/graph/fredgraph.csv?id={series}"))
    return list(_days(series, index_name, answer))


def _days(series: str, index_name: str, answer: Response) -> Iterator[StockIndex]:
    for date, close in csv_rows(answer.body.decode("ascii", "replace"), ("observation_date", series)):
        if close in ("", "."):
            continue
        if not is_number(close):
            raise Reject(f"the close of {date} is {close!r}; right would be a number", reason="value")
        yield StockIndex(index_name, NAME, to_time(date), None, None, None, close, volume=None, received_at=answer.received_at)
