"""Large transfers of ether and of tokens on Ethereum, from Etherscan V2 with a key or Blockscout without one.

https://docs.etherscan.io/api-reference/endpoint/tokentx https://docs.blockscout.com/devs/apis/requests-and-limits

Neither can be asked for what is large: of each block all transactions are read, and of each token all transfers in a turn's blocks,
in one answer. Told is what an address has more of after a transaction. Ether that contracts move in a call is not seen.
The rule one would get wrong: a token is its contract, since anyone may name another one USDT; `ids` says which, with its decimals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from ingest.errors import Reject, Retry, Stop
from ingest.pollers import _whale_blockscout, _whale_etherscan
from ingest.pollers._whale_chain import Block, given_up, place_of
from ingest.pollers._whale_explorer import FULL, Content, Explorer, Move
from ingest.pollers._whale_transfers import Telling, Transaction, net, transfers
from ingest.polling.db_queries import prices_at
from ingest.polling.provider import Plan, Poll, PollOptions
from ingest.protocol.decode import Malformed
from ingest.records import MINUTE, SECOND, Asset, WhaleTransaction

NAME = "whale_ethereum"
TABLES = ("whale_transactions",)
BLOCKCHAIN = "ethereum"
PLANS = {
    "blockscout": Plan(
        base_url="https://eth.blockscout.com",
        per_minute=150,
        spread=True,
        interval=30,
        requests=75,
        terms="https://docs.blockscout.com/devs/apis/requests-and-limits: 3 requests a second without a key, and that is to end",
    ),
    "etherscan": Plan(
        base_url="https://api.etherscan.io/v2/api",
        key="apikey",
        key_in="query",
        per_minute=60,
        spread=True,
        interval=30,
        requests=30,
        terms="https://etherscan.io/terms: attribution; 3 requests a second and 100,000 a day without a paid plan",
    ),
}
EXPLORERS: dict[str, Explorer] = {"blockscout": _whale_blockscout, "etherscan": _whale_etherscan}
ETHER = "ether/18"
ASSETS = {  # contract/decimals; the contract with the checksum of EIP-55
    "AAVE": "0x7Fc66500c84A76Ad7e9c93437bFc5Ac33E2DDaE9/18",
    "DAI": "0x6B175474E89094C44Da98b954EedeAC495271d0F/18",
    "ETH": ETHER,
    "LINK": "0x514910771AF9Ca656af840dff83E8264EcF986CA/18",
    "PEPE": "0x6982508145454Ce325dDbE47a25d4ec3d2311933/18",
    "SHIB": "0x95aD61b0a150d79219dCF64E1E6Cc01f0B64C4cE/18",
    "UNI": "0x1f9840a85d5aF5bf1D1762F925BDADdC4201F984/18",
    "USDC": "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48/6",
    "USDT": "0xdAC17F958D2ee523a2206206994597C13D831ec7/6",
    "WBTC": "0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599/8",
    "WETH": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2/18",
}
SYMBOLS = ("ETH", "WETH", "USDT", "USDC", "DAI", "WBTC")  # unless the settings say others
PRICED_AS = {"WETH": "ETH", "WBTC": "BTC"}
PEGGED = {"USDT", "USDC", "DAI"}  # worth one USD where we have no price of theirs
BEHIND = 2  # blocks: explorers need a while for the newest, and nearly all reorganisations are over by then
BLOCKS = 20  # of one turn: four minutes of the chain, which take half as long at most
WAIT_SECONDS = 60.0
CHUNK = 1440 * MINUTE  # of a history
TOKEN = re.compile(r"0x[0-9a-f]{40}/\d{1,2}")


class _Coin(Struct, frozen=True):
    """What is told of: a token, or ether where `contract` is empty."""

    symbol: str
    contract: str
    decimals: int


def poll(options: PollOptions, cursor: str) -> Poll:
    """The blocks since the last turn, at most `BLOCKS`; at the beginning, the newest one."""
    turn = _Turn(options)
    tip = (yield from turn.explorer.tip(options)) - BEHIND
    place = place_of(cursor).at(tip)
    last = min(tip, place.next + BLOCKS - 1)
    chain: dict[int, Content] = {}
    while place.next <= last:
        content = yield from turn.explorer.block(options, place.next)
        if (gone := given_up(place, content.block, BLOCKCHAIN)) is not None:
            if chain:
                raise Retry(f"block {place.next - 1} was replaced while it was read")
            place, orphan = gone
            yield orphan
            continue
        yield from turn.prices(content.block)  # before more is asked: without them nothing is told
        chain[place.next] = content
        place = place.after(content.block)
    if chain:
        yield (yield from turn.tell(min(chain), max(chain), chain))
    return place.cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The blocks of [since, until). Of tokens their transfers alone are asked for: they say of which block they are."""
    turn = _Turn(options)
    first = yield from turn.explorer.height_at(options, since, "after")
    last = yield from turn.explorer.height_at(options, until - SECOND, "before")
    for lowest in range(first, last + 1, BLOCKS):
        highest = min(last, lowest + BLOCKS - 1)
        chain: dict[int, Content] = {}
        if any(not coin.contract for coin in turn.coins):
            for height in range(lowest, highest + 1):
                chain[height] = yield from turn.explorer.block(options, height)
        yield (yield from turn.tell(lowest, highest, chain))
    return ""


