"""Moralis: the number of holders of a token on Ethereum. https://docs.moralis.com/web3-data-api/evm/reference/get-token-holder-stats

Its metrics of whole chains (/volume/chains) were removed on 2026-06-04. Counts are numbers or text. A whale holds at least 1 % of
the supply.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Decoder

from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts
from ingest.protocol.decode import Number
from ingest.protocol.http import Request, answer_to
from ingest.records import MINUTE, OnchainMetric

NAME = "moralis"
TABLES = ("onchain_metrics",)
PLANS = {
    "free": Plan(
        base_url="https://deep-index.moralis.io",
        key="X-API-Key",
        per_minute=60,
        per_month=800,  # 40,000 compute units at about 50 per request
        interval=3600,
        requests=1,
        per="coin",
        terms="https://moralis.com/terms/: commercial use is allowed, selling the data on is not",
    )
}
ASSETS = {  # contracts on Ethereum
    "AAVE": "0x7fc66500c84a76ad7e9c93437bfc5ac33e2ddae9",
    "LINK": "0x514910771af9ca656af840dff83e8364ecf986ca",
    "SHIB": "0x95ad61b0a150d79219dcf64e1e6cc01f0b64c4ce",
    "UNI": "0x1f9840a85d5af5bf1d1762f925bdaddc4201f984",
    "USDC": "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
    "USDT": "0xdac17f958d2ee523a2206206994597c13d831ec7",
}
SYMBOLS = tuple(ASSETS)  # the default of the settings: BTC and ETH are no tokens


class _Distribution(Struct):
    whales: int | Number


class _Holders(Struct, rename="camel"):
    total_holders: int | Number
    holder_distribution: _Distribution | None = None


_Decoder = Decoder(_Holders)


def poll(options: PollOptions, _cursor: str) -> Poll:
    """The holders of each token now. There is no cursor."""
    yield from run_parts((asset.symbol, _fetch(options, asset.symbol, asset.coingecko_id)) for asset in options.assets)
    return ""


def _fetch(options: PollOptions, symbol: str, contract: str) -> Part[list[OnchainMetric]]:
    answer = yield from answer_to(
        Request(f"{options.base_url}/api/v2.2/erc20/{contract}/holders?chain=eth", headers=options.headers)
    )
    holders = decoded(answer, _Decoder)
    metrics = {"token_holders": holders.total_holders}
    if holders.holder_distribution is not None:
        metrics["token_whales"] = holders.holder_distribution.whales
    minute = answer.received_at - answer.received_at % MINUTE
    return [OnchainMetric(symbol, name, NAME, minute, str(value), answer.received_at) for name, value in metrics.items()]
