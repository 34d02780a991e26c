"""Blockscout, used without a key.

https://docs.blockscout.com/devs/apis/rpc/logs https://docs.blockscout.com/api-reference/get-block-transactions

Blocks come from its REST API, with addresses in mixed case. Token transfers are the events of the token's contract, from its API in
the format of Etherscan.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import urlencode

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.pollers._whale_chain import header_of, must_be
from ingest.pollers._whale_etherscan import number_of
from ingest.pollers._whale_explorer import BlockContent, EtherTransfer, TokenTransfer, TokenTransfers, call_api
from ingest.polling import checked
from ingest.polling.elements import elements, split
from ingest.polling.provider import Part, PollOptions, decoded
from ingest.polling.social_posts import Moment, to_micros
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import SECOND

SOURCE = "blockscout"
PAGES = 200  # of 50 transactions, of one block
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"  # Transfer(address,address,uint256)


class _Address(Struct):
    hash: str


class _Block(Struct):
    hash: str
    height: int
    parent_hash: str
    timestamp: Moment


class _Sent(Struct, rename={"sender": "from"}):
    hash: str
    sender: _Address
    value: str
    to: _Address | None = None  # None if the transaction creates a contract
    status: str | None = None  # ok, error


class _Page(Struct):
    items: list[Raw]
    next_page_params: dict[str, str | int | None] | None = None


class _Log(Struct, rename="camel"):
    block_number: str
    time_stamp: str  # seconds
    data: str
    topics: list[str | None]
    transaction_hash: str
    block_hash: str = ""


class _At(Struct, rename="camel"):
    block_number: str


_Height, _Blocks, _Pages, _Logs, _Ats = Decoder(str), Decoder(_Block), Decoder(_Page), Decoder(list[Raw]), Decoder(_At)
_SENT, _LOG = Decoder(_Sent), Decoder(_Log)


def tip(options: PollOptions) -> Part[int]:
    """See `Explorer`."""
    height, _ = yield from call_api(options, "/api", {"module": "block", "action": "eth_block_number"}, _Height)
    return checked.count(number_of(height, 16))


def block(options: PollOptions, height: int) -> Part[BlockContent]:
    """See `Explorer`; without reverted transactions."""
    answer = yield from answer_to(Request(f"{options.base_url}/api/v2/blocks/{height}"))
    found = decoded(answer, _Blocks)
    header = header_of(found.height, found.hash, found.parent_hash, to_micros(found.timestamp))
    must_be(header, height)
    url = f"{options.base_url}/api/v2/blocks/{found.hash}/transactions"
    ether_transfers: list[EtherTransfer] = []
    malformed: list[Malformed] = []
    query = ""
    for _ in range(PAGES):
        page = decoded((yield from answer_to(Request(f"{url}{query}"))), _Pages)
        more, bad = split(elements(page.items, _SENT, _ether_transfer))
        ether_transfers += more
        malformed += bad
        if not page.next_page_params:
            return BlockContent(header, ether_transfers, malformed, answer.received_at)
        query = f"?{urlencode(page.next_page_params)}"
    raise Reject(f"block {height} has more than {PAGES} pages of transactions", reason="size")


def _ether_transfer(sent: _Sent) -> Iterator[EtherTransfer]:
    if sent.to is not None and sent.status == "ok":
        yield EtherTransfer(sent.hash, sent.sender.hash.lower(), sent.to.hash.lower(), number_of(sent.value, 10))


def succeeded(_options: PollOptions, _transfer: EtherTransfer) -> Part[bool]:
    """See `Explorer`; `block` returns no reverted transactions."""
    yield from ()
    return True


def token_transfers(options: PollOptions, contract: str, first: int, last: int) -> Part[TokenTransfers]:
    """See `Explorer`."""
    query = {"module": "logs", "action": "getLogs", "fromBlock": str(first), "toBlock": str(last)}
    logs, received_at = yield from call_api(options, "/api", query | {"address": contract, "topic0": TRANSFER}, _Logs)
    return TokenTransfers(*split(elements(logs, _LOG, partial(_token_transfer, received_at))), len(logs))


def height_at(options: PollOptions, time: int, closest: str) -> Part[int]:
    """See `Explorer`."""
    query = {"module": "block", "action": "getblocknobytime", "timestamp": str(time // SECOND), "closest": closest}
    found, _ = yield from call_api(options, "/api", query, _Ats)
    return checked.count(number_of(found.block_number, 10))


def _token_transfer(received_at: int, log: _Log) -> Iterator[TokenTransfer]:
    if len(log.topics) < 3 or log.topics[1] is None or log.topics[2] is None:
        raise Reject(f"a Transfer of {log.transaction_hash} has the topics {log.topics}; right would be three", reason="shape")
    sender, recipient = (f"0x{topic[-40:].lower()}" for topic in (log.topics[1], log.topics[2]))
    block = header_of(number_of(log.block_number, 16), log.block_hash, "", number_of(log.time_stamp, 16) * SECOND)
    yield TokenTransfer(log.transaction_hash, block, sender, recipient, number_of(log.data, 16), received_at)
