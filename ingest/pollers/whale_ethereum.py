"""Large transfers of ether and of tokens on Ethereum, from Etherscan V2 with a key or Blockscout without one.

https://docs.etherscan.io/api-reference/endpoint/tokentx https://docs.blockscout.com/devs/apis/requests-and-limits

Neither API can select by amount, so a turn reads all transactions of each block and, with one request for each token, all transfers
in its blocks. A transfer is the net amount that an address gains in one transaction. Ether that contracts move in internal calls is
not included. A token is identified by its contract, because any token may have the name USDT; `ids` has the contract and its
decimals.

Blockscout announced that its keyless API per chain is deprecated from 2026-07-01 (documentation of 2026-08-20: at most 3 requests a
minute in words, 3 a second in the old table; some servers answer 429 or 403 to all), so its plan is off unless it is enabled. Its
PRO API counts 20 credits a request: the free 100,000 a day are 5,000 requests, and the chain has 7,200 blocks. Etherscan's free
plan has 1,000 rows a request since 2026-07-01 (changelog of 2026-05-01).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from ingest.errors import Reject, Retry, Stop
from ingest.pollers import _whale_blockscout, _whale_etherscan
from ingest.pollers._whale_chain import Block, decode_cursor, next_reorged
from ingest.pollers._whale_explorer import MAX_ROWS, BlockContent, Explorer, TokenTransfer, TokenTransfers, TooMuch
from ingest.pollers._whale_transfers import Transaction, checked_transfers, net
from ingest.polling.db_queries import prices_at
from ingest.polling.elements import bounded
from ingest.polling.provider import Part, Plan, Poll, PollOptions
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
        terms="https://docs.blockscout.com/devs/apis/requests-and-limits: keyless use is deprecated since 2026-07-01",
        default_on=False,
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
SYMBOLS = ("ETH", "WETH", "USDT", "USDC", "DAI", "WBTC")  # where the settings name no symbols
PRICED_AS = {"WETH": "ETH", "WBTC": "BTC"}
PEGGED = {"USDT", "USDC", "DAI"}  # counted as one USD if no price is stored
BEHIND = 2  # blocks behind the newest block: explorers index late, and nearly all reorganisations are over by then
BLOCKS = 20  # of a turn: four minutes of the chain, which take at most two minutes to read
WAIT_SECONDS = 60.0  # for a price
CHUNK = 1440 * MINUTE  # a day, 7200 blocks
TOKEN = re.compile(r"0x[0-9a-f]{40}/\d{1,2}")


class _Coin(Struct, frozen=True):
    """A token, or ether if `contract` is empty."""

    symbol: str
    contract: str
    decimals: int


def poll(options: PollOptions, cursor: str) -> Poll:
    """The blocks since the last turn, at most `BLOCKS`; in the first turn, the newest block."""
    turn = _Turn(options)
    tip = (yield from turn.explorer.tip(options)) - BEHIND
    position = decode_cursor(cursor).at(tip)
    last = min(tip, position.next_height + BLOCKS - 1)
    chain: dict[int, BlockContent] = {}
    while position.next_height <= last:
        content = yield from turn.explorer.block(options, position.next_height)
        if (reorg := next_reorged(position, content.block, BLOCKCHAIN)) is not None:
            if chain:
                raise Retry(f"block {position.next_height - 1} was replaced while it was read")
            position, replaced = reorg
            yield replaced
            continue
        yield from turn.prices(content.block)  # before further requests: without prices nothing is reported
        chain[position.next_height] = content
        position = position.after(content.block)
    if chain:
        yield (yield from turn.report(min(chain), max(chain), chain))
    return position.encoded


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The blocks of [since, until), microseconds. For tokens alone only the transfers are read, which name their block."""
    turn = _Turn(options)
    first = yield from turn.explorer.height_at(options, since, "after")
    last = yield from turn.explorer.height_at(options, until - SECOND, "before")
    for lowest in range(first, last + 1, BLOCKS):
        highest = min(last, lowest + BLOCKS - 1)
        chain: dict[int, BlockContent] = {}
        if any(not coin.contract for coin in turn.coins):
            for height in range(lowest, highest + 1):
                chain[height] = yield from turn.explorer.block(options, height)
        yield (yield from turn.report(lowest, highest, chain))
    return ""


