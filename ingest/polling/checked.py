"""Checks of the numbers, times and ids of providers. A bad value raises Reject (value).

The bounds are those of the columns (`schema/migrations`), so that a value that passes here is never refused by the database. A
number keeps its digits; an exact exponent (`5.1e-7`) is written out. NaN, an infinity and more than 64 characters are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Context, Decimal

from ingest.errors import Reject
from ingest.records import SECOND

DAY = 86_400 * SECOND
EARLIEST = 1_230_768_000 * SECOND  # 2009-01-01: an earlier time is an error (0, or a wrong unit)
LATEST = 4_102_444_800 * SECOND  # 2100-01-01
MAX_AHEAD = DAY  # by which a provider's clock may be ahead of ours
MAX_LENGTH = 64  # characters of a number
MAX_EXPONENT = 40
MAX_ID = 500  # characters of an id, which is part of an index
MAX_NAME = 200
MAX_COUNT = (1 << 31) - 1  # int
PRICE, TOTAL, METRIC, CHANGE = Decimal(10**18), Decimal(10**30), Decimal(10**36), Decimal(10**12)  # exclusive maxima

EXACT = Context(prec=200)  # the default of 28 digits would round
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")


def price(number: Decimal | str) -> str:
    """The digits of a number above zero and below 10^18."""
    return _digits(number, lambda value: 0 < value < PRICE, "above 0 and below 10^18")


def amount(number: Decimal | str) -> str:
    """The digits of an amount of a token above zero and below 10^36."""
    return _digits(number, lambda value: 0 < value < METRIC, "above 0 and below 10^36")


def total(number: Decimal | str) -> str:
    """The digits of a sum, such as a volume or a market capitalisation: zero or more, below 10^30."""
    return _digits(number, lambda value: 0 <= value < TOTAL, "at least 0 and below 10^30")


def metric(number: Decimal | str) -> str:
    """The digits of a number of either sign within 10^36."""
    return _digits(number, lambda value: -METRIC < value < METRIC, "within 10^36")


def scaled(number: Decimal | str, factor: int) -> str:
    """The digits of `metric` multiplied by a factor, exactly."""
    return metric(EXACT.multiply(Decimal(metric(number)), factor))


def change(number: Decimal | str) -> str:
    """The digits of a change in percent, -100 or more."""
    return _digits(number, lambda value: -100 <= value < CHANGE, "at least -100 and below 10^12")


def share(number: Decimal | str) -> str:
    """The digits of a score or share from 0 to 100."""
    return _digits(number, lambda value: 0 <= value <= 100, "within 0..100")


def optional(check: Callable[[Decimal | str], str], number: Decimal | str | None) -> str | None:
    """The digits of a number that passes the check; None stays None."""
    return None if number is None else check(number)


def count(number: int) -> int:
    """A count of zero or more that an int column can hold."""
    if 0 <= number <= MAX_COUNT:
        return number
    raise Reject(f"{shown(number)} is not a count within 0..{MAX_COUNT}", reason="value")


def micros(time: int) -> int:
    """A time in microseconds within 2009..2100."""
    if EARLIEST <= time < LATEST:
        return time
    raise Reject(f"the time {shown(time)} us is not within 2009..2100", reason="value")


def time_of(number: Decimal | int | str, unit: int, received_at: int) -> int:
    """Microseconds of a time in whole units of `unit` microseconds, within 2009..2100 and at most a day after `received_at`.

    `received_at` 0 is not known.
    """
    if not isinstance(number, int):
        text = str(number)
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise Reject(f"{shown(number)} is not a time in whole units", reason="value")
        number = int(text)
    time = micros(number * unit)
    if received_at and time > received_at + MAX_AHEAD:
        raise Reject(f"the time {shown(number)} is more than a day after it was received", reason="value")
    return time


def name(text: str) -> str:
    """A name, such as that of an author: at most 200 characters, all of them printable."""
    if len(text) <= MAX_NAME and text.isprintable():
        return text
    raise Reject(f"{shown(text)} is not a name of at most {MAX_NAME} printable characters", reason="value")


def native_id(text: str) -> str:
    """An id: 1 to 500 characters, all of them printable."""
    if 0 < len(text) <= MAX_ID and text.isprintable():
        return text
    raise Reject(f"{shown(text)} is not an id of at most {MAX_ID} printable characters", reason="value")


def shown(value: object) -> str:
    """The beginning of a value, for a message. An int of more digits than Python converts is shown by its size."""
    if isinstance(value, int) and value.bit_length() > 400:
        return f"a number of {value.bit_length()} bits"
    return repr(str(value)[:80])


def _digits(number: Decimal | str, fits: Callable[[Decimal], bool], right: str) -> str:
    text = str(number)
    if len(text) > MAX_LENGTH or _NUMBER.fullmatch(text) is None:
        raise Reject(f"{shown(number)} is not a number", reason="value")
    value = Decimal(text)
    if not fits(value) or abs(value.adjusted()) > MAX_EXPONENT:
        raise Reject(f"{shown(number)} is not {right}", reason="value")
    return f"{value:f}" if "e" in text.lower() else text
