"""The days of stock exchanges: a date in New York, kept as midnight UTC of that date. https://www.nyse.com/markets/hours-calendars

The rule one would get wrong: what a provider says of today while the exchange is open is no close. A day is over when its date is
over in UTC, three to four hours after the bell in New York, so no calendar of holidays and no clock change is needed to know it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ingest.errors import Reject
from ingest.records import SECOND

DAY = 86_400 * SECOND
AGAIN = 10 * DAY  # how far behind the newest day days are said again: a close may be corrected


def to_time(date: str, form: str = "%Y-%m-%d") -> int:
    """Midnight UTC of the date, in microseconds. Raises Reject (value) for what is no date."""
    try:
        day = datetime.strptime(date, form)
    except ValueError as error:
        example = datetime(2026, 7, 23, tzinfo=UTC).strftime(form)
        raise Reject(f"a day is {date!r}; right would be '{example}'", reason="value") from error
    return int(day.replace(tzinfo=UTC).timestamp()) * SECOND


def to_date(time: int) -> str:
    """The ISO date, in UTC, of a time in microseconds."""
    return f"{datetime.fromtimestamp(time // SECOND, UTC):%Y-%m-%d}"


def is_over(time: int, as_of: int) -> bool:
    """Whether what was said `as_of` of the day at `time` (both microseconds) is its end."""
    return time + DAY <= as_of
