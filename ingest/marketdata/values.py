"""Checks of foreign numbers, times and levels. A bad value raises ValueError.

A price or size keeps the digits of the exchange. An exact exponent (`5.1e-7`) is written out; a sign, NaN and more than 64
characters are refused. Every price of the listed markets is above zero, so 0 is refused too; the upper bounds are those of the
tables. A time outside 2009..2100 is a placeholder or has another unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from ingest.records import SECOND, Candle, Instrument

Level = Sequence[str]  # price and size as digits; further elements are ignored

MILLISECOND = 1000
EARLIEST = 1_230_768_000 * SECOND  # 2009-01-01, before the first trade of any coin
LATEST = 4_102_444_800 * SECOND  # 2100-01-01
DAY = 86_400 * SECOND
YEAR_ONE = -719_162 * DAY
AHEAD = DAY  # by which an exchange's clock may be ahead of ours
MAX_LENGTH = 64  # characters of a number
MAX_EXPONENT = 40
MAX_BAD_LEVELS = 10_000  # of one side of a snapshot; with more it has another format, and reading on would take seconds
MAX_ID = (1 << 63) - 1  # bigint
MAX_COUNT = (1 << 31) - 1  # int
MAX_NAME = 100  # characters of a symbol, a currency, or an id in text
PRICE_DIGITS = 18  # before the point: a price is below 10^18,
SIZE_DIGITS = 24  # a size or volume below 10^24

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


def price_digits(text: str) -> str:
    """A price in plain digits, above zero."""
    return _bounded(digits(text), PRICE_DIGITS)


def size_digits(text: str) -> str:
    """A size in plain digits, above zero."""
    return _bounded(digits(text), SIZE_DIGITS)


def volume_digits(text: str) -> str:
    """A volume in plain digits; zero in a minute without trades."""
    return _bounded(digits(text), SIZE_DIGITS, zero=True)


def _bounded(text: str, places: int, *, zero: bool = False) -> str:
    """Checks plain digits: below 10^places, and above zero unless `zero`. Hot: a short text needs no split."""
    if not (zero or text.lstrip("0.")):
        raise ValueError(f"{text} is not above zero")
    if len(text) > places and len(text.partition(".")[0].lstrip("0")) > places:
        raise ValueError(f"{text} is not below 10^{places}")
    return text


def decimal_price(number: Decimal) -> str:
    """As `price_digits`, for a JSON number. Hot."""
    text = str(number)
    if number and len(text) <= PRICE_DIGITS and text.replace(".", "", 1).isdecimal():
        return text
    return _bounded(decimal_digits(number), PRICE_DIGITS)


def decimal_size(number: Decimal) -> str:
    """As `size_digits`, for a JSON number. Hot."""
    text = str(number)
    if number and len(text) <= SIZE_DIGITS and text.replace(".", "", 1).isdecimal():
        return text
    return _bounded(decimal_digits(number), SIZE_DIGITS)


def identifier(text: str, most: int = MAX_ID) -> int:
    """A trade id or sequence from text, or another whole number up to `most`."""
    if text.isdecimal() and text.isascii() and len(text) < 20:
        number = int(text)
        if number <= most:
            return number
    raise ValueError(f"{text[:80]!r} is not an id" if most == MAX_ID else f"{text[:80]!r} is not a number within 0..{most}")


def name(text: str) -> str:
    """A symbol, a currency, or an id in text: printable, so that PostgreSQL can store it (it refuses NUL), and short."""
    if text.isprintable() and 0 < len(text) <= MAX_NAME:
        return text
    raise ValueError(f"{text[:80]!r} is not a name of at most {MAX_NAME} printable characters")


class PlaceholderError(ValueError):
    """The first day of the year 1, or the begin of 1970: the exchange knows no time."""


def event_time(read: Callable[..., int], *value: Any) -> int | None:
    """The time of a change of a book, or of a quote, as one of the functions below reads it; None for a placeholder.

    Such an event counts to the one before it, or to its receipt. A trade or a candle without a time is no fact, and is refused.
    """
    try:
        return read(*value)
    except PlaceholderError:
        return None


def micros(time: int) -> int:
    """A time in microseconds, unchanged; raises ValueError outside 2009..2100."""
    if EARLIEST <= time < LATEST:
        return time
    raise _no_time(time, str(time))


def _no_time(time: int, text: str) -> ValueError:
    kind = PlaceholderError if time == 0 or YEAR_ONE <= time < YEAR_ONE + DAY else ValueError
    return kind(f"time {text[:80]!r} is not within 2009..2100")


def ahead(time: int, received_at: int) -> ValueError:
    """The error for an event more than AHEAD after its receipt: the grid would write nothing until that time."""
    return ValueError(f"time {time} us is more than a day after it was received, {received_at} us")


def from_text(text: str, unit: int) -> int:
    """Microseconds of a time in text, a whole number of units; `unit` in microseconds."""
    if text.isdecimal() and text.isascii() and len(text) < 20 and EARLIEST <= (time := int(text) * unit) < LATEST:
        return time
    whole = text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 20
    raise _no_time(int(text) * unit if whole else LATEST, text)


def from_iso(text: str) -> int:
    """Microseconds of an RFC 3339 time; decimals beyond the sixth are cut off, not rounded."""
    try:
        since = datetime.fromisoformat(text) - _EPOCH
    except TypeError:
        raise ValueError(f"time {text[:80]!r} has no time zone") from None
    if EARLIEST <= (time := (since.days * 86_400 + since.seconds) * SECOND + since.microseconds) < LATEST:
        return time
    raise _no_time(time, text)


def price_and_size(price: str, size: str) -> tuple[str, str]:
    """Both in plain digits, above zero. Hot: one call for each trade instead of six."""
    if (
        price.replace(".", "", 1).isdecimal()
        and size.replace(".", "", 1).isdecimal()
        and price.isascii()
        and size.isascii()
        and len(price) <= PRICE_DIGITS
        and len(size) <= SIZE_DIGITS
        and price.lstrip("0.")
        and size.lstrip("0.")
    ):
        return (price, size)
    return (price_digits(price), size_digits(size))


def quote_side(price: str | None, size: str | None) -> tuple[str, str] | tuple[None, None]:
    """Best price and size of one side of a quote; (None, None) for an empty side: one of them is null, empty or zero."""
    if not price or not size or (size[0] in "0." and not size.strip("0.")) or (price[0] in "0." and not price.strip("0.")):
        return (None, None)
    plain = price.replace(".", "", 1).isdecimal() and size.replace(".", "", 1).isdecimal()  # inline: a call costs 80 ns
    if plain and price.isascii() and size.isascii() and len(price) <= PRICE_DIGITS and len(size) <= SIZE_DIGITS:
        return (price, size)
    return (price_digits(price), size_digits(size))


def decimal_side(price: Decimal | None, size: Decimal | None) -> tuple[str, str] | tuple[None, None]:
    """As `quote_side`, for JSON numbers."""
    return (decimal_price(price), decimal_size(size)) if price and size else (None, None)


def check_levels(levels: Sequence[Any]) -> Sequence[Level]:
    """The levels of a change; raises ValueError if one is bad. Hot: one pass, and no new list where all are plain digits.

    A size of zero removes a level; a price of zero is bad.
    """
    try:
        for level in levels:
            price, size = level[0], level[1]
            plain = price.replace(".", "", 1).isdecimal() and size.replace(".", "", 1).isdecimal() and price.lstrip("0.")
            fits = plain and len(price) <= PRICE_DIGITS and len(size) <= SIZE_DIGITS
            if not fits or not (price + size).isascii() or type(level) is str:
                return list(map(good_level, levels))
    except (AttributeError, LookupError, TypeError):
        return list(map(good_level, levels))
    return levels


def good_level(level: Any) -> Level:
    """Price and size of a level, as decoded from JSON."""
    if not (isinstance(level, list | tuple) and len(level) >= 2 and isinstance(level[0], str) and isinstance(level[1], str)):
        raise ValueError(f"level {str(level)[:80]} is not price and size")
    return (price_digits(level[0]), volume_digits(level[1]))


def sift_levels(levels: Sequence[Any], read: Callable[[Any], Level] = good_level) -> tuple[Sequence[Level], list[str]]:
    """The good levels of a snapshot, and the error messages of the others.

    A size of zero is bad, because it is no level. Raises ValueError where there are more than MAX_BAD_LEVELS bad ones.
    """
    good: list[Level] = []
    bad: list[str] = []
    try:  # the usual case
        levels_read = check_levels(levels) if read is good_level else [read(level) for level in levels]
        if all(level[1].lstrip("0.") for level in levels_read):
            return levels_read, bad
    except ValueError:
        pass
    for level in levels:
        try:
            price, size, *_ = read(level)
            good.append((price, _bounded(size, SIZE_DIGITS)))
        except ValueError as error:
            bad.append(str(error))
            if len(bad) > MAX_BAD_LEVELS:
                raise
    return good, bad


def checked_market(listed: Instrument) -> Instrument:
    """A market of a listing, checked. A step is None or empty where the exchange lists none."""
    for text in (listed.symbol, listed.instrument, listed.base, listed.quote):
        name(text)
    price_step, size_step = listed.price_step, listed.size_step
    steps = price_digits(price_step) if price_step else None, size_digits(size_step) if size_step else None
    return replace(listed, price_step=steps[0], size_step=steps[1])


def step_of(decimals: int) -> str:
    """The step of a number of decimals: 2 is 0.01."""
    if not 0 <= decimals <= MAX_EXPONENT:
        raise ValueError(f"{decimals} decimals are not within 0..{MAX_EXPONENT}")
    return f"0.{'0' * (decimals - 1)}1" if decimals else "1"


def check_range(high: str, low: str) -> None:
    """Raises ValueError where the high is below the low. Open and close may be outside: some exchanges open at an older price."""
    if Decimal(high) < Decimal(low):
        raise ValueError(f"high {high} is below low {low}")


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
    for price in (opened, high, low, close):
        if len(price) > PRICE_DIGITS or not price.lstrip("0."):
            _bounded(price, PRICE_DIGITS)
    check_range(high, low)
    for sum_ in (volume, *turnover):
        if len(sum_) > SIZE_DIGITS:
            _bounded(sum_, SIZE_DIGITS, zero=True)
    sums = volume, turnover[0] if turnover else None, trades, None, None, None, None
    return Candle(instrument_id, "1m", time, opened, high, low, close, *sums, 1, origin, received_at)
