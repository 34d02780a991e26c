"""Etherscan V2.

https://docs.etherscan.io/api-reference/endpoint/tokentx https://docs.etherscan.io/api-reference/endpoint/ethgetblockbynumber

Numbers are strings: hexadecimal from the module `proxy`, decimal from the others.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.pollers._whale_chain import Block, header_of, must_be
from ingest.pollers._whale_explorer import MAX_ROWS, BlockContent, EtherTransfer, TokenTransfer, TokenTransfers, call_api
from ingest.polling import checked
from ingest.polling.elements import elements, split
from ingest.polling.provider import Part, PollOptions
from ingest.records import SECOND

SOURCE = "etherscan"
CHAIN = {"chainid": "1"}
MAX_DIGITS = 80  # 2^256 has 78


class _Sent(Struct, rename={"sender": "from"}):
    hash: str
    sender: str
    value: str
    to: str | None = None  # None if the transaction creates a contract


class _Block(Struct, rename="camel"):
    hash: str
    parent_hash: str
    number: str
    timestamp: str
    transactions: list[Raw]


class _Receipt(Struct):
    status: str = "0x1"  # absent in blocks before Byzantium (October 2017)


class _Transfer(Struct, rename={"block_number": "blockNumber", "block_hash": "blockHash", "time": "timeStamp", "sender": "from"}):
    block_number: str
    time: str  # seconds
    hash: str
    sender: str
    to: str
    value: str
    block_hash: str = ""


_Height, _Blocks, _Receipts, _Transfers = Decoder(str), Decoder(_Block), Decoder(_Receipt), Decoder(list[Raw])
_SENT, _TRANSFER = Decoder(_Sent), Decoder(_Transfer)


def tip(options: PollOptions) -> Part[int]:
    """See `Explorer`."""
    height, _ = yield from call_api(options, "", CHAIN | {"module": "proxy", "action": "eth_blockNumber"}, _Height)
    return checked.count(number_of(height, 16))


def block(options: PollOptions, height: int) -> Part[BlockContent]:
    """See `Explorer`."""
    query = CHAIN | {"module": "proxy", "action": "eth_getBlockByNumber", "tag": hex(height), "boolean": "true"}
    found, received_at = yield from call_api(options, "", query, _Blocks)
    ether_transfers, malformed = split(elements(found.transactions, _SENT, _ether_transfer))
    header = header_of(number_of(found.number, 16), found.hash, found.parent_hash, number_of(found.timestamp, 16) * SECOND)
    must_be(header, height)
    return BlockContent(header, ether_transfers, malformed, received_at)


def _ether_transfer(sent: _Sent) -> Iterator[EtherTransfer]:
    if sent.to:
        yield EtherTransfer(sent.hash, sent.sender, sent.to, number_of(sent.value, 16))


def succeeded(options: PollOptions, transfer: EtherTransfer) -> Part[bool]:
    """See `Explorer`; from the receipt of the transaction."""
    query = CHAIN | {"module": "proxy", "action": "eth_getTransactionReceipt", "txhash": transfer.hash}
    receipt, _ = yield from call_api(options, "", query, _Receipts)
    return receipt.status == "0x1"


def token_transfers(options: PollOptions, contract: str, first: int, last: int) -> Part[TokenTransfers]:
    """See `Explorer`."""
    query = CHAIN | {"module": "account", "action": "tokentx", "contractaddress": contract, "page": "1", "offset": str(MAX_ROWS)}
    query |= {"startblock": str(first), "endblock": str(last), "sort": "asc"}
    rows, received_at = yield from call_api(options, "", query, _Transfers)

    def read(row: _Transfer) -> Iterator[TokenTransfer]:
        yield TokenTransfer(row.hash, _block_of(row), row.sender, row.to, number_of(row.value, 10), received_at)

    return TokenTransfers(*split(elements(rows, _TRANSFER, read)), len(rows))


def height_at(options: PollOptions, time: int, closest: str) -> Part[int]:
    """See `Explorer`."""
    query = CHAIN | {"module": "block", "action": "getblocknobytime", "timestamp": str(time // SECOND), "closest": closest}
    height, _ = yield from call_api(options, "", query, _Height)
    return checked.count(number_of(height, 10))


def _block_of(row: _Transfer) -> Block:
    return header_of(number_of(row.block_number, 10), row.block_hash, "", number_of(row.time, 10) * SECOND)


def number_of(text: str, base: int) -> int:
    """The number that the digits of base `base` stand for; with base 16 they may begin with 0x. Raises Reject for other text."""
    try:
        if len(text) > MAX_DIGITS:
            raise ValueError
        return int(text, base)
    except ValueError as error:
        raise Reject(f"{text[:MAX_DIGITS]!r} is not a number of base {base}", reason="value") from error
