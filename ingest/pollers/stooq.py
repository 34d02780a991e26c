"""Stooq: daily bars of stock indices, as CSV. https://stooq.com/db/h/

A key is free, but needs a captcha. When the daily limit is reached, the answer has status 200 and the text "Exceeded the daily hits
limit". Some series have no volume. The oldest days (from 1789) repeat one price in all four columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from ingest.errors import Reject, Retry
from ingest.polling.csv_rows import csv_rows
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_day_parts, start_of
from ingest.polling.trading_day import OVERLAP, is_over, to_date, to_time
from ingest.protocol.decode import is_number
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import StockIndex

NAME = "stooq"
TABLES = ("stock_indices",)
INDEXES = {"^spx": "SPX", "^ndq": "NASDAQ"}
PLANS = {
    "free": Plan(
        base_url="https://stooq.com",
        key="apikey",
        key_in="query",
        per_minute=6,
        interval=4 * 3600,
        requests=len(INDEXES),
        terms="https://stooq.com/db/: for personal use; the daily limit is not published",
        default_on=False,
    )
}
ASSETS: dict[str, str] = {}
CHUNK = None
HEADER = ("Date", "Open", "High", "Low", "Close")  # and Volume, if the series has it
LIMIT_SECONDS = 6 * 3600.0  # pause after the daily limit is reached


def poll(options: PollOptions, cursor: str) -> Poll:
    """All days at first, then those from `OVERLAP` before the cursor on. The cursor is that of `run_day_parts`."""
    since = start_of(cursor, OVERLAP)
    span = {"d1": _compact(since)} if since else {}
    parts = ((index_name, _fetch(options, symbol, index_name, span)) for symbol, index_name in INDEXES.items())
    return run_day_parts(parts, cursor, since)


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    for symbol, index_name in INDEXES.items():
        days = yield from _fetch(options, symbol, index_name, {"d1": _compact(since), "d2": _compact(until)})
        yield [day for day in days if since <= day.time < until]
    return ""


def _compact(time: int) -> str:
    return to_date(time).replace("-", "")


def _fetch(options: PollOptions, symbol: str, index_name: str, span: dict[str, str]) -> Part[list[StockIndex]]:
    query = urlencode({"s": symbol, "i": "d", **span})
    answer = yield from answer_to(Request(f"{options.base_url}/q/d/l/?{query}", secret=options.secret))
    return list(_days(index_name, answer))


def _days(index_name: str, answer: Response) -> Iterator[StockIndex]:
    text = answer.body.decode("utf-8", "replace")
    if "exceeded the daily hits limit" in text[:200].lower():
        raise Retry(f"{index_name}: {text.strip()[:80]}", after=LIMIT_SECONDS, code="429")
    for date, opened, high, low, close, *rest in csv_rows(text, HEADER, optional=1):
        if not all(map(is_number, (opened, high, low, close))):
            raise Reject(f"the prices of {date} are {opened}, {high}, {low}, {close}; right would be numbers", reason="value")
        volume = rest[0] if rest and is_number(rest[0]) else None
        if is_over(time := to_time(date), answer.as_of):
            yield StockIndex(index_name, NAME, time, opened, high, low, close, volume, answer.received_at)
