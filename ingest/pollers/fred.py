"""FRED, of the Federal Reserve Bank of St. Louis: daily closes of stock indices, one day late. https://fred.stlouisfed.org/series/SP500

A series has only closes; open, high and low are stored as NULL. The value of a holiday is `.` or empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ingest.polling.csv_rows import csv_rows
from ingest.polling.day_bars import Bar, day_bars
from ingest.polling.db_queries import Filtered
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_day_parts, start_of, within
from ingest.polling.trading_day import OVERLAP
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
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
HOLIDAY = ("", ".")  # the values of a day without a close


def poll(options: PollOptions, cursor: str) -> Poll:
    """All days at first, then those from `OVERLAP` before the cursor on. The cursor is that of `run_day_parts`."""
    parts = ((index_name, _fetch(options, series, index_name)) for series, index_name in SERIES.items())
    return run_day_parts(parts, cursor, start_of(cursor, OVERLAP))


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds; the file of a series has all days."""
    for series, index_name in SERIES.items():
        yield within((yield from _fetch(options, series, index_name)), since, until)
    return ""


def _fetch(options: PollOptions, series: str, index_name: str) -> Part[list[StockIndex | Malformed | Filtered]]:
    answer = yield from answer_to(Request(f"{options.base_url}/graph/fredgraph.csv?id={series}"))
    return day_bars(index_name, NAME, _bars(csv_rows(answer.body, ("observation_date", series))), answer)


def _bars(rows: Iterable[list[str] | Malformed]) -> Iterator[Bar | Malformed]:
    for row in rows:
        if isinstance(row, Malformed):
            yield row
        elif row[1] not in HOLIDAY:
            yield Bar(row[0], (None, None, None, row[1]))
