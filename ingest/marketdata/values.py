"""Checks of foreign numbers, times and levels. A bad value raises ValueError.

A price or size keeps the digits of the exchange. An exact exponent (`5.1e-7`) is written out; a sign, NaN and more than 64
characters are refused. A time outside 2009..2100 is a placeholder or has another unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ingest.records import SECOND, Candle

Level = Sequence[str]  # price and size as digits; further elements are ignored

MILLISECOND = 1000
EARLIEST = 1_230_768_000 * SECOND  # 2009-01-01, before the first trade of any coin
LATEST = 4_102_444_800 * SECOND  # 2100-01-01
AHEAD = 86_400 * SECOND  # by which an exchange's clock may be ahead of ours
MAX_LENGTH = 64  # characters of a number
MAX_EXPONENT = 40
MAX_BAD_LEVELS = 10_000  # of one side of a snapshot; with more it has another format, and reading on would take seconds
MAX_ID = (1 << 63) - 1  # bigint

_EPOCH = datetime.fromtimestamp(0, UTC)
_EXACT = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?[eE][+-]?[0-9]{1,2}").fullmatch


def digits(text: str) -> str:
    """A price or size in plain digits."""
    if text.replace(".", "", 1).isdecimal() and text.isascii() and len(text) <= MAX_LENGTH:
        return text
    if _EXACT(text) is None:
        raise ValueError(f"{text[:80]!r} is not a price or size")
    return decimal_digits(Decimal(text))


def decimal_digits(number: Decimal) -> str:
    """The digits of a JSON number that was decoded to Decimal, without exponent."""
    text = str(number)
    if text.replace(".", "", 1).isdecimal() and len(text) <= MAX_LENGTH:
        return text
    if number.is_signed() or not number.is_finite() or abs(number.adjusted()) > MAX_EXPONENT or len(text) > MAX_LENGTH:
        raise ValueError(f"{text[:80]} is not a price or size")
    return format(number, "f")


def identifier(text: str) -> int:
    """A trade id or sequence from text."""
    if text.isdecimal() and text.isascii() and len(text) < 20:
        number = int(text)
        if number <= MAX_ID:
            return number
    raise ValueError(f"{text[:80]!r} is not an id")


def micros(time: int) -> int:
    """A time in microseconds, unchanged; raises ValueError outside 2009..2100."""
    if EARLIEST <= time < LATEST:
        return time
    raise ValueError(f"time {time} us is not within 2009..2100")


def ahead(time: int, received_at: int) -> ValueError:
    """The error for an event more than AHEAD after its receipt: the grid would write nothing until that time."""
    return ValueError(f"time {time} us is more than a day after it was received, {received_at} us")


def from_text(text: str, unit: int) -> int:
    """Microseconds of a time in text, a whole number of units; `unit` in microseconds."""
    if text.isdecimal() and text.isascii() and len(text) < 20 and EARLIEST <= (time := int(text) * unit) < LATEST:
        return time
    raise ValueError(f"time {text[:80]!r} is not within 2009..2100")


def from_iso(text: str) -> int:
    """Microseconds of an RFC 3339 time; decimals beyond the sixth are cut off, not rounded."""
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except TypeError:
        raise ValueError(f"time {text[:80]!r} has no time zone") from None
    if EARLIEST <= (time := (since.days * 86_400 + since.seconds) * SECOND + since.microseconds) < LATEST:
        return time
    raise ValueError(f"time {text[:80]!r} is not within 2009..2100")


def price_and_size(price: str, size: str) -> tuple[str, str]:
    """Both in plain digits. Hot: one call for each trade instead of four."""
    plain = price.replace(".", "", 1).isdecimal() and size.replace(".", "", 1).isdecimal()
    if plain and price.isascii() and size.isascii() and len(price) + len(size) <= MAX_LENGTH:
        return (price, size)
    return (digits(price), digits(size))


def quote_side(price: str | None, size: str | None) -> tuple[str, str] | tuple[None, None]:
    """Best price and size of one side of a quote; (None, None) for an empty side: one of them is null, empty or zero."""
    if not price or not size or (size[0] in "0." and not size.strip("0.")) or (price[0] in "0." and not price.strip("0.")):
        return (None, None)
    plain = price.replace(".", "", 1).isdecimal() and size.replace(".", "", 1).isdecimal()  # inline: a call costs 80 ns
    if plain and price.isascii() and size.isascii() and len(price) + len(size) <= MAX_LENGTH:
        return (price, size)
    return (digits(price), digits(size))


def decimal_side(price: Decimal | None, size: Decimal | None) -> tuple[str, str] | tuple[None, None]:
    """As `quote_side`, for JSON numbers."""
    return (decimal_digits(price), decimal_digits(size)) if price and size else (None, None)


def check_levels(levels: Sequence[Any]) -> Sequence[Level]:
    """The levels of a change; raises ValueError if one is bad. Hot: one pass, and no new list where all are plain digits."""
    try:
        for level in levels:
            price, size = level[0], level[1]
            plain = price.replace(".", "", 1).isdecimal() and size.replace(".", "", 1).isdecimal()
            if not (plain and (both := price + size).isascii() and len(both) <= MAX_LENGTH) or type(level) is str:
                return list(map(good_level, levels))
    except (AttributeError, LookupError, TypeError):
        return list(map(good_level, levels))
    return levels


def good_level(level: Any) -> Level:
    """Price and size of a level, as decoded from JSON."""
    if not (isinstance(level, list | tuple) and len(level) >= 2 and isinstance(level[0], str) and isinstance(level[1], str)):
        raise ValueError(f"level {str(level)[:80]} is not price and size")
    return (digits(level[0]), digits(level[1]))


def sift_levels(levels: Sequence[Any], read: Callable[[Any], Level] = good_level) -> tuple[Sequence[Level], list[str]]:
    """The good levels of a snapshot, and the error messages of the others. Raises ValueError above MAX_BAD_LEVELS of these."""
    good: list[Level] = []
    bad: list[str] = []
    try:  # the usual case
        return check_levels(levels) if read is good_level else [read(level) for level in levels], bad
    except ValueError:
        pass
    for level in levels:
        try:
            good.append(read(level))
        except ValueError as error:
            bad.append(str(error))
            if len(bad) > MAX_BAD_LEVELS:
                raise
    return good, bad


def price_step(step: str | None) -> str | None:
    """A step of prices or sizes from a listing, above zero; None where the exchange lists none."""
    if not step:
        return None
    if not (text := digits(step)).strip("0."):
        raise ValueError(f"step {step!r} is not above zero")
    return text


def step_of(decimals: int) -> str:
    """The step of a number of decimals: 2 is 0.01."""
    if not 0 <= decimals <= MAX_EXPONENT:
        raise ValueError(f"{decimals} decimals are not within 0..{MAX_EXPONENT}")
    return f"0.{'0' * (decimals - 1)}1" if decimals else "1"


def minute_bar(
    instrument_id: int,
    time: int,
    numbers: Iterable[Any],
    *,
    origin: str,
    received_at: int,
    read: Callable[[Any], str] = digits,
    trades: int | None = None,
) -> Candle:
    """A candle of one minute. `numbers` are open, high, low, close, volume and, where given, quote volume, `trades` their count."""
    opened, high, low, close, volume, *turnover = map(read, numbers)
    sums = volume, turnover[0] if turnover else None, trades, None, None, None, None
    return Candle(instrument_id, "1m", time, opened, high, low, close, *sums, 1, origin, received_at)
