"""Moralis: the number of holders of a token on Ethereum. https://docs.moralis.com/web3-data-api/evm/reference/get-token-holder-stats

Moralis removed its metrics of whole chains (/volume/chains) on 2026-06-04. Counts are numbers or text. A whale holds at least 1 %
of the supply.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Decoder

from ingest.polling.checked import total
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
ASSETS = {  # contracts on Ethereum, with the checksum of EIP-55
    "AAVE": "0x7Fc66500c84A76Ad7e9c93437bFc5Ac33E2DDaE9",
    "LINK": "0x514910771AF9Ca656af840dff83E8264EcF986CA",
    "SHIB": "0x95aD61b0a150d79219dCF64E1E6Cc01f0B64C4cE",
    "UNI": "0x1f9840a85d5aF5bf1D1762F925BDADdC4201F984",
    "USDC": "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
    "USDT": "0xdAC17F958D2ee523a2206206994597C13D831ec7",
}
SYMBOLS = tuple(ASSETS)  # where the settings name no symbols: their default, BTC and ETH, are not tokens


class _Distribution(Struct):
    whales: int | Number


class _Holders(Struct, rename="camel"):
    total_holders: int | Number
    holder_distribution: _Distribution | None = None


_Decoder = Decoder(_Holders)


def poll(options: PollOptions, _cursor: str) -> Poll:
    """The current holders of each token. There is no cursor."""
    yield from run_parts((asset.symbol, _fetch(options, asset.symbol, asset.coingecko_id.lower())) for asset in options.assets)
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
    return [OnchainMetric(symbol, name, NAME, minute, total(str(value)), answer.received_at) for name, value in metrics.items()]
