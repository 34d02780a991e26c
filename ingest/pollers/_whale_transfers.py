"""From what a transaction moved to the transfers that are large enough to be told.

A transaction's transfers of a token are what each address has more of after it, the largest first: that is their `index`. What
comes back to where it came from is none: change, a hop through a contract, a flash loan. Their sender is the address that has lost
most. So the same transfers come of any order of the moves, and of any explorer.
The rule one would get wrong: change that goes to a fresh address of the sender's cannot be told from a transfer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from decimal import Context, Decimal
from typing import TypeVar

from msgspec import Struct

from ingest.polling.db_queries import PricesAt
from ingest.polling.provider import PollOptions
from ingest.protocol.http import Request
from ingest.records import WhaleTransaction

T = TypeVar("T")
Telling = Generator[Request | PricesAt, object, T]  # a part of a turn, and what comes of it
EXACT = Context(prec=120)  # the default of 28 digits would round: 2^256 has 78
CENT = Decimal("0.01")
LEVELS = ((100_000_000, "critical"), (50_000_000, "high"), (10_000_000, "medium"))  # USD; what is smaller is low


class Transaction(Struct, frozen=True, kw_only=True):
    """What all transfers of one token in one transaction have in common; `price` is of one token, in USD."""

    blockchain: str
    source: str
    hash: str
    token: str
    decimals: int
    price: Decimal
    time: int
    block_height: int
    block_hash: str
    received_at: int
    one_owner: bool = False  # all its senders are one: whose any of them is, all are


def net(moves: Iterable[tuple[str, int]]) -> dict[str, int]:
    """By address, how much more (less, where negative) it has after `moves`, each of them an address's gain."""
    changes: dict[str, int] = {}
    for address, gain in moves:
        changes[address] = changes.get(address, 0) + gain
    return changes


def transfers(transaction: Transaction, changes: Mapping[str, int], options: PollOptions) -> Iterator[WhaleTransaction]:
    """Those of at least `options.min_usd`; `changes` are in the token's smallest unit."""
    senders = sorted((address for address, gain in changes.items() if gain < 0), key=lambda one: (changes[one], one))
    gainers = sorted((address for address, gain in changes.items() if gain > 0), key=lambda one: (-changes[one], one))
    if not senders:
        return
    labels = [options.labels.get(one) for one in (senders if transaction.one_owner else senders[:1])]
    for index, gainer in enumerate(gainers):
        amount = EXACT.scaleb(Decimal(changes[gainer]), -transaction.decimals)
        usd = EXACT.multiply(amount, transaction.price)
        if usd < options.min_usd:
            return  # the others are smaller
        yield WhaleTransaction(
            blockchain=transaction.blockchain,
            hash=transaction.hash,
            token=transaction.token,
            index=index,
            time=transaction.time,
            from_address=senders[0],
            from_label=next((label for label in labels if label), None),
            to_address=gainer,
            to_label=options.labels.get(gainer),
            amount_token=f"{amount:f}",
            amount_usd=f"{usd.quantize(CENT, context=EXACT):f}",
            alert_level=level_of(usd),
            block_height=transaction.block_height,
            block_hash=transaction.block_hash or None,
            source=transaction.source,
            received_at=transaction.received_at,
        )


def level_of(usd: Decimal) -> str:
    """low, medium, high or critical."""
    return next((level for least, level in LEVELS if usd >= least), "low")
