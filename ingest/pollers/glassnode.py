"""Glassnode: daily on-chain metrics, for paying customers. https://docs.glassnode.com/basic-api/endpoints

Each metric of each coin is a request of its own, and costs one data credit for BTC, two for another coin (documentation of 2026).
Hash rates are in H/s, as they are stored. The answer includes the current day, which is revised until it is over; older days may be
revised too.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from urllib.parse import urlencode

from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from ingest.polling.checked import metric, time_of
from ingest.polling.elements import elements, sliced
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_day_parts, start_of, within
from ingest.polling.trading_day import DAY
from ingest.protocol.decode import Malformed
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
MINED = ("BCH", "BTC", "DOGE", "LTC")  # other coins have no mining/... metrics
_LIGHT = Plan(
    base_url="https://api.glassnode.com",
    key="X-Api-Key",
    per_minute=60,
    per_month=1500,  # 50 a day
    interval=24 * 3600,
    requests=7,
    per="coin",
    terms="https://glassnode.com/terms-and-conditions: for paying customers; the contract says what may be redistributed",
)
PLANS = {
    "light": _LIGHT,
    "professional": replace(_LIGHT, per_minute=600, per_month=None, interval=3600),
}
ASSETS = {symbol: symbol for symbol in ("AAVE", "BCH", "BTC", "DOGE", "ETH", "LINK", "LTC", "UNI", "USDC", "USDT")}
CHUNK = None
OVERLAP = 5 * DAY  # each turn reports these days before the cursor again


class _Point(Struct):
    t: int  # seconds
    v: Decimal | None = None


_Decoder, _POINT = Decoder(list[Raw]), Decoder(_Point)


def poll(options: PollOptions, cursor: str) -> Poll:
    """All days at first, then those from `OVERLAP` before the cursor on. The cursor is that of `run_day_parts`."""
    since = start_of(cursor, OVERLAP)
    span = {"s": str(since // SECOND)} if since else {}
    parts = ((f"{METRICS[path]} of {asset.symbol}", _fetch(options, asset, path, span)) for asset, path in _series(options))
    return run_day_parts(parts, cursor, since)


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    for asset, path in _series(options):
        days = yield from _fetch(options, asset, path, {"s": str(since // SECOND), "u": str(until // SECOND)})
        yield within(days, since, until)
    return ""


def _series(options: PollOptions) -> list[tuple[Asset, str]]:
    """The coin and the path of the metric of every request."""
    return [
        (asset, path)
        for asset in options.assets
        for path in METRICS
        if asset.coingecko_id in MINED or not path.startswith("mining/")
    ]


def _fetch(options: PollOptions, asset: Asset, path: str, span: dict[str, str]) -> Part[list[OnchainMetric | Malformed]]:
    query = {"a": asset.coingecko_id, "i": "24h", **({"c": "USD"} if METRICS[path].endswith("_usd") else {}), **span}
    request = Request(f"{options.base_url}/v1/metrics/{path}?{urlencode(query)}", headers=options.headers)
    answer = yield from answer_to(request)
    read = partial(_metric, asset.symbol, METRICS[path], answer.received_at)
    points = decoded(answer, _Decoder)
    return (yield from sliced(elements(points, _POINT, read)))


def _metric(symbol: str, name: str, received_at: int, point: _Point) -> Iterator[OnchainMetric]:
    if point.v is not None:
        yield OnchainMetric(symbol, name, NAME, time_of(point.t, SECOND, received_at), metric(point.v), received_at)
