"""Daily bars of stock indices: checks of their dates and prices, the same for every provider.

A bar with a bad date, a bad price or no close is a `Malformed`. An open, high or low of zero means that the provider has none; it
becomes None. A bar whose prices contradict each other is passed on: the store flags it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from msgspec import Struct

from ingest.errors import Reject
from ingest.polling import checked
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import bounded, sliced
from ingest.polling.provider import Part
from ingest.polling.trading_day import DAY, is_over, to_time
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Response
from ingest.records import SECOND, StockIndex

EARLIEST = 31_536_000 * SECOND  # 1971-01-01, before which the table has no row
EARLY = "before_1971"  # the reason of a `Filtered`


class Bar(Struct, frozen=True):
    """One bar as a provider gives it. `date` is text or microseconds; `prices` are open, high, low and close, None if absent."""

    date: str | int
    prices: Sequence[str | Decimal | None]
    volume: str | None = None


def day_bars(
    index_name: str, source: str, bars: Iterable[Bar | Malformed], answer: Response
) -> Part[list[StockIndex | Malformed | Filtered]]:
    """The trading days of an answer that are over, what is malformed, and the number of days before 1971, which are not stored.

    Raises Reject if no bar can be read and one is malformed.
    """
    rows = yield from sliced(bounded(row for bar in bars for row in _rows(index_name, source, bar, answer)))
    early = sum(row.count for row in rows if isinstance(row, Filtered))
    days: list[StockIndex | Malformed | Filtered] = [row for row in rows if not isinstance(row, Filtered)]
    bad = [day for day in days if isinstance(day, Malformed)]
    if bad and len(bad) == len(days) and not early:
        raise Reject(bad[0].message, reason=bad[0].reason)
    return [*days, Filtered(EARLY, early)] if early else days


def _rows(index_name: str, source: str, bar: Bar | Malformed, answer: Response) -> Iterator[StockIndex | Malformed | Filtered]:
    if isinstance(bar, Malformed):
        yield bar
        return
    try:
        time = to_time(bar.date) if isinstance(bar.date, str) else bar.date
        if time > answer.as_of + 2 * DAY:
            raise Reject("the date is ahead of the answer", reason="value")
        opened, high, low = (None if _is_zero(price) else checked.optional(checked.price, price) for price in bar.prices[:3])
        close = checked.price("" if (last := bar.prices[3]) is None else last)
    except Reject as error:
        yield Malformed(_evidence(bar), error.reason, f"{index_name} of {checked.shown(bar.date)}: {error}")
        return
    if time < EARLIEST:
        yield Filtered(EARLY, 1)
    elif is_over(time, answer.as_of):
        yield StockIndex(index_name, source, time, opened, high, low, close, _volume(bar), answer.received_at)


def _volume(bar: Bar) -> str | None:
    """The volume; None if the provider has none or writes it as text."""
    try:
        return checked.optional(checked.total, bar.volume)
    except Reject:
        return None


def _is_zero(price: str | Decimal | None) -> bool:
    return price is not None and len(text := str(price)) <= checked.MAX_LENGTH and "0" in text and not text.strip("0.")


def _evidence(bar: Bar) -> bytes:
    return ",".join(str(value) for value in (bar.date, *bar.prices, bar.volume) if value is not None).encode()
