"""What a turn of a poller reads from the database, and what it reports besides records. Times are in microseconds.

A turn values a fact at the price of the time of that fact, not at the current price, so that a repeated or late turn gives the same
value.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from msgspec import Struct

Prices = Mapping[str, str]  # digits by symbol, in USD


class PricesAt(Struct, frozen=True):
    """A query for the USD price of one unit of each symbol at `time`. The answer, `Prices`, has the symbols with a recent price."""

    symbols: tuple[str, ...]
    time: int


class Filtered(Struct, frozen=True):
    """The number of facts that a rule of the provider's module excludes. Each fact is counted once, not in every turn."""

    reason: str
    count: int


class ReorgedBlock(Struct, frozen=True):
    """A block that a chain reorganisation has dropped. Its rows are removed before the records that follow are stored.

    `time` is that of the block, so that only the chunks around it are searched.
    """

    blockchain: str
    block_hash: str
    time: int


def prices_at(symbols: Sequence[str], time: int) -> Generator[PricesAt, object, Prices]:
    """Query prices within a turn. An error that the driver of the turn throws in is raised here."""
    prices = yield PricesAt(tuple(symbols), time)
    if not isinstance(prices, Mapping):
        raise TypeError(
            f"the answer to a query for prices of {', '.join(symbols)} is {prices!r}; right would be a mapping of prices"
        )
    return prices
