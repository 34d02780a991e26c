"""Stooq: daily bars of stock indices, as CSV. https://stooq.com/db/h/

A key is free, but needs a captcha. When the daily limit is reached, the answer has status 200 and the text "Exceeded the daily hits
limit". Some series have no volume. The oldest days (from 1789) repeat one price in all four columns; those before 1971 are counted
and not stored.

Since about 2026-07-29 a program receives a page with status 200 that demands a proof of work by a browser (SHA-256, sent to
`/__verify`), which this module does not compute: https://github.com/Verdenroz/finance-query/issues/263. Whether a key avoids it is
not known. The page disables the provider, as a refused key does.
"""

from __future__ import annotations

from urllib.parse import urlencode

from ingest.errors import Retry
from ingest.polling.csv_rows import csv_rows
from ingest.polling.day_bars import Bar, day_bars
from ingest.polling.db_queries import Filtered
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_day_parts, start_of, within
from ingest.polling.trading_day import OVERLAP, to_date
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
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
        yield within(days, since, until)
    return ""


def _compact(time: int) -> str:
    return to_date(time).replace("-", "")


def _fetch(
    options: PollOptions, symbol: str, index_name: str, span: dict[str, str]
) -> Part[list[StockIndex | Malformed | Filtered]]:
    query = urlencode({"s": symbol, "i": "d", **span})
    answer = yield from answer_to(Request(f"{options.base_url}/q/d/l/?{query}", secret=options.secret))
    text = answer.body[:200].decode("utf-8", "replace")
    if "exceeded the daily hits limit" in text.lower():
        raise Retry(f"{index_name}: {text.strip()[:80]}", after=LIMIT_SECONDS, code="429")
    return day_bars(index_name, NAME, map(_bar, csv_rows(answer.body, HEADER, optional=1)), answer)


def _bar(row: list[str] | Malformed) -> Bar | Malformed:
    return row if isinstance(row, Malformed) else Bar(row[0], row[1:5], row[5] if len(row) > 5 else None)
