"""What a turn of a poller asks of our own database, or tells it, beside records. Times are microseconds.

The rule one would get wrong: a price is asked for as of the fact that it values, not as of now, so that a turn that is taken again,
or days late, values it alike.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from msgspec import Struct

Prices = Mapping[str, str]  # digits by symbol, in USD


class PricesAt(Struct, frozen=True):
    """What did one unit of each symbol cost in USD at `time`? Answered by `Prices`, without what had none in the hours before."""

    symbols: tuple[str, ...]
    time: int


class Filtered(Struct, frozen=True):
    """So many facts of an answer are not stored, by a rule of the provider's module; each is told once, not by every turn."""

    reason: str
    count: int


class ReorgedBlock(Struct, frozen=True):
    """A block that its chain has no more: what was stored from it is to go, before the records that are told next.

    `time` is the block's: with it only the chunks around it are searched.
    """

    blockchain: str
    block_hash: str
    time: int


def prices_at(symbols: Sequence[str], time: int) -> Generator[PricesAt, object, Prices]:
    """The question, within a turn. What its driver throws in is raised here."""
    prices = yield PricesAt(tuple(symbols), time)
    if not isinstance(prices, Mapping):
        raise TypeError(f"the prices of {', '.join(symbols)} are asked for by sending them")
    return prices
