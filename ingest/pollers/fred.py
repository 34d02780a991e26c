"""FRED, of the Federal Reserve Bank of St. Louis: closes of stock indices, a day later. https://fred.stlouisfed.org/series/SP500

A file's only price is the close: open, high and low are unknown, not equal to it. A holiday has a `.`, or nothing, for its value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

from ingest.errors import Reject
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_parts
from ingest.polling.trading_day import AGAIN, to_time
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
    """All days at first, then the last ones. The cursor is the oldest of the series' newest days, in microseconds."""
    since = int(cursor) - AGAIN if cursor else 0
    newest: list[int] = []

    def read(series: str, index_name: str) -> Poll:
        days = yield from _ask(options, series, index_name)
        yield [day for day in days if day.time >= since]
        newest.extend(day.time for day in days[-1:])
        return ""

    whole = yield from run_parts((index_name, read(series, index_name)) for series, index_name in SERIES.items())
    return str(min(newest)) if whole and newest else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds: a series' file has them all."""
    for series, index_name in SERIES.items():
        days = yield from _ask(options, series, index_name)
        yield [day for day in days if since <= day.time < until]
    return ""


def _ask(options: PollOptions, series: str, index_name: str) -> Part[list[StockIndex]]:
    answer = yield from answer_to(Request(f"{options.base_url}/graph/fredgraph.csv?id={series}"))
    return list(_days(series, index_name, answer))


def _days(series: str, index_name: str, answer: Response) -> Iterator[StockIndex]:
    head, *rows = csv.reader(answer.body.decode("ascii", "replace").splitlines()) if answer.body else [[]]
    if head != ["observation_date", series]:
        raise Reject(f"the first line is {','.join(head)[:80]!r}; right would be 'observation_date,{series}'", reason="shape")
    for row in filter(None, rows):  # but for lines without anything
        if len(row) != len(head) or not (row[1] in ("", ".") or is_number(row[1])):
            raise Reject(f"a day is {','.join(row)!r}; right would be a date and a number", reason="value")
        if row[1] in ("", "."):
            continue
        time = to_time(row[0])
        yield StockIndex(index_name, NAME, time, None, None, None, close=row[1], volume=None, received_at=answer.received_at)
