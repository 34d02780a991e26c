"""The order book compared with a plain dictionary, and the grid on which its states are written."""

from __future__ import annotations

import random
import time
from decimal import Decimal

import pytest

from ingest.marketdata.order_book import Book, Grid, SampledBook, SampledQuote, Side
from ingest.protocol.session import Gap
from ingest.records import BookSnapshot, Quote

SECOND = 1_000_000


def levels(side: Side) -> list[tuple[str, str]]:
    return side.best(10_000)


@pytest.mark.parametrize("descending", [True, False])
def test_side_is_a_sorted_dictionary(descending: bool) -> None:
    side, oracle = Side(descending=descending), {}
    rng = random.Random(7)
    for _ in range(5_000):
        price = f"{rng.randrange(200) / 100:.2f}"
        size = rng.choice(["0", "0.00", "0.00000000", "1.5", "20"])
        side.set(price, size)
        if Decimal(size):
            oracle[price] = size
        else:
            oracle.pop(price, None)
    expected = sorted(oracle.items(), key=lambda level: Decimal(level[0]), reverse=descending)
    assert levels(side) == expected
    assert side.best(3) == expected[:3]
    assert side.best_price() == Decimal(expected[0][0])


@pytest.mark.parametrize("descending", [True, False])
def test_many_levels_at_once_are_as_one_by_one(descending: bool) -> None:
    """With prices that come twice, in two spellings, removals of what is not there, and messages of all lengths."""
    side, oracle = Side(descending=descending), Side(descending=descending)
    rng = random.Random(11)
    for length in (1000, 3, 255, 256, 700, 256, 5000, 2000):
        prices = [rng.choice(["{:.2f}", "{:.3f}"]).format(rng.randrange(3000) / 100) for _ in range(length)]
        changes = [(price, rng.choice(["0", "0.00", "1.5", "20", "3"])) for price in prices]
        side.apply(changes)
        for price, size in changes:
            oracle.set(price, size)
        assert levels(side) == levels(oracle)
        assert len(side) == len(oracle) > 0
    side.apply([(price, "0") for price, _ in levels(side)])
    assert (levels(side), side.best_price()) == ([], None)


def test_many_levels_are_sorted_once() -> None:
    """400,000 prices in the worst order took 16 s with an insertion for each, and take 0.3 s."""
    side = Side(descending=False)
    began = time.process_time()
    side.apply([(str(price), "1") for price in range(400_000, 0, -1)])
    side.apply([(str(price), "0") for price in range(400_000, 200_000, -1)])
    side.apply([(f"{price}.5", "1") for price in range(200_000, 0, -1)])
    assert time.process_time() - began < 5
    assert len(side) == 400_000
    assert side.best(3) == [("1", "1"), ("1.5", "1"), ("2", "1")]


def test_two_spellings_of_a_price_are_one_level_with_the_latest_digits() -> None:
    side = Side(descending=False)
    side.set("0.1", "1")
    side.set("0.10", "2")
    assert levels(side) == [("0.10", "2")]
    side.set("0.100", "0")
    assert levels(side) == []
    assert side.best_price() is None


def test_removing_an_absent_level_changes_nothing() -> None:
    side = Side(descending=True)
    side.set("5", "1")
    side.set("6", "0.0")
    assert levels(side) == [("5", "1")]


@pytest.mark.parametrize(
    ("descending", "bound", "count"),
    [(True, "3", 3), (True, "2.5", 3), (True, "6", 0), (True, "1", 5), (False, "3", 3), (False, "3.5", 3), (False, "0", 0)],
)
def test_within_counts_levels_at_the_bound_or_better(descending: bool, bound: str, count: int) -> None:
    side = Side(descending=descending)
    for price in "12345":
        side.set(price, "1")
    assert side.within(Decimal(bound)) == count
    assert side.within(None) == 5


@pytest.mark.parametrize(("descending", "left"), [(True, ["5", "4"]), (False, ["1", "2"])])
def test_truncate_keeps_the_best(descending: bool, left: list[str]) -> None:
    side = Side(descending=descending)
    for price in "31524":
        side.set(price, "1")
    side.truncate(2)
    assert [price for price, _ in levels(side)] == left
    side.set("3", "9")
    assert len(side) == 3
    side.truncate(3)
    assert len(side) == 3


