"""Counts the candles of a range, where an exchange has one for every minute: a range is complete when it was counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ingest.records import MINUTE

DAY = 1440 * MINUTE

Range = tuple[int, int]  # [since, until), microseconds


class MinuteCount:
    """The whole minutes of [since, until), microseconds, and which of them have a candle."""

    def __init__(self, since: int, until: int) -> None:
        self._first = -(-since // MINUTE)
        self._seen = bytearray(max(0, -(-until // MINUTE) - self._first))

    def add(self, times: Iterable[int]) -> None:
        """Count candles by their times."""
        first, seen = self._first, self._seen
        for time in times:
            if 0 <= (index := time // MINUTE - first) < len(seen):
                seen[index] = 1

    def skip(self, until: int) -> None:
        """Count the minutes before `until`: the exchange has no candle so early."""
        self.add(range(self._first * MINUTE, min(until, (self._first + len(self._seen)) * MINUTE), MINUTE))

    def __len__(self) -> int:
        """The number of minutes that are counted."""
        return self._seen.count(1)

    def missing(self, until: int) -> tuple[Range, ...]:
        """The ranges before `until` whose minutes have no candle, in order of time."""
        return tuple(self._missing(min(len(self._seen), max(0, until // MINUTE - self._first))))

    def _missing(self, end: int) -> Iterator[Range]:
        at = self._seen.find(0, 0, end)
        while at >= 0:
            stop = self._seen.find(1, at, end)
            stop = end if stop < 0 else stop
            yield (self._first + at) * MINUTE, (self._first + stop) * MINUTE
            at = self._seen.find(0, stop, end)

    def missing_days(self, until: int) -> list[Range]:
        """For each day (UTC) with missing minutes before `until`, the range from the first to the last of them."""
        days: dict[int, Range] = {}
        for since, end in self.missing(until):
            for day in range(since // DAY, (end - 1) // DAY + 1):
                begin = max(since, day * DAY)
                days[day] = (days.get(day, (begin, 0))[0], min(end, (day + 1) * DAY))
        return list(days.values())
