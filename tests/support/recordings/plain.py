"""An independent reading of recorded frames: plain dictionaries and text, without the code that is tested."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import TypeVar

from msgspec.structs import replace

from ingest.records import SECOND, BookSnapshot, Quote

number = cache(Decimal)
State = TypeVar("State", BookSnapshot, Quote)


class PlainBook:
    """A book as dictionaries from price to size, both text. `state` sorts the levels, best first."""

    def __init__(self) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}

    def change(self, bids: Iterable[list[str]], asks: Iterable[list[str]]) -> None:
        """Apply levels in the order of the message. A level begins with its price and its absolute size; "0" removes it."""
        self.bids.update((level[0], level[1]) for level in bids)
        self.asks.update((level[0], level[1]) for level in asks)

    def cut(self, depth: int) -> None:
        """Remove the levels beyond the best `depth`."""
        if max(len(self.bids), len(self.asks)) > depth:
            self.bids = dict(_ordered(self.bids, depth, descending=True))
            self.asks = dict(_ordered(self.asks, depth, descending=False))

    def state(self, instrument_id: int, time: int, sequence: int | None, received_at: int, depth: int) -> BookSnapshot:
        bids, asks = _ordered(self.bids, depth, descending=True), _ordered(self.asks, depth, descending=False)
        levels = [tuple(level[part] for level in side) for side in (bids, asks) for part in (0, 1)]
        return BookSnapshot(instrument_id, time, "", *levels, sequence, received_at)


def _ordered(side: dict[str, str], depth: int, *, descending: bool) -> list[tuple[str, str]]:
    alive = [(price, size) for price, size in side.items() if number(size)]
    return sorted(alive, key=lambda level: number(level[0]), reverse=descending)[:depth]


def at_ticks(states: Iterable[State], every: int = SECOND) -> list[State]:
    """The last state of each instrument before each tick of `every` microseconds, with the tick's time."""
    last: defaultdict[tuple[int, int], list[State]] = defaultdict(list)
    for state in states:
        last[state.instrument_id, (state.time // every + 1) * every].append(state)
    return [replace(group[-1], time=tick) for (_, tick), group in last.items()]


def iso_micros(text: str) -> int:
    """A time of RFC 3339 in UTC as microseconds; digits beyond the sixth are cut off."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * SECOND + int(fraction[:6].ljust(6, "0"))
