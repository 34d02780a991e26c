"""Every value that the simulated exchange has produced, with the digits of its messages, to compare with the stored rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from ingest.simulator.market import Market, Sides
from ingest.simulator.wire import digits, kline_row

DIFFS = 10_000  # the newest of each symbol that are kept

Levels = list[tuple[str, str]]  # price and size, best first


class OracleTrade(Struct, frozen=True, gc=False):
    """One trade. `time` in milliseconds, `side` the taker's."""

    id: int
    time: int
    price: str
    size: str
    side: str


class Oracle:
    """The events of each symbol, including those that a fault kept from being sent."""

    def __init__(self, markets: Mapping[str, Market]) -> None:
        self._markets = markets
        # by symbol: the time of each diff in milliseconds, and its last update
        self.diffs: dict[str, deque[tuple[int, int]]] = {symbol: deque(maxlen=DIFFS) for symbol in markets}

    def trades(self, symbol: str, first: int | None = None, last: int | None = None) -> Iterator[OracleTrade]:
        """The trades with ids first..last (inclusive; by default all). They are reproduced one by one, which takes no memory."""
        for deal in self._markets[symbol].deals(first, last):
            yield OracleTrade(deal.id, deal.time, digits(deal.price), digits(deal.size), "sell" if deal.maker else "buy")

    def count(self, symbol: str) -> int:
        """The number of trades so far."""
        market = self._markets[symbol]
        return market.next_id - market.first_id

    def candles(self, symbol: str) -> list[list[Any]]:
        """The closed minutes as rows of /api/v3/klines."""
        return [kline_row(bar) for bar in self._markets[symbol].bars]

    def book(self, symbol: str, update: int) -> tuple[Levels, Levels]:
        """Bids and asks after `update`, best first. Raises KeyError for an update that is not kept."""
        return _levels(self._markets[symbol].book(update))

    def books(self, symbol: str, updates: Iterable[int]) -> Iterator[tuple[int, Levels, Levels]]:
        """(update, bids, asks) for each of `updates`, which are in ascending order; much faster than calls of `book`."""
        for update, sides in self._markets[symbol].books(updates):
            yield update, *_levels(sides)


def _levels(sides: Sides) -> tuple[Levels, Levels]:
    bids, asks = sides
    return [(digits(p), digits(s)) for p, s in bids.items()], [(digits(p), digits(s)) for p, s in asks.items()]
