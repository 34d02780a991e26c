"""Trading days of stock exchanges: a date in New York, stored as midnight UTC of that date.

A price of the current day is not a close while the exchange is open. A trading day counts as over when its date is over in UTC,
three to four hours after the closing bell in New York, so no calendar of holidays or clock changes is needed.
https://www.nyse.com/markets/hours-calendars
"""

from __future__ import annotations

from datetime import UTC, datetime

from ingest.errors import Reject
from ingest.records import SECOND

DAY = 86_400 * SECOND
OVERLAP = 10 * DAY  # each turn reports these days before the newest again, because a close may be corrected


def to_time(date: str, form: str = "%Y-%m-%d") -> int:
    """Midnight UTC of the date, in microseconds. Raises Reject (value) for text that is not a date."""
    try:
        day = datetime.strptime(date[:40], form)
    except ValueError as error:
        example = datetime(2026, 7, 23, tzinfo=UTC).strftime(form)
        raise Reject(f"{date[:40]!r} is not a date; right would be '{example}'", reason="value") from error
    return int(day.replace(tzinfo=UTC).timestamp()) * SECOND


def to_date(time: int) -> str:
    """The ISO date in UTC of a time in microseconds."""
    return f"{datetime.fromtimestamp(time // SECOND, UTC):%Y-%m-%d}"


def is_over(time: int, as_of: int) -> bool:
    """Whether the trading day that is stored at `time` is over at the time `as_of` (both in microseconds)."""
    return time + DAY <= as_of