@pytest.mark.parametrize(("bid", "ask", "crossed"), [("1", "2", False), ("2", "2.0", True), ("3", "2", True)])
def test_a_book_is_crossed_when_its_best_prices_meet(bid: str, ask: str, crossed: bool) -> None:
    book = Book()
    book.apply([(bid, "1")], [])
    assert not book.crossed()
    book.apply([], [(ask, "1")])
    assert book.crossed() is crossed


def test_grid_writes_the_state_before_the_event_that_crosses_a_tick() -> None:
    grid = Grid(10, grace=5)
    assert grid.due(3) is None
    grid.applied(3)
    assert grid.due(9) is None
    grid.applied(9)
    assert grid.due(10) == 10
    grid.applied(10)  # an event at a tick belongs to the next tick
    assert grid.due(47) == 20
    grid.applied(47)  # nothing changed between 20 and 47: those ticks are not written
    assert grid.due(50) == 50


def test_a_clock_that_is_far_ahead_does_not_move_the_grid_into_the_future():
    grid = Grid(10)
    far = 100_000_000
    written = []
    for event_time in range(1, 100, 2):
        if (tick := grid.due(event_time)) is not None:
            written.append((tick, event_time))
        grid.applied(event_time)
        if (tick := grid.idle(far)) is not None:
            written.append((tick, event_time))
    assert [tick for tick, _ in written] == list(range(10, 111, 10))
    assert all(tick - event_time < 20 for tick, event_time in written)


def test_grid_writes_after_silence_and_never_twice() -> None:
    grid = Grid(10, grace=5)
    grid.applied(3)
    assert grid.idle(14) is None
    assert grid.idle(15) == 10
    assert grid.idle(1000) is None
    grid.applied(8)  # late: its tick is already written
    assert grid.due(11) is None
    assert grid.due(20) == 20


def test_grid_forgets_a_state_that_is_no_longer_true() -> None:
    grid = Grid(10)
    grid.applied(3)
    grid.reset()
    assert grid.due(10) is None
    assert grid.idle(10**9) is None


def standing(depth: int = 1) -> SampledBook:
    sampled = SampledBook(7, depth, SECOND, "one")
    sampled.book = Book()
    sampled.book.apply([("9", "1"), ("8", "2")], [("10", "3"), ("11", "4")])
    return sampled


def test_sampled_book_writes_its_best_levels() -> None:
    sampled = standing(depth=1)
    assert sampled.applied(SECOND + 1, received_at=99, sequence=5) == ()
    assert sampled.due(2 * SECOND) == (
        BookSnapshot(
            instrument_id=7,
            time=2 * SECOND,
            writer="",
            bid_prices=("9",),
            bid_sizes=("1",),
            ask_prices=("10",),
            ask_sizes=("3",),
            sequence=5,
            received_at=99,
        ),
    )


def test_a_crossed_book_is_discarded_and_its_gap_is_yielded_when_it_opens_and_closes() -> None:
    sampled = standing()
    sampled.applied(100, received_at=1)
    assert sampled.book is not None
    sampled.book.bids.set("10", "1")
    assert sampled.applied(200, received_at=2) == (Gap(7, "book", "crossed", 100),)
    assert sampled.book is None
    assert sampled.idle(10**12) == ()
    assert sampled.broken("sequence", 300) == ()  # the same gap
    sampled.book = Book()
    assert sampled.applied(400, received_at=4) == (Gap(7, "book", "crossed", 100, 400),)
    assert sampled.applied(500, received_at=5) == ()


def test_a_quote_is_written_as_it_stood_at_the_tick() -> None:
    def quote(time: int, price: str) -> Quote:
        return Quote(1, time, "", price, "1", "9", "1", None, time + 5)

    sampled = SampledQuote(1000)
    assert sampled.seen(quote(1100, "1")) == ()
    assert sampled.seen(quote(1900, "2")) == ()
    assert sampled.seen(quote(3500, "3")) == (Quote(1, 2000, "", "2", "1", "9", "1", None, 1905),)
    assert sampled.lost(SECOND) == ()
    assert sampled.idle(10**9) == ()
    assert sampled.seen(quote(4100, "4")) == ()
    assert sampled.idle(5000 + 2_000_000) == (Quote(1, 5000, "", "4", "1", "9", "1", None, 4105),)
