"""Large transfers of ether and of tokens on Ethereum, from Etherscan V2 with a key or Blockscout without one.

https://docs.etherscan.io/api-reference/endpoint/tokentx https://docs.blockscout.com/devs/apis/requests-and-limits

Neither can be asked for what is large: of each block all transactions are read, and of each token all transfers in the blocks of a
turn, an answer for ten blocks. Told is what an address has more of after a transaction. Ether that contracts move in a call is not
seen.
The rule one would get wrong: a token is its contract, since anyone may name another one USDT; `ids` says which, with its decimals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from ingest.errors import Reject, Retry, Stop
from ingest.flow import Malformed, Plan, Poll, PollOptions
from ingest.pollers import _whale_blockscout, _whale_etherscan
from ingest.pollers._whale_chain import Block, given_up, place_of
from ingest.pollers._whale_explorer import FULL, Content, Explorer, Move
from ingest.pollers._whale_transfers import Telling, Transaction, net, transfers
from ingest.questions import prices_at
from ingest.records import Asset, WhaleTransaction

NAME = "whale_ethereum"
TABLES = ("whale_transactions",)
BLOCKCHAIN = "ethereum"
PLANS = {
    "blockscout": Plan(
        base_url="https://eth.blockscout.com",
        per_minute=120,
        every=60,
        requests=80,
        terms="https://docs.blockscout.com/devs/apis/requests-and-limits: 3 requests a second without a key, and that is to end",
    ),
    "etherscan": Plan(
        base_url="https://api.etherscan.io/v2/api",
        key="apikey",
        key_in="query",
        per_minute=60,
        every=60,
        requests=30,
        terms="https://etherscan.io/terms: attribution; 3 requests a second and 100,000 a day without a paid plan",
    ),
}
EXPLORERS: dict[str, Explorer] = {"blockscout": _whale_blockscout, "etherscan": _whale_etherscan}
ETHER = "ether/18"
ASSETS = {  # contract/decimals
    "AAVE": "0x7fc66500c84a76ad7e9c93437bfc5ac33e2ddae9/18",
    "DAI": "0x6b175474e89094c44da98b954eedeac495271d0f/18",
    "ETH": ETHER,
    "LINK": "0x514910771af9ca656af840dff83e8264ecf986ca/18",
    "PEPE": "0x6982508145454ce325ddbe47a25d4ec3d2311933/18",
    "SHIB": "0x95ad61b0a150d79219dcf64e1e6cc01f0b64c4ce/18",
    "UNI": "0x1f9840a85d5af5bf1d1762f925bdaddc4201f984/18",
    "USDC": "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48/6",
    "USDT": "0xdac17f958d2ee523a2206206994597c13d831ec7/6",
    "WBTC": "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599/8",
    "WETH": "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2/18",
}
SYMBOLS = ("ETH", "WETH", "USDT", "USDC", "DAI", "WBTC")  # unless the settings say others
PRICED_AS = {"WETH": "ETH", "WBTC": "BTC"}
PEGGED = {"USDT", "USDC", "DAI"}  # worth one USD where we have no price of theirs
BEHIND = 2  # blocks: explorers need a while for the newest, and nearly all reorganisations are over by then
BLOCKS = 10  # of one turn: fifty seconds' worth are two minutes of the chain
WAIT_SECONDS = 60.0
TOKEN = re.compile(r"0x[0-9a-f]{40}/\d{1,2}")


class _Coin(Struct, frozen=True):
    """What is told of: a token, or ether where `contract` is empty. `price` is in USD."""

    symbol: str
    contract: str
    decimals: int
    price: Decimal


def poll(options: PollOptions, cursor: str) -> Poll:
    """The blocks since the last turn, at most `BLOCKS`; at the beginning, the newest one."""
    explorer = EXPLORERS[options.plan]
    tip = (yield from explorer.tip(options)) - BEHIND
    place = place_of(cursor).at(tip)
    last = min(tip, place.next + BLOCKS - 1)
    coins: list[_Coin] = []
    chain: list[Content] = []
    while place.next <= last:
        content = yield from explorer.block(options, place.next)
        if (gone := given_up(place, content.block, BLOCKCHAIN)) is not None:
            if chain:
                raise Retry(f"block {place.next - 1} was replaced while it was read")
            place, orphan = gone
            yield orphan
            continue
        coins = coins or (yield from _coins(options, content.block))
        chain.append(content)
        place = place.after(content.block)
    told: list[WhaleTransaction | Malformed] = []  # only now: of a turn that breaks off nothing is stored
    for coin in coins:
        told += yield from (_tell_token if coin.contract else _tell_ether)(options, explorer, chain, coin)
    yield told
    return place.cursor


def _coins(options: PollOptions, block: Block) -> Telling[list[_Coin]]:
    """What the settings name, priced as of the turn's first block. Raises Retry where a price is missing: nothing is told then."""
    priced = {asset.symbol: PRICED_AS.get(asset.symbol, asset.symbol) for asset in options.assets}
    known = yield from prices_at(sorted(set(priced.values())), block.time)
    prices = dict.fromkeys(PEGGED, "1") | dict(known)
    if missing := sorted({one for one in priced.values() if one not in prices}):
        raise Retry(f"no price of {', '.join(missing)}, as of block {block.height}", after=WAIT_SECONDS)
    return [_coin(asset, Decimal(prices[priced[asset.symbol]])) for asset in options.assets]


