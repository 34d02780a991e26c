"""Cboe: every trading day of the VIX since 1990, as one CSV file. https://www.cboe.com/tradable_products/vix/vix_historical_data/

A date is a trading day in New York, written MM/DD/YYYY (mirrors of the file have ISO dates). The file has no rows for holidays.
"""

from __future__ import annotations

from collections.abc import Iterator

from ingest.errors import Reject
from ingest.polling.csv_rows import csv_rows
from ingest.polling.provider import Plan, Poll, PollOptions, start_of
from ingest.polling.trading_day import OVERLAP, to_time
from ingest.protocol.decode import is_number
from ingest.protocol.http import Request, Response, answer_to
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
    answer = yield from answer_to(Request(options.base_url + PATH))
    days = list(_days(answer))
    since = start_of(cursor, OVERLAP)
    yield [day for day in days if day.time >= since]
    return str(days[-1].time) if days else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds; the file has all days."""
    answer = yield from answer_to(Request(options.base_url + PATH))
    yield [day for day in _days(answer) if since <= day.time < until]
    return ""


def _days(answer: Response) -> Iterator[StockIndex]:
    for date, opened, high, low, close in csv_rows(answer.body.decode("ascii", "replace"), HEADER):
        if not all(map(is_number, (opened, high, low, close))):
            raise Reject(f"the prices of {date} are {opened}, {high}, {low}, {close}; right would be numbers", reason="value")
        time = to_time(date, "%m/%d/%Y" if "/" in date else "%Y-%m-%d")
        yield StockIndex("VIX", NAME, time, opened, high, low, close, volume=None, received_at=answer.received_at)
