"""Cboe: every trading day of the VIX since 1990, as one CSV file. https://www.cboe.com/tradable_products/vix/vix_historical_data/

A date is a trading day in New York, written MM/DD/YYYY (mirrors of the file have ISO dates). The file has no rows for holidays.
Some days of 1992 to 2006 have an open outside of low..high; they are stored and flagged. The last line may be cut while the file is
published.
"""

from __future__ import annotations

from ingest.polling.csv_rows import csv_rows
from ingest.polling.day_bars import Bar, day_bars
from ingest.polling.db_queries import Filtered
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_day_parts, start_of, within
from ingest.polling.trading_day import OVERLAP
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import StockIndex

NAME = "cboe"
TABLES = ("stock_indices",)
PLANS = {
    "keyless": Plan(
        base_url="https://cdn.cboe.com",
        per_minute=6,
        interval=3600,
        requests=1,
        terms="https://www.cboe.com/us_disclaimers/: published for information",
    )
}
ASSETS: dict[str, str] = {}
CHUNK = None
PATH = "/api/global/us_indices/daily_prices/VIX_History.csv"
HEADER = ("DATE", "OPEN", "HIGH", "LOW", "CLOSE")


def poll(options: PollOptions, cursor: str) -> Poll:
    """All days at first, then those from `OVERLAP` before the cursor on. The cursor is the newest day, in microseconds."""
    return run_day_parts([("VIX", _fetch(options))], cursor, start_of(cursor, OVERLAP))


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds; the file has all days."""
    yield within((yield from _fetch(options)), since, until)
    return ""


def _fetch(options: PollOptions) -> Part[list[StockIndex | Malformed | Filtered]]:
    answer = yield from answer_to(Request(options.base_url + PATH))
    return day_bars("VIX", NAME, map(_bar, csv_rows(answer.body, HEADER)), answer)


def _bar(row: list[str] | Malformed) -> Bar | Malformed:
    if isinstance(row, Malformed):
        return row
    month, _, rest = row[0].partition("/")
    day, _, year = rest.partition("/")
    return Bar(f"{year}-{month}-{day}" if rest else row[0], row[1:])
