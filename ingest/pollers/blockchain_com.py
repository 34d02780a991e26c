"""blockchain.com's charts: daily figures of Bitcoin. https://www.blockchain.com/explorer/api/charts_api

The hash rate is TH/s there and H/s with us. `sampled=false` matters: a long chart is thinned out otherwise.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct
from msgspec.json import Decoder

from ingest.flow import Plan, Poll, PollOptions, Request, answer_to, decoded
from ingest.records import SECOND, OnchainMetric

NAME = "blockchain_com"
TABLES = ("onchain_metrics",)
CHARTS = {
    "hash-rate": ("hash_rate", Decimal(10**12)),
    "difficulty": ("difficulty", Decimal(1)),
    "n-transactions": ("tx_count", Decimal(1)),
    "n-unique-addresses": ("active_addresses", Decimal(1)),
}
PLANS = {
    "keyless": Plan(
        base_url="https://api.blockchain.info",
        per_minute=6,
        every=6 * 3600,
        requests=len(CHARTS),
        terms="https://www.blockchain.com/legal/terms: about a request in ten seconds",
    )
}
ASSETS: dict[str, str] = {}


class _Point(Struct):
    x: int  # seconds
    y: Decimal


class _Chart(Struct):
    values: list[_Point]


_Decoder = Decoder(_Chart)


def poll(options: PollOptions, cursor: str) -> Poll:
    """A year of each chart at first, then the last days. The cursor is the timespan that was asked for."""
    timespan = "10days" if cursor else "1year"
    for chart, (metric, factor) in CHARTS.items():
        url = f"{options.base_url}/charts/{chart}?timespan={timespan}&format=json&sampled=false"
        answer = yield from answer_to(Request(url))
        points = decoded(answer, _Decoder).values
        yield [
            OnchainMetric("BTC", metric, NAME, point.x * SECOND, f"{point.y * factor:f}", answer.received_at) for point in points
        ]
    return timespan
