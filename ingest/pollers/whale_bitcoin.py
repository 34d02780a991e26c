"""Large transfers of bitcoin, from mempool.space's blocks. https://mempool.space/docs/api/rest

A block has thousands of transactions, and to read all of them takes a hundred requests. The one for its summary says what each of
them pays out; only those that pay enough are asked for, one by one, some dozens. (Pages of a block's transactions are of 25 or of
10, as the server is set up, and leave out what it failed to read.)

Outputs of one address are one transfer, less what it put in: change to an address that paid is none. All inputs are taken to be one
owner's. What a block pays to its miner is none. An output without an address is to its script.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from msgspec import Struct
from msgspec.json import Decoder

from ingest.errors import Retry
from ingest.pollers._whale_chain import Block, given_up, place_of
from ingest.pollers._whale_transfers import Telling, Transaction, net, transfers
from ingest.polling.db_queries import prices_at
from ingest.polling.provider import Plan, Poll, PollOptions, decoded
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
        terms="https://mempool.space/terms-of-service: no limit is published; who needs more runs a server of his own",
    )
}
ASSETS: dict[str, str] = {}
TURN = 18  # requests for blocks and transactions; two more find the blocks
PAGE = 15  # blocks of one answer
AHEAD = 7  # of them: the others are behind the next one, to find where a chain forked
CHUNK = 1440 * MINUTE  # of a history
SKEW = 120 * MINUTE  # what a block's time may be off: https://en.bitcoin.it/wiki/Block_timestamp
WAIT_SECONDS = 60.0  # for a price, or for what the server has not indexed yet
DECIMALS = 8


class _Block(Struct):
    id: str
    height: int
    timestamp: int  # seconds
    tx_count: int
    previousblockhash: str

    @property
    def place(self) -> Block:
        return Block(self.height, self.id, self.previousblockhash, self.timestamp * SECOND)


class _Found(Struct):
    height: int


class _Summary(Struct):
    txid: str
    value: Decimal  # satoshis that it pays out; a float where the server made it of one


class _Output(Struct):
    value: int  # satoshis
    scriptpubkey: str
    scriptpubkey_address: str = ""

    @property
    def owner(self) -> str:
        return self.scriptpubkey_address or self.scriptpubkey


class _Input(Struct):
    prevout: _Output | None
    is_coinbase: bool


class _Status(Struct):
    block_hash: str = ""  # none while it is not confirmed


class _Transaction(Struct):
    txid: str
    vin: list[_Input]
    vout: list[_Output]
    status: _Status


_Blocks = Decoder(list[_Block])
_Founds = Decoder(_Found)
_Summaries = Decoder(list[_Summary])
_Whole = Decoder(_Transaction)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The blocks since the last turn, as far as one turn's requests go; at the beginning, the newest one."""
    found = yield from _blocks(options, "")
    place = place_of(cursor).at(max(found))
    if place.next < min(found):
        found = yield from _blocks(options, f"/{min(max(found), place.next + AHEAD)}")
    told: list[WhaleTransaction] = []  # stored at the end: of a turn that breaks off nothing is
    left = TURN
    while left > 0 and (block := found.get(place.next)) is not None:
        if (gone := given_up(place, block.place, BLOCKCHAIN)) is not None:
            place, orphan = gone
            yield orphan
            continue
        price = yield from _price(block)
        hashes = yield from _large(options, block, price)
        left -= 1
        for position in [one for one in hashes if one >= place.done]:
            if left <= 0:
                place = place.within(block.place, position)
                break
            told += yield from _transfers(options, block, hashes[position], price)
            left -= 1
        else:
            place = place.after(block.place)
    yield told
    return place.cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The blocks of [since, until). A block may say an earlier time than the one before it, by two hours at most."""
    found = yield from _blocks(options, "")
    tip = max(found)
    answer = yield from answer_to(Request(f"{options.base_url}/api/v1/mining/blocks/timestamp/{(since - SKEW) // SECOND}"))
    height = decoded(answer, _Founds).height
    while height <= tip:
        found = yield from _blocks(options, f"/{min(tip, height + PAGE - 1)}")
        for block in sorted((one for one in found.values() if one.height >= height), key=lambda one: one.height):
            if since <= block.place.time < until:
                price = yield from _price(block)
                for txid in (yield from _large(options, block, price)).values():
                    yield (yield from _transfers(options, block, txid, price))
            elif block.place.time >= until + SKEW:
                return ""
        height = max(found) + 1
    return ""


def _blocks(options: PollOptions, since: str) -> Telling[dict[int, _Block]]:
    """15 blocks by height, back from the one that is named."""
    answer = yield from answer_to(Request(f"{options.base_url}/api/v1/blocks{since}"))
    blocks = {block.height: block for block in decoded(answer, _Blocks)}
    if not blocks:
        raise Retry(f"no block at /api/v1/blocks{since}")
    return blocks


def _price(block: _Block) -> Telling[Decimal]:
    prices = yield from prices_at((TOKEN,), block.place.time)
    if TOKEN not in prices:
        raise Retry(f"no price of {TOKEN}, as of block {block.height}", after=WAIT_SECONDS)
    return Decimal(prices[TOKEN])


def _large(options: PollOptions, block: _Block, price: Decimal) -> Telling[dict[int, str]]:
    """The ids of transactions that pay out enough, by their place in the block."""
    answer = yield from answer_to(Request(f"{options.base_url}/api/v1/block/{block.id}/summary"))
    summaries = decoded(answer, _Summaries)
    if len(summaries) < block.tx_count - 1:  # some leave the miner's out
        raise Retry(
            f"the summary of block {block.height} has {len(summaries)} of {block.tx_count} transactions", after=WAIT_SECONDS
        )
    return {place: one.txid for place, one in enumerate(summaries) if one.value * price >= options.min_usd * 10**DECIMALS}


def _transfers(options: PollOptions, block: _Block, txid: str, price: Decimal) -> Telling[list[WhaleTransaction]]:
    answer = yield from answer_to(Request(f"{options.base_url}/api/tx/{txid}"))
    whole = decoded(answer, _Whole)
    if whole.status.block_hash != block.id:
        raise Retry(f"transaction {txid} is not in block {block.height} any more, or not yet", after=WAIT_SECONDS)
    if any(one.is_coinbase for one in whole.vin):
        return []
    transaction = Transaction(
        blockchain=BLOCKCHAIN,
        source=SOURCE,
        hash=txid,
        token=TOKEN,
        decimals=DECIMALS,
        price=price,
        time=block.place.time,
        block_height=block.height,
        block_hash=block.id,
        received_at=answer.received_at,
        one_owner=True,
    )
    return list(transfers(transaction, net(_moves(whole)), options))


def _moves(whole: _Transaction) -> Iterator[tuple[str, int]]:
    for one in whole.vin:
        if one.prevout is not None:
            yield one.prevout.owner, -one.prevout.value
    for output in whole.vout:
        yield output.owner, output.value
