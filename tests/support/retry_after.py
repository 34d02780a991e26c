"""Values of the header Retry-After for the tests of HTTP requests and websocket handshakes.

https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

HOUR, DAY = 3600.0, 86_400.0


def date_in(wait: timedelta) -> str:
    return format_datetime(datetime.now(UTC) + wait, usegmt=True)


BOUNDED_WAITS = [  # (HTTP status, value of the header, seconds that the client waits)
    (429, "7200", HOUR),
    (503, "31536000", HOUR),
    (418, "7200", 7200.0),
    (418, "259200", DAY),  # the longest ban of Binance
    pytest.param(429, date_in(timedelta(days=2)), HOUR, id="429-in two days"),  # all xdist workers must use the same id
    pytest.param(418, date_in(timedelta(days=2)), DAY, id="418-in two days"),
    (429, "99999999999", HOUR),
    (418, "9" * 400, DAY),
    (429, "9" * 5000, HOUR),
    (503, "Fri, 31 Dec 9999 23:59:59 GMT", HOUR),
]
UNREADABLE_WAITS = [
    "",
    "-5",
    "+5",
    "7.5",
    "1e3",
    "7, 7",
    "soon",
    "\N{SUPERSCRIPT TWO}",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "Wed, 30 Sep 99999999999999999999 23:59:30 GMT",
    "Wed, 30 Feb 2026 23:59:30 GMT",
]