def _coin(asset: Asset, price: Decimal) -> _Coin:
    text = asset.coingecko_id.lower()
    if text != ETHER and not TOKEN.fullmatch(text):
        right = f'{asset.symbol} = "{ASSETS["USDT"]}"'
        raise Stop(f"{NAME}: ids: '{asset.coingecko_id}' is no contract with its decimals; right would be {right}")
    contract, _, decimals = text.partition("/")
    return _Coin(asset.symbol, "" if text == ETHER else contract, int(decimals), price)


def _tell_ether(
    options: PollOptions, explorer: Explorer, chain: Sequence[Content], coin: _Coin
) -> Telling[list[WhaleTransaction | Malformed]]:
    told: list[WhaleTransaction | Malformed] = []
    for content in chain:
        for one in content.natives:
            transaction = _transaction(explorer, content, one.hash, coin)
            large = list(transfers(transaction, net([(one.sender, -one.value), (one.recipient, one.value)]), options))
            if large and (yield from explorer.succeeded(options, one)):
                told += large
    return told


def _tell_token(
    options: PollOptions, explorer: Explorer, chain: Sequence[Content], coin: _Coin
) -> Telling[list[WhaleTransaction | Malformed]]:
    """All transfers in the turn's blocks are asked for, in halves where they are too many for an answer."""
    told: list[WhaleTransaction | Malformed] = []
    contents = {content.block.height: content for content in chain}
    ranges = [(min(contents), max(contents))]
    while ranges:
        first, last = ranges.pop()
        moves = yield from explorer.moves(options, coin.contract, first, last)
        if len(moves) >= FULL and first < last:
            middle = (first + last) // 2
            ranges += [(middle + 1, last), (first, middle)]
            continue
        if len(moves) >= FULL:
            said = f"block {first} has {FULL} transfers of {coin.symbol} or more: those beyond are not seen"
            told.append(Malformed(f"{first} {coin.contract}".encode(), "size", said))
        for hash_, of_one in _by_transaction(moves).items():
            transaction = _transaction(explorer, _content_of(of_one[0], contents), hash_, coin)
            gains = [gain for one in of_one for gain in ((one.sender, -one.value), (one.recipient, one.value))]
            told += transfers(transaction, net(gains), options)
    return told


def _by_transaction(moves: Sequence[Move]) -> Mapping[str, list[Move]]:
    found: dict[str, list[Move]] = {}
    for move in moves:
        found.setdefault(move.hash, []).append(move)
    return found


def _content_of(move: Move, contents: Mapping[int, Content]) -> Content:
    content = contents.get(move.block)
    if content is None:
        raise Reject(f"{move.hash} is in block {move.block}, which was not asked for", reason="value")
    if move.block_hash not in ("", content.block.hash):
        raise Retry(f"block {move.block} was replaced while it was read")
    return content


def _transaction(explorer: Explorer, content: Content, hash_: str, coin: _Coin) -> Transaction:
    return Transaction(
        blockchain=BLOCKCHAIN,
        source=explorer.SOURCE,
        hash=hash_,
        token=coin.symbol,
        decimals=coin.decimals,
        price=coin.price,
        time=content.block.time,
        block_height=content.block.height,
        block_hash=content.block.hash,
        received_at=content.received_at,
    )
