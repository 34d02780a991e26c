"""Derives the large transfers of a transaction from the movements of a token in it.

A transfer is the net amount of a token that an address gains in one transaction. `index` numbers the transfers by size, the largest
first. The sender is the address with the largest net loss. Amounts that return to their address (change, a hop through a contract,
a flash loan) are not transfers. So the order of the movements and the choice of explorer do not change the result. Change that goes
to a new address of the sender cannot be distinguished from a transfer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal

from msgspec import Struct
from msgspec.json import encode

from ingest.errors import Reject
from ingest.polling import checked
from ingest.polling.provider import PollOptions
from ingest.protocol.decode import Malformed
from ingest.records import WhaleTransaction

EXACT = Context(prec=120)  # the default of 28 digits would round: 2^256 has 78
CENT = Decimal("0.01")
LEVELS = ((100_000_000, "critical"), (50_000_000, "high"), (10_000_000, "medium"))  # least USD; smaller transfers are low


class Transaction(Struct, frozen=True, kw_only=True):
    """The common values of the transfers of one token in one transaction. `price` is in USD a token; times are in microseconds."""

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
    one_owner: bool = False  # all senders are addresses of one owner, so the label of any of them applies to all


def net(moves: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The net change of each address; `moves` are (address, gain), negative for a loss."""
    changes: dict[str, int] = {}
    for address, gain in moves:
        changes[address] = changes.get(address, 0) + gain
    return changes


def checked_row(row: WhaleTransaction) -> WhaleTransaction:
    """The row. Raises Reject (value) if it has a value that its table cannot hold."""
    checked.micros(row.time)
    checked.native_id(row.hash)
    checked.count(row.block_height or 0)
    checked.amount(row.amount_token)
    checked.price(row.amount_usd)
    for text in (row.blockchain, row.token, row.from_address, row.from_label, row.to_address, row.to_label, row.block_hash):
        checked.native_id(text or "-")
    return row


def checked_transfers(
    transaction: Transaction, changes: Mapping[str, int], options: PollOptions
) -> Iterator[WhaleTransaction | Malformed]:
    """The `transfers`, and a `Malformed` for one that its table cannot hold, such as 2^255 units of a token without decimals."""
    for row in transfers(transaction, changes, options):
        try:
            yield checked_row(row)
        except Reject as error:
            yield Malformed(encode(row), error.reason, f"{transaction.hash}: {error}")


def transfers(transaction: Transaction, changes: Mapping[str, int], options: PollOptions) -> Iterator[WhaleTransaction]:
    """The transfers of at least `options.min_usd`; `changes` are in the token's smallest unit."""
    senders = sorted((address for address, gain in changes.items() if gain < 0), key=lambda address: (changes[address], address))
    gainers = sorted((address for address, gain in changes.items() if gain > 0), key=lambda address: (-changes[address], address))
    if not senders:
        return
    labels = [options.labels.get(address) for address in (senders if transaction.one_owner else senders[:1])]
    for index, gainer in enumerate(gainers):
        amount = EXACT.scaleb(Decimal(changes[gainer]), -transaction.decimals)
        usd = EXACT.multiply(amount, transaction.price)
        if usd < options.min_usd:
            return  # the next transfers are smaller
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
    """The alert level of an amount in USD: low, medium, high or critical."""
    return next((level for least, level in LEVELS if usd >= least), "low")