class _Turn:
    """The state of one turn or history: the explorer, the coins, and their prices by minute."""

    def __init__(self, options: PollOptions) -> None:
        self.explorer = EXPLORERS[options.plan]
        self.coins = [_coin(asset) for asset in options.assets]
        self._options = options
        self._prices: dict[int, dict[str, Decimal]] = {}

    def prices(self, block: Block) -> Part[dict[str, Decimal]]:
        """The prices by symbol at the minute of the block. Raises Retry if one is missing."""
        minute = block.time - block.time % MINUTE
        if minute not in self._prices:
            priced = {coin.symbol: PRICED_AS.get(coin.symbol, coin.symbol) for coin in self.coins}
            known = yield from prices_at(sorted(set(priced.values())), minute)
            usd = dict.fromkeys(PEGGED, "1") | dict(known)
            if missing := sorted({name for name in priced.values() if name not in usd}):
                raise Retry(f"no price of {', '.join(missing)} at block {block.height}", after=WAIT_SECONDS)
            self._prices[minute] = {symbol: Decimal(usd[name]) for symbol, name in priced.items()}
        return self._prices[minute]

    def report(self, first: int, last: int, chain: Mapping[int, BlockContent]) -> Part[list[WhaleTransaction | Malformed]]:
        """The large transfers of all coins in the blocks first..last, in one list, so that an interrupted turn stores nothing."""
        records: list[WhaleTransaction | Malformed] = []
        for coin in self.coins:
            records += yield from (self._token(coin, first, last, chain) if coin.contract else self._ether(coin, chain))
        return list(bounded(records))

    def _ether(self, coin: _Coin, chain: Mapping[int, BlockContent]) -> Part[list[WhaleTransaction | Malformed]]:
        records: list[WhaleTransaction | Malformed] = []
        for content in chain.values():
            records += content.malformed
            for transfer in content.ether_transfers:
                gains = [(transfer.sender, -transfer.value), (transfer.recipient, transfer.value)]
                large = yield from self._large(coin, content.block, transfer.hash, gains, content.received_at)
                if large and (yield from self.explorer.succeeded(self._options, transfer)):
                    records += large
        return records

    def _token(
        self, coin: _Coin, first: int, last: int, chain: Mapping[int, BlockContent]
    ) -> Part[list[WhaleTransaction | Malformed]]:
        """The large transfers of a token. A range that has too many transfers for one answer, or is refused as such, is halved."""
        records: list[WhaleTransaction | Malformed] = []
        ranges = [(first, last)]
        while ranges:
            first, last = ranges.pop()
            found = yield from self._transfers(coin, first, last)
            if found is None or (found.rows >= MAX_ROWS and first < last):
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)]
                continue
            records += found.malformed
            if found.rows >= MAX_ROWS:
                message = f"block {first} has {MAX_ROWS} transfers of {coin.symbol} or more: the rest is not included"
                records.append(Malformed(f"{first} {coin.contract}".encode(), "size", message))
            for hash_, events in _by_transaction(found.transfers).items():
                gains = [gain for event in events for gain in ((event.sender, -event.value), (event.recipient, event.value))]
                try:
                    block = _block_of(events[0], chain)
                except Reject as error:
                    records.append(Malformed(hash_.encode(), error.reason, str(error)))
                    continue
                records += yield from self._large(coin, block, hash_, gains, events[0].received_at)
        return records

    def _transfers(self, coin: _Coin, first: int, last: int) -> Part[TokenTransfers | None]:
        """The transfers of a token in the blocks first..last; None if the explorer demands a smaller range."""
        try:
            return (yield from self.explorer.token_transfers(self._options, coin.contract, first, last))
        except TooMuch as error:
            if first < last:
                return None
            raise Retry(f"block {first}: {error}") from error

    def _large(
        self, coin: _Coin, block: Block, hash_: str, gains: Sequence[tuple[str, int]], received_at: int
    ) -> Part[list[WhaleTransaction | Malformed]]:
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
        return list(checked_transfers(transaction, net(gains), self._options))


def _coin(asset: Asset) -> _Coin:
    text = asset.coingecko_id.lower()
    if text != ETHER and not TOKEN.fullmatch(text):
        right = f'{asset.symbol} = "{ASSETS["USDT"]}"'
        raise Stop(f"{NAME}: ids: '{asset.coingecko_id}' is not a contract with its decimals; right would be {right}")
    contract, _, decimals = text.partition("/")
    return _Coin(asset.symbol, "" if text == ETHER else contract, int(decimals))


def _by_transaction(token_transfers: Sequence[TokenTransfer]) -> Mapping[str, list[TokenTransfer]]:
    found: dict[str, list[TokenTransfer]] = {}
    for transfer in token_transfers:
        found.setdefault(transfer.hash, []).append(transfer)
    return found


def _block_of(transfer: TokenTransfer, chain: Mapping[int, BlockContent]) -> Block:
    """The block of a transfer: as it was read, if blocks were read, else as the transfer names it. Raises Retry or Reject."""
    if not chain:
        return transfer.block
    content = chain.get(transfer.block.height)
    if content is None:
        raise Reject(f"{transfer.hash} is in block {transfer.block.height}, which was not requested", reason="value")
    if transfer.block.hash not in ("", content.block.hash):
        raise Retry(f"block {transfer.block.height} was replaced while it was read")
    return content.block
