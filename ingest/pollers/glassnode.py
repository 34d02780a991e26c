"""Glassnode: daily figures of chains, for customers. https://docs.glassnode.com/basic-api/endpoints

Every figure of every coin is a request of its own. Hash rates are H/s, as ours. The day that is not over is in the answer, and is
revised until it is; older days may be revised, too.
"""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.json import Decoder

from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts
from ingest.protocol.http import Request, answer_to
from ingest.records import SECOND, Asset, OnchainMetric

NAME = "glassnode"
TABLES = ("onchain_metrics",)
METRICS = {
    "addresses/active_count": "active_addresses",
    "addresses/new_non_zero_count": "new_addresses",
    "transactions/count": "tx_count",
    "fees/volume_sum": "fees_usd",
    "market/marketcap_usd": "market_cap_usd",
    "mining/hash_rate_mean": "hash_rate",
    "mining/difficulty_latest": "difficulty",
}
MINED = ("BCH", "BTC", "DOGE", "LTC")  # of others there is no mining/...
_TERMS = "https://glassnode.com/terms-and-conditions: for paying customers; what may be passed on stands in the contract"
PLANS = {
    "light": Plan(
        base_url="https://api.glassnode.com",
        key="X-Api-Key",
        per_minute=60,
        per_month=1500,  # 50 a day
        interval=24 * 3600,
        requests=7,
        each="coin",
        terms=_TERMS,
    ),
    "professional": Plan(
        base_url="https://api.glassnode.com",
        key="X-Api-Key",
        per_minute=600,
        interval=3600,
        requests=7,
        each="coin",
        terms=_TERMS,
    ),
}
ASSETS = {symbol: symbol for symbol in ("AAVE", "BCH", "BTC", "DOGE", "ETH", "LINK", "LTC", "UNI", "USDC", "USDT")}
CHUNK = None
AGAIN = 5 * 86_400  # seconds before the cursor that are said again


class _Point(Struct):
    t: int  # seconds
    v: Decimal | None = None


_Decoder = Decoder(list[_Point])


def poll(options: PollOptions, cursor: str) -> Poll:
    """All days at first, then the last ones. The cursor is the oldest of the newest days, in seconds."""
    span = {"s": str(int(cursor) - AGAIN)} if cursor else {}
    newest: list[int] = []

    def read(asset: Asset, path: str) -> Poll:
        days = yield from _ask(options, asset, path, span)
        yield days
        newest.extend(day.time // SECOND for day in days[-1:])
        return ""

    whole = yield from run_parts((f"{METRICS[path]} of {asset.symbol}", read(asset, path)) for asset, path in _wanted(options))
    return str(min(newest)) if whole and newest else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    for asset, path in _wanted(options):
        days = yield from _ask(options, asset, path, {"s": str(since // SECOND), "u": str(until // SECOND)})
        yield [day for day in days if since <= day.time < until]
    return ""


def _wanted(options: PollOptions) -> list[tuple[Asset, str]]:
    """(coin, figure) of every request."""
    assets = options.assets
    return [(one, path) for one in assets for path in METRICS if one.coingecko_id in MINED or not path.startswith("mining/")]


def _ask(options: PollOptions, asset: Asset, path: str, span: dict[str, str]) -> Part[list[OnchainMetric]]:
    query = {"a": asset.coingecko_id, "i": "24h", **({"c": "USD"} if METRICS[path].endswith("_usd") else {}), **span}
    request = Request(f"{options.base_url}/v1/metrics/{path}?{urlencode(query)}", headers=options.headers)
    answer = yield from answer_to(request)
    points = [point for point in decoded(answer, _Decoder) if point.v is not None]
    return [OnchainMetric(asset.symbol, METRICS[path], NAME, one.t * SECOND, f"{one.v:f}", answer.received_at) for one in points]
