"""Large transfers of bitcoin, from the blocks of mempool.space. https://mempool.space/docs/api/rest

A block has thousands of transactions, and reading all of them takes a hundred requests. The summary of a block has the output
total of each transaction; only the large transactions, some dozens, are read one by one. (The pages of a block's transactions have
25 or 10, depending on the server, and omit those that the server failed to read.)

The outputs to one address, less its inputs, are one transfer, so change to an input address is not a transfer. All inputs are
attributed to one owner. The block reward is not a transfer. An output without an address is identified by its script.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Retry
from ingest.pollers._whale_chain import Block, decode_cursor, header_of, next_reorged
from ingest.pollers._whale_transfers import Transaction, checked_transfers, net
from ingest.polling.checked import native_id, total
from ingest.polling.db_queries import prices_at
from ingest.polling.elements import each, elements, split
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded
from ingest.protocol.decode import UNREADABLE, Count, Id, Malformed, malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import MINUTE, SECOND, WhaleTransaction

NAME = "whale_bitcoin"
TABLES = ("whale_transactions",)
BLOCKCHAIN, TOKEN, SOURCE = "bitcoin", "BTC", "mempool_space"
PLANS = {
    "keyless": Plan(
        base_url="https://mempool.space",
        per_minute=20,
        interval=60,
        requests=20,
        terms="https://mempool.space/terms-of-service: no limit is published; heavy users run a server of their own",
    )
}
ASSETS: dict[str, str] = {}
TURN_REQUESTS = 18  # for summaries and transactions; two more list the blocks
PAGE = 15  # blocks of one answer of mempool.space's own backend; servers of other kinds have 10
AHEAD = 7  # blocks of a page that follow the next block; the others precede it and show where a chain forked
CHUNK = 1440 * MINUTE  # a day, some thousands of requests
SKEW = 120 * MINUTE  # the possible error of a block's time: https://en.bitcoin.it/wiki/Block_timestamp
WAIT_SECONDS = 60.0  # for a price, or until the server has indexed a block
DECIMALS = 8


class _Block(Struct):
    id: str
    height: Count
    timestamp: int  # seconds
    tx_count: Count
    previousblockhash: str

    @property
    def header(self) -> Block:
        return header_of(self.height, self.id, self.previousblockhash, self.timestamp * SECOND)


class _Found(Struct):
    height: Count


class _Summary(Struct):
    txid: str
    value: Decimal  # sum of the outputs in satoshis; some servers send it as a float


class _Output(Struct):
    value: Id  # satoshis
    scriptpubkey: str
    scriptpubkey_address: str = ""

    @property
    def owner(self) -> str:
        return self.scriptpubkey_address or self.scriptpubkey


class _Input(Struct):
    prevout: _Output | None
    is_coinbase: bool


class _Status(Struct):
    block_hash: str = ""  # '' while the transaction is not confirmed


class _Transaction(Struct):
    txid: str
    vin: list[Raw]
    vout: list[Raw]
    status: _Status


_Blocks, _BLOCK = Decoder(list[Raw]), Decoder(_Block)
_Founds = Decoder(_Found)
_Summaries, _SUMMARY = Decoder(list[Raw]), Decoder(_Summary)
_Whole, _INPUT, _OUTPUT = Decoder(_Transaction), Decoder(_Input), Decoder(_Output)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The blocks since the last turn, as many as the requests of one turn allow; in the first turn, the newest block."""
    found = yield from _blocks(options, "")
    position = decode_cursor(cursor).at(max(found))
    if position.next_height <= max(found) and position.next_height not in found:
        found = yield from _range(options, position.next_height, min(max(found), position.next_height + AHEAD))
    records: list[WhaleTransaction | Malformed] = []  # reported at the end, so that an interrupted turn stores nothing
    left = TURN_REQUESTS
    while left > 0 and (block := found.get(position.next_height)) is not None:
        if (reorg := next_reorged(position, block.header, BLOCKCHAIN)) is not None:
            position, replaced = reorg
            yield replaced
            continue
        price = yield from _price(block)
        hashes, unreadable = yield from _large(options, block, price)
        records += [] if position.transactions_done else unreadable
        left -= 1
        for index in [place for place in hashes if place >= position.transactions_done]:
            if left <= 0:
                position = position.within(block.header, index)
                break
            records += yield from _transfers(options, block, hashes[index], price)
            left -= 1
        else:
            position = position.after(block.header)
    yield records
    return position.encoded


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The blocks of [since, until), microseconds. The time of a block may be up to two hours before that of its parent."""
    found = yield from _blocks(options, "")
    tip = max(found)
    answer = yield from answer_to(Request(f"{options.base_url}/api/v1/mining/blocks/timestamp/{(since - SKEW) // SECOND}"))
    height = decoded(answer, _Founds).height
    while height <= tip:
        found = yield from _range(options, height, min(tip, height + PAGE - 1))
        for block in sorted((new for new in found.values() if new.height >= height), key=lambda new: new.height):
            if since <= block.header.time < until:
                price = yield from _price(block)
                hashes, unreadable = yield from _large(options, block, price)
                yield unreadable
                for txid in hashes.values():
                    yield (yield from _transfers(options, block, txid, price))
            elif block.header.time >= until + SKEW:
                return ""
        height = max(found) + 1
    return ""


def _blocks(options: PollOptions, path: str) -> Part[dict[int, _Block]]:
    """The last `PAGE` blocks by height: with the path `/HEIGHT` those up to that height, with '' the newest."""
    answer = yield from answer_to(Request(f"{options.base_url}/api/v1/blocks{path}"))
    page = decoded(answer, _Blocks)
    blocks, unreadable = split(elements(page, _BLOCK, _checked))
    if unreadable:
        yield unreadable
    if not blocks:
        raise Retry(f"no block at /api/v1/blocks{path}")
    return {block.height: block for block in blocks}


def _checked(block: _Block) -> Iterator[_Block]:
    _ = block.header  # raises Reject for a time or an id that no block has
    yield block


def _range(options: PollOptions, first: int, last: int) -> Part[dict[int, _Block]]:
    """The blocks first..last by height, and perhaps some before them. A server may have shorter pages, of ten blocks.

    Raises Retry if one of the blocks is missing: the blocks after it must not be reported before it.
    """
    found: dict[int, _Block] = {}
    lowest = last + 1
    while lowest > first:
        page = yield from _blocks(options, f"/{lowest - 1}")
        if min(page) >= lowest:
            break
        found = page | found
        lowest = min(page)
    if missing := [height for height in range(first, last + 1) if height not in found]:
        raise Retry(f"{len(missing)} of the blocks {first} to {last} are missing, the first is {missing[0]}", after=WAIT_SECONDS)
    return found


def _price(block: _Block) -> Part[Decimal]:
    prices = yield from prices_at((TOKEN,), block.header.time)
    if TOKEN not in prices:
        raise Retry(f"no price of {TOKEN} at block {block.height}", after=WAIT_SECONDS)
    return Decimal(prices[TOKEN])


def _large(options: PollOptions, block: _Block, price: Decimal) -> Part[tuple[dict[int, str], list[Malformed]]]:
    """The ids of the transactions whose outputs are large enough, by their index in the summary, and what cannot be read."""
    answer = yield from answer_to(Request(f"{options.base_url}/api/v1/block/{block.id}/summary"))
    summaries = decoded(answer, _Summaries)
    if len(summaries) < block.tx_count - 1:  # some servers leave out the coinbase transaction
        raise Retry(
            f"the summary of block {block.height} has {len(summaries)} of {block.tx_count} transactions", after=WAIT_SECONDS
        )
    least = options.min_usd * 10**DECIMALS

    def read(summary: tuple[int, Raw]) -> Iterator[tuple[int, str]]:
        one = _SUMMARY.decode(summary[1])
        if Decimal(total(one.value)) * price >= least:
            yield summary[0], native_id(one.txid)

    large, unreadable = split(each(enumerate(summaries), read, lambda summary: bytes(summary[1])))
    return dict(large), unreadable


def _transfers(options: PollOptions, block: _Block, txid: str, price: Decimal) -> Part[list[WhaleTransaction | Malformed]]:
    answer = yield from answer_to(Request(f"{options.base_url}/api/tx/{txid}"))
    whole = decoded(answer, _Whole)
    if whole.status.block_hash != block.id:
        raise Retry(f"transaction {txid} is not in block {block.height} any more, or not yet", after=WAIT_SECONDS)
    try:
        inputs, outputs = list(map(_INPUT.decode, whole.vin)), list(map(_OUTPUT.decode, whole.vout))
    except UNREADABLE as error:  # without one of them the transfers would be wrong
        return [malformed(answer.body, error)]
    if any(spent.is_coinbase for spent in inputs):
        return []
    transaction = Transaction(
        blockchain=BLOCKCHAIN,
        source=SOURCE,
        hash=txid,
        token=TOKEN,
        decimals=DECIMALS,
        price=price,
        time=block.header.time,
        block_height=block.height,
        block_hash=block.id,
        received_at=answer.received_at,
        one_owner=True,
    )
    return list(checked_transfers(transaction, net(_moves(inputs, outputs)), options))


def _moves(inputs: list[_Input], outputs: list[_Output]) -> Iterator[tuple[str, int]]:
    for spent in inputs:
        if spent.prevout is not None:
            yield spent.prevout.owner, -spent.prevout.value
    for output in outputs:
        yield output.owner, output.value
