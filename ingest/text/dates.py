"""Reads dates as feeds and pages write them: RFC 2822, ISO 8601, and the usual deviations from both.

https://www.rfc-editor.org/rfc/rfc2822#section-3.3, https://www.rfc-editor.org/rfc/rfc3339. Deviations: `GMT+0000` or `UTC` as a
zone, an hour of the zone with one digit (`+5:30`), a zone that touches the time, a leap second, month and day exchanged.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MAX_LENGTH = 100  # characters of a date
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMED_OFFSET = re.compile(r"(?:GMT|UTC)(?=[+-]\d)")  # GMT+0000
_OFFSET = re.compile(r"(?<=\d\d)\s*([+-])(\d{1,2}):(\d\d)\Z|(?<=:\d\d)\s*([+-])(\d\d)(\d\d)\Z")
_LEAP_SECOND = re.compile(r"(?<=:\d\d):60(?!\d)")
_UTC = re.compile(r"\s*(?:UTC|GMT|Z)\Z")


def read_time(text: str) -> int | None:
    """The microseconds since the epoch of a date; None for other text. The default zone of an ISO date is UTC.

    A mail date without a zone, or with an unknown one, is refused, because it may be half a day from UTC.
    """
    text = text.strip()
    if len(text) > MAX_LENGTH:
        return None
    text = _OFFSET.sub(_offset, _NAMED_OFFSET.sub("", _LEAP_SECOND.sub(":59", text)))
    moment = _iso_date(text) or _mail_date(text)
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def _offset(found: re.Match[str]) -> str:
    sign, hours, minutes = found[1] or found[4], found[2] or found[5], found[3] or found[6]
    return f" {sign}{hours:0>2}{minutes}"


def _iso_date(text: str) -> datetime | None:
    compact = re.sub(r"\s+(?=[+-]\d{4}\Z)", "", _UTC.sub("+0000", text))
    try:
        moment = datetime.fromisoformat(compact)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _mail_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter: a year of twenty digits
        return None
    if date.tzinfo is None:  # the zone -0000 is UTC without a local time zone
        return date.replace(tzinfo=UTC) if text.endswith("-0000") else None
    return date