class _Turn:
    """What one turn or one history knows: whom it asks, of which coins, and what they cost, by the minute."""

    def __init__(self, options: PollOptions) -> None:
        self.explorer = EXPLORERS[options.plan]
        self.coins = [_coin(asset) for asset in options.assets]
        self._options = options
        self._prices: dict[int, dict[str, Decimal]] = {}

    def prices(self, block: Block) -> Telling[dict[str, Decimal]]:
        """By symbol, at the minute of the block. Raises Retry where one is missing."""
        minute = block.time - block.time % MINUTE
        if minute not in self._prices:
            priced = {coin.symbol: PRICED_AS.get(coin.symbol, coin.symbol) for coin in self.coins}
            known = yield from prices_at(sorted(set(priced.values())), minute)
            usd = dict.fromkeys(PEGGED, "1") | dict(known)
            if missing := sorted({one for one in priced.values() if one not in usd}):
                raise Retry(f"no price of {', '.join(missing)}, as of block {block.height}", after=WAIT_SECONDS)
            self._prices[minute] = {symbol: Decimal(usd[one]) for symbol, one in priced.items()}
        return self._prices[minute]

    def tell(self, first: int, last: int, chain: Mapping[int, Content]) -> Telling[list[WhaleTransaction | Malformed]]:
        """What is large of all coins in the blocks first..last. Told at once: of a turn that breaks off nothing is stored."""
        told: list[WhaleTransaction | Malformed] = []
        for coin in self.coins:
            told += yield from (self._token(coin, first, last, chain) if coin.contract else self._ether(coin, chain))
        return told

    def _ether(self, coin: _Coin, chain: Mapping[int, Content]) -> Telling[list[WhaleTransaction | Malformed]]:
        told: list[WhaleTransaction | Malformed] = []
        for content in chain.values():
            for one in content.natives:
                gains = [(one.sender, -one.value), (one.recipient, one.value)]
                large = yield from self._large(coin, content.block, one.hash, gains, content.received_at)
                if large and (yield from self.explorer.succeeded(self._options, one)):
                    told += large
        return told

    def _token(
        self, coin: _Coin, first: int, last: int, chain: Mapping[int, Content]
    ) -> Telling[list[WhaleTransaction | Malformed]]:
        """In halves where they are too many for an answer."""
        told: list[WhaleTransaction | Malformed] = []
        ranges = [(first, last)]
        while ranges:
            first, last = ranges.pop()
            moves = yield from self.explorer.moves(self._options, coin.contract, first, last)
            if len(moves) >= FULL and first < last:
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)]
                continue
            if len(moves) >= FULL:
                said = f"block {first} has {FULL} transfers of {coin.symbol} or more: those beyond are not seen"
                told.append(Malformed(f"{first} {coin.contract}".encode(), "size", said))
            for hash_, of_one in _by_transaction(moves).items():
                gains = [gain for one in of_one for gain in ((one.sender, -one.value), (one.recipient, one.value))]
                told += yield from self._large(coin, _block_of(of_one[0], chain), hash_, gains, of_one[0].received_at)
        return told

    def _large(
        self, coin: _Coin, block: Block, hash_: str, gains: Sequence[tuple[str, int]], received_at: int
    ) -> Telling[list[WhaleTransaction]]:
        prices = yield from self.prices(block)
        transaction = Transaction(
            blockchain=BLOCKCHAIN,
            source=self.explorer.SOURCE,
            hash=hash_,
            token=coin.symbol,
            decimals=coin.decimals,
            price=prices[coin.symbol],
            time=block.time,
            block_height=block.height,
            block_hash=block.hash,
            received_at=received_at,
        )
        return list(transfers(transaction, net(gains), self._options))


def _coin(asset: Asset) -> _Coin:
    text = asset.coingecko_id.lower()
    if text != ETHER and not TOKEN.fullmatch(text):
        right = f'{asset.symbol} = "{ASSETS["USDT"]}"'
        raise Stop(f"{NAME}: ids: '{asset.coingecko_id}' is no contract with its decimals; right would be {right}")
    contract, _, decimals = text.partition("/")
    return _Coin(asset.symbol, "" if text == ETHER else contract, int(decimals))


def _by_transaction(moves: Sequence[Move]) -> Mapping[str, list[Move]]:
    found: dict[str, list[Move]] = {}
    for move in moves:
        found.setdefault(move.hash, []).append(move)
    return found


def _block_of(move: Move, chain: Mapping[int, Content]) -> Block:
    """As it was read, if it was."""
    if not chain:
        return move.block
    content = chain.get(move.block.height)
    if content is None:
        raise Reject(f"{move.hash} is in block {move.block.height}, which was not asked for", reason="value")
    if move.block.hash not in ("", content.block.hash):
        raise Retry(f"block {move.block.height} was replaced while it was read")
    return content.block
