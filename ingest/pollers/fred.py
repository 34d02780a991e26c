"""FRED, of the Federal Reserve Bank of St. Louis: closes of stock indices, a day later. https://fred.stlouisfed.org/series/SP500

A file's only price is the close: open, high and low are unknown, not equal to it. A holiday has a `.`, or nothing, for its value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime

from ingest.errors import Reject
from ingest.flow import Plan, Poll, PollOptions, Request, Response, answer_to, is_number
from ingest.records import SECOND, StockIndex

NAME = "fred"
TABLES = ("stock_indices",)
SERIES = {"SP500": "SPX", "NASDAQCOM": "NASDAQ", "VIXCLS": "VIX"}
PLANS = {
    "keyless": Plan(
        base_url="https://fred.stlouisfed.org",
        per_minute=12,
        every=6 * 3600,
        requests=len(SERIES),
        terms="https://fred.stlouisfed.org/legal/: series of others (S&P, Nasdaq, Cboe) are for personal, non-commercial use",
        default_on=False,
    )
}
ASSETS: dict[str, str] = {}
AGAIN = 10 * 86_400 * SECOND  # as cboe's


def poll(options: PollOptions, cursor: str) -> Poll:
    """All days at first, then the last ones. The cursor is the oldest of the series' newest days, in microseconds."""
    since = int(cursor) - AGAIN if cursor else 0
    newest = []
    for series, index_name in SERIES.items():
        answer = yield from answer_to(Request(f"{options.base_url}/graph/fredgraph.csv?id={series}"))
        days = list(_days(series, index_name, answer))
        yield [day for day in days if day.time >= since]
        newest += [days[-1].time] if days else []
    return str(min(newest)) if newest else cursor


def _days(series: str, index_name: str, answer: Response) -> Iterator[StockIndex]:
    head, *rows = csv.reader(answer.body.decode("ascii", "replace").splitlines()) if answer.body else [[]]
    if head != ["observation_date", series]:
        raise Reject(f"the first line is {','.join(head)[:80]!r}; right would be 'observation_date,{series}'", reason="shape")
    for row in rows:
        if len(row) != len(head) or not (row[1] in ("", ".") or is_number(row[1])):
            raise Reject(f"a day is {','.join(row)!r}; right would be a date and a number", reason="value")
        if row[1] in ("", "."):
            continue
        time = _time(row[0])
        yield StockIndex(index_name, NAME, time, None, None, None, close=row[1], volume=None, received_at=answer.received_at)


def _time(date: str) -> int:
    """Midnight UTC of the date, in microseconds."""
    try:
        day = datetime.strptime(date, "%Y-%m-%d")
    except ValueError as error:
        raise Reject(f"a day is {date!r}; right would be '2026-07-23'", reason="value") from error
    return int(day.replace(tzinfo=UTC).timestamp()) * SECOND
