"""An order book of exact digits, and the grid of event time on which its state is written.

Levels are found by the Decimal of their price ("0.10" and "0.1" are one); the stored digits are those that the exchange sent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from msgspec.structs import replace

from ingest.protocol.session import Gap
from ingest.records import BookSnapshot, Quote

NEVER = 1 << 62
SETTLE = 3_000_000  # microseconds after which a snapshot that no event follows is written with the time of our clock
MANY = 256  # levels of one message, from which one sort costs less than an insertion for each

Level = Sequence[str]  # (price, size, ...) as digits; further elements are ignored


class Side:
    """One side of a book, its best level last: most changes are near it. `descending`: the highest price is the best (bids)."""

    def __init__(self, *, descending: bool) -> None:
        self._descending = descending
        self._keys: list[Decimal] = []  # ascending: prices of bids, negative prices of asks; a search costs less than a hash
        self._levels: list[tuple[str, str]] = []  # in the same order

    def __len__(self) -> int:
        return len(self._keys)

    def set(self, price: str, size: str) -> None:
        """Replace the level at `price`; a size of zero removes it. Removing a missing level is no error."""
        key, keys, levels = self._key(price), self._keys, self._levels
        index = bisect_left(keys, key)
        known = index < len(keys) and keys[index] == key
        if not size.strip("0."):
            if known:
                del keys[index], levels[index]
        elif known:
            levels[index] = (price, size)
        else:
            keys.insert(index, key)
            levels.insert(index, (price, size))

    def apply(self, levels: Sequence[Level]) -> None:
        """Set these levels in order. Many are sorted once: each insertion moves the levels behind it, which is quadratic."""
        if len(levels) < MANY:
            for level in levels:
                self.set(level[0], level[1])
            return
        keys = self._keys + [self._key(level[0]) for level in levels]
        known = self._levels + [(level[0], level[1]) for level in levels]
        order = sorted(range(len(keys)), key=keys.__getitem__)  # of equal prices the latest is the last
        latest = [index for index, after in pairwise(order) if keys[index] != keys[after]] + order[-1:]
        kept = [index for index in latest if known[index][1].strip("0.")]
        self._keys, self._levels = [keys[index] for index in kept], [known[index] for index in kept]

    def best(self, count: int) -> list[tuple[str, str]]:
        """The best `count` levels, best first, as (price, size) digits."""
        return self._levels[-count:][::-1]

    def best_price(self) -> Decimal | None:
        if not self._keys:
            return None
        return self._keys[-1] if self._descending else self._keys[-1].copy_negate()

    def within(self, bound: Decimal | None) -> int:
        """The number of levels at `bound` or better; of all levels if `bound` is None."""
        if bound is None:
            return len(self._keys)
        return len(self._keys) - bisect_left(self._keys, bound if self._descending else bound.copy_negate())

    def truncate(self, depth: int) -> None:
        """Remove all but the best `depth` levels."""
        if (excess := len(self._keys) - depth) > 0:
            del self._keys[:excess], self._levels[:excess]

    def _key(self, price: str) -> Decimal:
        return Decimal(price) if self._descending else Decimal(price).copy_negate()  # unlike `-`, it keeps every digit


class Book:
    """Both sides of one instrument."""

    def __init__(self) -> None:
        self.bids = Side(descending=True)
        self.asks = Side(descending=False)

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Set these levels; sizes are absolute, zero removes the level."""
        self.bids.apply(bids)
        self.asks.apply(asks)

    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask: such a book is wrong and is never written."""
        bid, ask = self.bids.best_price(), self.asks.best_price()
        return bid is not None and ask is not None and bid >= ask


class Grid:
    """The ticks of event time at which a state is written, so that two daemons write the same rows. Times are in microseconds.

    A tick is a multiple of `interval`. Its content is the state after the last event strictly before it. It is written when an
    event at or after it arrives, or, when the exchange is silent, `grace` after it by the clock. A state that does not change is
    written once. `next` is the tick at which the current state will be written, NEVER without a state; an event in [start, next)
    changes neither.
    """

    def __init__(self, interval: int, grace: int = 2_000_000) -> None:
        self.start = self.next = NEVER
        self._interval = interval
        self._grace = grace
        self._written = 0  # the last tick written: no tick is written twice

    def due(self, event_time: int) -> int | None:
        """Before an event is applied: the tick to write of the state so far, if the event is at or past it."""
        return None if event_time < self.next else self._take()

    def applied(self, event_time: int) -> None:
        """After an event was applied (or a snapshot of that time was taken as the state)."""
        tick = (event_time // self._interval + 1) * self._interval
        if tick < self._written:  # our clock was ahead and the tick written early; else each event would move `next` further
            self.start = self.next = NEVER
        else:
            self.next = tick if tick > self._written else tick + self._interval
            self.start = self.next - self._interval

    def idle(self, now: int) -> int | None:
        """On a clock tick: the tick to write if no event arrived until `grace` after it."""
        return None if now < self.next + self._grace else self._take()

    def reset(self) -> None:
        """The state is no longer valid: nothing is due until the next `applied`."""
        self.start = self.next = NEVER

    def _take(self) -> int:
        self._written = self.next
        self.start = self.next = NEVER
        return self._written


class SampledBook:
    """One instrument's book, written at the ticks of the grid while it is correct, and the gap while it is not.

    `book` is None before the first snapshot, and from a break to the next snapshot: a broken book is never written. A gap is
    reported twice: open when the book breaks, and with its end when the next snapshot is applied. A state without an event's time
    has the time of our clock, and `writer`, this daemon's name.
    """

    def __init__(self, instrument_id: int, depth: int, interval: int, writer: str) -> None:
        self.book: Book | None = None
        self._instrument_id = instrument_id
        self._depth = depth
        self._grid = Grid(interval)
        self._sequence: int | None = None
        self._received_at = 0
        self._our_name = writer
        self._writer = ""  # of the present state
        self._time = 0  # of the last event that left the book correct
        self._gap: Gap | None = None

    def due(self, event_time: int) -> Sequence[BookSnapshot]:
        """Before an event is applied: the state so far, if the event is at or past its tick."""
        return () if event_time < self._grid.next else self._write(self._grid.due(event_time))

    def idle(self, now: int) -> Sequence[BookSnapshot]:
        """On a clock tick: the state, if it is due and the exchange is silent."""
        return self._write(self._grid.idle(now))

    def applied(self, event_time: int | None, received_at: int, sequence: int | None = None) -> Sequence[Gap]:
        """After an event was applied. A crossed book breaks here. Returns the gap that opens or closes."""
        writer = ""
        if event_time is None:
            event_time, writer = received_at, self._our_name
        if self.book is None or self.book.crossed():
            return self.broken("crossed", event_time)
        self._time, self._received_at, self._sequence, self._writer = event_time, received_at, sequence, writer
        if not self._grid.start <= event_time < self._grid.next:
            self._grid.applied(event_time)
        if self._gap is None:
            return ()
        gap, self._gap = self._gap, None
        return (replace(gap, until=max(event_time, gap.since)),)

    def broken(self, reason: str, event_time: int) -> Sequence[Gap]:
        """Discard the book: nothing is written until the next snapshot. Returns the gap, nothing if a gap is open already."""
        self.book = None
        self._grid.reset()
        if self._gap is not None:
            return ()
        self._gap = Gap(self._instrument_id, "book", reason, self._time or event_time)
        return (self._gap,)

    def _write(self, tick: int | None) -> Sequence[BookSnapshot]:
        if tick is None or self.book is None:
            return ()
        bids, asks = self.book.bids.best(self._depth), self.book.asks.best(self._depth)
        return (
            BookSnapshot(
                instrument_id=self._instrument_id,
                time=tick,
                writer=self._writer,
                bid_prices=tuple(level[0] for level in bids),
                bid_sizes=tuple(level[1] for level in bids),
                ask_prices=tuple(level[0] for level in asks),
                ask_sizes=tuple(level[1] for level in asks),
                sequence=self._sequence,
                received_at=self._received_at,
            ),
        )


class SampledQuote:
    """The latest quote of one instrument, written as it was at each tick of its grid."""

    def __init__(self, interval: int) -> None:
        self._grid = Grid(interval)
        self._latest: Quote | None = None

    def seen(self, quote: Quote) -> Sequence[Quote]:
        """Take a quote with its event time. Returns the quote before it, if that is due."""
        grid, time = self._grid, quote.time
        out: Sequence[Quote] = () if time < grid.next else self._write(grid.due(time))
        self._latest = quote
        if not grid.start <= time < grid.next:
            grid.applied(time)
        return out

    def idle(self, now: int) -> Sequence[Quote]:
        """On a clock tick: the latest quote, if it is due and the exchange is silent."""
        return self._write(self._grid.idle(now))

    def lost(self, now: int) -> Sequence[Quote]:
        """A quote could not be read: the known one is no longer the latest, and is not written."""
        self._grid.reset()
        return ()

    def _write(self, tick: int | None) -> Sequence[Quote]:
        return () if tick is None or self._latest is None else (replace(self._latest, time=tick),)
