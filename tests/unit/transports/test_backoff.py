from __future__ import annotations

from ingest.transports.backoff import Backoff


def test_the_wait_doubles_up_to_the_cap() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.next() for _ in range(9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_jitter_spreads_the_wait_over_its_upper_half() -> None:
    chances = iter([0.0, 0.5, 0.25])
    backoff = Backoff(lambda: next(chances), first=8.0, cap=16.0)
    assert [backoff.next() for _ in range(3)] == [4.0, 12.0, 10.0]


def test_a_good_record_makes_the_next_wait_short_again() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == 0.5
