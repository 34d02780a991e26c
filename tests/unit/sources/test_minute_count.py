"""Counting the candles of a range."""

from __future__ import annotations

from ingest.records import MINUTE
from ingest.sources.minute_count import DAY, MinuteCount

MARCH = 20_513 * DAY  # 2026-03-01


def test_a_range_is_missing_until_each_of_its_minutes_is_counted() -> None:
    count = MinuteCount(MARCH, MARCH + 10 * MINUTE)
    assert count.missing(MARCH + 10 * MINUTE) == ((MARCH, MARCH + 10 * MINUTE),)
    count.add([MARCH - MINUTE, MARCH + 2 * MINUTE, MARCH + 2 * MINUTE, MARCH + 3 * MINUTE, MARCH + 10 * MINUTE])
    assert count.missing(MARCH + 10 * MINUTE) == ((MARCH, MARCH + 2 * MINUTE), (MARCH + 4 * MINUTE, MARCH + 10 * MINUTE))
    assert count.missing(MARCH + 5 * MINUTE)[-1] == (MARCH + 4 * MINUTE, MARCH + 5 * MINUTE)
    assert count.missing(MARCH) == ()
    assert len(count) == 2
    count.add(range(MARCH, MARCH + 10 * MINUTE, MINUTE))
    assert count.missing(MARCH + 10 * MINUTE) == ()


def test_a_minute_that_is_cut_by_an_edge_belongs_to_the_range_where_it_begins() -> None:
    count = MinuteCount(MARCH + 1, MARCH + 2 * MINUTE + 1)
    assert count.missing(MARCH + 3 * MINUTE) == ((MARCH + MINUTE, MARCH + 3 * MINUTE),)
    assert MinuteCount(MARCH + 1, MARCH + MINUTE).missing(MARCH + MINUTE) == ()


def test_minutes_before_the_first_candle_of_a_market_are_not_missing() -> None:
    count = MinuteCount(MARCH, MARCH + DAY)
    count.skip(MARCH + 9 * MINUTE)
    assert count.missing(MARCH + DAY) == ((MARCH + 9 * MINUTE, MARCH + DAY),)
    count.skip(MARCH + 400 * DAY)
    assert count.missing(MARCH + DAY) == ()


def test_the_missing_minutes_of_each_day_are_one_range() -> None:
    count = MinuteCount(MARCH, MARCH + 5 * DAY)
    count.add([MARCH + 7 * MINUTE, *range(MARCH + DAY, MARCH + 2 * DAY, MINUTE), MARCH + 5 * DAY - MINUTE])
    assert count.missing_days(MARCH + 5 * DAY) == [
        (MARCH, MARCH + DAY),
        (MARCH + 2 * DAY, MARCH + 3 * DAY),
        (MARCH + 3 * DAY, MARCH + 4 * DAY),
        (MARCH + 4 * DAY, MARCH + 5 * DAY - MINUTE),
    ]
