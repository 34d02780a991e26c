"""One simulated market: trades, the order book and one-minute bars. Pure: the time is an argument, in milliseconds as on the wire.

The values of a trade are a function of its id, so only the times of trades are stored, and every trade can be reproduced exactly.
Prices and sizes are integers in units of 1e-8, never floats.
"""

from __future__ import annotations

import random
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from msgspec import Struct

UNIT = 10**8
MINUTE_MS = 60_000
DEPTH = 40  # levels on each side that change at random
CELL = 2048  # trades between two turning points of the price
KEPT_CHANGES = 100_000  # of a book; older changes are dropped

_MASK = (1 << 64) - 1


class Spec(Struct, frozen=True):
    """One instrument. Start price, price step, size step and usual size are in units of 1e-8."""

    base: str
    quote: str
    price: int
    price_step: int
    size_step: int
    size: int

    @property
    def symbol(self) -> str:
        return self.base + self.quote


SPECS = (
    Spec("BTC", "USDT", 64_000 * UNIT, UNIT // 100, 1_000, UNIT // 20),
    Spec("ETH", "USDT", 3_100 * UNIT, UNIT // 100, 10_000, UNIT),
    Spec("SOL", "USDT", 150 * UNIT, UNIT // 100, UNIT // 1_000, 10 * UNIT),
    Spec("XRP", "USDT", UNIT // 2, UNIT // 10_000, UNIT // 10, 500 * UNIT),
)


class Deal(Struct, frozen=True, gc=False):
    """One trade. `maker`: the buyer was the maker, so the taker sold."""

    id: int
    time: int
    price: int
    size: int
    maker: bool


class Bar(Struct, gc=False):
    """One minute of trades. Without trades, the ids `first` and `last` are -1 and all prices are the close of the bar before."""

    time: int
    open: int
    high: int
    low: int
    close: int
    first: int = -1
    last: int = -1
    volume: int = 0
    quote_volume: int = 0
    taker_volume: int = 0
    taker_quote_volume: int = 0

    @property
    def count(self) -> int:
        return self.last - self.first + 1 if self.first >= 0 else 0

    def add(self, deal: Deal) -> None:
        if self.first < 0:
            self.first = deal.id
            self.open = self.high = self.low = deal.price
        self.last = deal.id
        self.high = max(self.high, deal.price)
        self.low = min(self.low, deal.price)
        self.close = deal.price
        self.volume += deal.size
        value = deal.price * deal.size // UNIT
        self.quote_volume += value
        if not deal.maker:
            self.taker_volume += deal.size
            self.taker_quote_volume += value


class Diff(Struct, frozen=True):
    """The levels that the updates first..last changed: price to size, 0 for a removed level."""

    first: int
    last: int
    bids: dict[int, int]
    asks: dict[int, int]


Sides = tuple[dict[int, int], dict[int, int]]  # bids, asks: price to size


class Market:
    """The state of one instrument, determined by `spec`, `seed` and the times that are passed in."""

    def __init__(self, spec: Spec, seed: int, now: int, first_id: int = 1_000_001) -> None:
        self.spec = spec
        self.first_id = first_id
        self.last_update = 5_000_000
        self.bars: list[Bar] = []  # closed
        self._seed = _mixed(seed, sum(spec.symbol.encode()))
        self._random = random.Random(self._seed)
        self._times = array("q")
        self._book: Sides = ({}, {})
        self._base: Sides = ({}, {})  # the book before the oldest change that is kept
        self._changes: deque[tuple[int, int, int]] = deque()  # (side, price, size), one for each update id
        self._diffed = self.last_update  # the last update of the last diff
        price = self.deal(first_id, now).price
        self.bar = Bar(now - now % MINUTE_MS, price, price, price, price)
        self.move_book()

    # --- trades -----------------------------------------------------------------------------------------------------

    @property
    def next_id(self) -> int:
        return self.first_id + len(self._times)

    def trade(self, now: int) -> Deal:
        """Make the next trade, at `now`."""
        deal = self.deal(self.next_id, now)
        self._times.append(now)
        self.bar.add(deal)
        return deal

    def deals(self, first: int | None = None, last: int | None = None) -> Iterator[Deal]:
        """The trades made so far with ids first..last (inclusive; by default all)."""
        start = self.first_id if first is None else max(first, self.first_id)
        stop = self.next_id if last is None else min(last + 1, self.next_id)
        return (self.deal(id, self._times[id - self.first_id]) for id in range(start, stop))

    def deal(self, id: int, time: int) -> Deal:
        chance = _mixed(self._seed, id)
        maker = bool(chance & 1)
        steps = 1 + (chance >> 8) % (2 * self.spec.size // self.spec.size_step)
        price = self._middle(id) + (-1 if maker else 1) * self.spec.price_step
        return Deal(id, time, price, steps * self.spec.size_step, maker)

    def _middle(self, id: int) -> int:
        """The middle price at a trade: linear between two random turning points, each within a thousandth of the start price."""
        cell, offset = divmod(id, CELL)
        before, after = _turning_point(self.spec, self._seed, cell), _turning_point(self.spec, self._seed, cell + 1)
        return (before * (CELL - offset) + after * offset) // CELL * self.spec.price_step

    # --- bars -------------------------------------------------------------------------------------------------------

    def close_bars(self, now: int) -> list[Bar]:
        """Close the bars that ended by `now`, empty minutes included, and return them."""
        closed = []
        while now >= self.bar.time + MINUTE_MS:
            closed.append(self.bar)
            price = self.bar.close
            self.bar = Bar(self.bar.time + MINUTE_MS, price, price, price, price)
        self.bars += closed
        return closed

    # --- the book ---------------------------------------------------------------------------------------------------

    def move_book(self) -> None:
        """Move the book to the price: remove the levels that it crossed, set the best ones, change a few others."""
        step, middle = self.spec.price_step, self._middle(self.next_id)
        bids, asks = self._book
        far = 4 * DEPTH * step
        for price in [price for price in bids if price >= middle or price < middle - far]:
            self._set(0, price, 0)
        for price in [price for price in asks if price <= middle or price > middle + far]:
            self._set(1, price, 0)
        for side, sign in ((0, -1), (1, 1)):
            self._set(side, middle + sign * step, self._some_size())
            for _ in range(3 if len(self._book[side]) > DEPTH // 2 else DEPTH):
                price = middle + sign * step * self._random.randint(2, DEPTH)
                self._set(side, price, 0 if self._random.random() < 0.3 else self._some_size())

    def diff(self) -> Diff | None:
        """The changes since the last diff, as absolute sizes; None if there are none."""
        if self.last_update == self._diffed:
            return None
        first, self._diffed = self._diffed + 1, self.last_update
        sides: Sides = ({}, {})
        for side, price, size in self._recent(self.last_update - first + 1):
            sides[side][price] = size
        return Diff(first, self.last_update, *sides)

    def book(self, update: int | None = None) -> Sides:
        """Both sides after `update`, best first; by default after the last one. Raises KeyError for an update that is not kept."""
        bids, asks = self._book if update is None else self._book_at(update)
        return dict(sorted(bids.items(), reverse=True)), dict(sorted(asks.items()))

    def books(self, updates: Iterable[int]) -> Iterator[tuple[int, Sides]]:
        """The sides after each of `updates`, which are in ascending order, in one pass. Raises KeyError as `book` does."""
        bids, asks = sides = (dict(self._base[0]), dict(self._base[1]))
        changes = iter(list(self._changes))
        reached = self._base_update
        for update in updates:
            if not reached <= update <= self.last_update:
                raise self._not_kept(update)
            for side, price, size in islice(changes, update - reached):
                _put(sides[side], price, size)
            reached = update
            yield update, (dict(sorted(bids.items(), reverse=True)), dict(sorted(asks.items())))

    def best(self) -> tuple[int, int, int, int]:
        """Best bid and its size, best ask and its size."""
        bids, asks = self._book
        bid, ask = max(bids), min(asks)
        return bid, bids[bid], ask, asks[ask]

    def _book_at(self, update: int) -> Sides:
        kept = update - self._base_update
        if not 0 <= kept <= len(self._changes):
            raise self._not_kept(update)
        sides: Sides = (dict(self._base[0]), dict(self._base[1]))
        for index, (side, price, size) in enumerate(self._changes):
            if index == kept:
                break
            _put(sides[side], price, size)
        return sides

    @property
    def _base_update(self) -> int:
        """The last update that `_base` contains."""
        return self.last_update - len(self._changes)

    def _not_kept(self, update: int) -> KeyError:
        return KeyError(f"{self.spec.symbol}: update {update} is not kept; right: {self._base_update} to {self.last_update}")

    def _set(self, side: int, price: int, size: int) -> None:
        if self._book[side].get(price, 0) == size:
            return
        _put(self._book[side], price, size)
        self.last_update += 1
        self._changes.append((side, price, size))
        if len(self._changes) > KEPT_CHANGES:
            old_side, old_price, old_size = self._changes.popleft()
            _put(self._base[old_side], old_price, old_size)

    def _recent(self, count: int) -> list[tuple[int, int, int]]:
        return [self._changes[index] for index in range(-min(count, len(self._changes)), 0)]

    def _some_size(self) -> int:
        return self._random.randint(1, 20 * self.spec.size // self.spec.size_step) * self.spec.size_step


def _put(side: dict[int, int], price: int, size: int) -> None:
    if size:
        side[price] = size
    else:
        side.pop(price, None)


def _mixed(seed: int, number: int) -> int:
    """A pseudorandom 64-bit number: the finalizer of splitmix64, https://prng.di.unimi.it/splitmix64.c"""
    mixed = (number * 0x9E3779B97F4A7C15 + seed) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


@lru_cache(maxsize=256)
def _turning_point(spec: Spec, seed: int, cell: int) -> int:
    """A price in price steps."""
    middle = spec.price // spec.price_step
    reach = middle // 1000
    return middle + _mixed(seed + 1, cell) % (2 * reach + 1) - reach
