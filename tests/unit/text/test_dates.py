"""Dates as feeds and pages write them."""

from __future__ import annotations

import pytest

from ingest.text.dates import read_time
from tests.support.turns import micros


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("Fri, 25 Sep 2026 14:41:53 +0000", (2026, 9, 25, 14, 41, 53)),
        ("Fri, 25 Sep 2026 14:41:53 GMT", (2026, 9, 25, 14, 41, 53)),
        ("25 Sep 26 14:41 EST", (2026, 9, 25, 19, 41, 0)),
        ("Friday, 25-Sep-26 14:41:53 UTC", (2026, 9, 25, 14, 41, 53)),
        ("Fri,25 September 2026 4:41:60 -0330", (2026, 9, 25, 8, 11, 59)),  # a leap second
        ("2026-09-25T14:41:53Z", (2026, 9, 25, 14, 41, 53)),
        ("2026-09-25T14:41:53+02:00", (2026, 9, 25, 12, 41, 53)),
        ("2026-09-25 14:41:53", (2026, 9, 25, 14, 41, 53)),
        ("Fri, 25 Sep 2026 14:41:53 +02:00", (2026, 9, 25, 12, 41, 53)),
        ("Fri, 25 Sep 2026 14:41:53 -0000", (2026, 9, 25, 14, 41, 53)),  # UTC, without a local time zone (RFC 2822, 3.3)
        ("Fri, 20 Nov 2026 09:00:00 GMT+0000", (2026, 11, 20, 9)),
        ("Fri, 20 Nov 2026 09:00:00 +0000 (UTC)", (2026, 11, 20, 9)),
        ("Fri, Nov 20 2026 09:00:00 +0000", (2026, 11, 20, 9)),
        ("Fri, 20 Nov 2026 14:30:00+5:30", (2026, 11, 20, 9)),
        ("Fri, 20 Nov 2026 14:30:00+0530", (2026, 11, 20, 9)),
        ("2026-11-20 09:00:00 UTC", (2026, 11, 20, 9)),
        ("2026-11-20 09:00:00 +0000", (2026, 11, 20, 9)),
        ("2026-11-20T23:59:60Z", (2026, 11, 20, 23, 59, 59)),
        ("Fri, 25 Sep 2026 14:41:53", None),
        ("Fri, 25 Sep 2026 14:41:53 CET", None),  # RFC 2822 does not define its offset
        ("Fri, 32 Sep 2026 14:41:53 GMT", None),
        ("25 Abc 2026 14:41:53 GMT", None),
        ("Fri, 25 Sep 99999999999999999999 14:41:53 GMT", None),
        ("Fri, 25 Sep 2026 14:41:53 +9900", None),
        ("1790347313", None),
        ("tomorrow", None),
        ("2 hours ago", None),
        ("2026-11-20" + " " * 200 + "x", None),
        ("", None),
    ],
)
def test_dates_as_feeds_write_them(text: str, time: tuple[int, ...] | None) -> None:
    assert read_time(text) == (micros(*time) if time else None)
