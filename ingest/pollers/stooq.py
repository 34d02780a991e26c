"""Stooq: days of stock indices, as CSV. https://stooq.com/db/h/

The key is free, but behind a captcha. What goes wrong comes with status 200, as a line of text: "Exceeded the daily hits limit".
Some series have no volume. Far back (1789) a day has one price, said four times.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from urllib.parse import urlencode

from ingest.errors import Reject, Retry
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_parts
from ingest.polling.trading_day import AGAIN, is_over, to_date, to_time
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
        terms="https://stooq.com/db/: for personal use; the limit of a day is not published",
        default_on=False,
    )
}
ASSETS: dict[str, str] = {}
CHUNK = None
_HEAD = ["Date", "Open", "High", "Low", "Close"]
LIMIT_SECONDS = 6 * 3600.0  # what a day has of requests is gone


def poll(options: PollOptions, cursor: str) -> Poll:
    """All days at first, then the last ones. The cursor is the oldest of the indices' newest days, in microseconds."""
    since = int(cursor) - AGAIN if cursor else 0
    newest: list[int] = []

    def read(symbol: str, index_name: str) -> Poll:
        days = yield from _ask(options, symbol, index_name, {"d1": _compact(since)} if since else {})
        yield days
        newest.extend(day.time for day in days[-1:])
        return ""

    whole = yield from run_parts((index_name, read(symbol, index_name)) for symbol, index_name in INDEXES.items())
    return str(min(newest)) if whole and newest else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    for symbol, index_name in INDEXES.items():
        days = yield from _ask(options, symbol, index_name, {"d1": _compact(since), "d2": _compact(until)})
        yield [day for day in days if since <= day.time < until]
    return ""


def _compact(time: int) -> str:
    return to_date(time).replace("-", "")


def _ask(options: PollOptions, symbol: str, index_name: str, span: dict[str, str]) -> Part[list[StockIndex]]:
    query = urlencode({"s": symbol, "i": "d", **span})
    answer = yield from answer_to(Request(f"{options.base_url}/q/d/l/?{query}", secret=options.secret))
    return list(_days(index_name, answer))


def _days(index_name: str, answer: Response) -> Iterator[StockIndex]:
    text = answer.body.decode("utf-8", "replace")
    if "exceeded the daily hits limit" in text[:200].lower():
        raise Retry(f"{index_name}: {text.strip()[:80]}", after=LIMIT_SECONDS, code="429")
    head, *rows = csv.reader(text.splitlines()) if text else [[]]
    if head[:5] != _HEAD:
        raise Reject(f"the first line is {','.join(head)[:80]!r}; right would be {','.join(_HEAD)!r}", reason="shape")
    for row in filter(None, rows):  # but for lines without anything
        if not len(_HEAD) <= len(row) <= len(head) or not all(map(is_number, row[1:5])):
            raise Reject(f"a day is {','.join(row)!r}; right would be a date and four numbers", reason="value")
        date, opened, high, low, close = row[:5]
        volume = row[5] if len(row) > 5 and is_number(row[5]) else None
        if is_over(time := to_time(date), answer.as_of):
            yield StockIndex(index_name, NAME, time, opened, high, low, close, volume, answer.received_at)
