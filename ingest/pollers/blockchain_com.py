"""blockchain.com's charts: daily metrics of Bitcoin. https://www.blockchain.com/explorer/api/charts_api

The source has the hash rate in TH/s; it is stored in H/s. `sampled=false` is necessary: without it a long chart omits days.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.polling.checked import scaled, time_of
from ingest.polling.elements import elements, sliced
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts, within
from ingest.polling.trading_day import DAY, to_date
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import SECOND, OnchainMetric

NAME = "blockchain_com"
TABLES = ("onchain_metrics",)
CHARTS = {  # name of the chart: the metric, and the factor to its unit
    "hash-rate": ("hash_rate", 10**12),
    "difficulty": ("difficulty", 1),
    "n-transactions": ("tx_count", 1),
    "n-unique-addresses": ("active_addresses", 1),
}
PLANS = {
    "keyless": Plan(
        base_url="https://api.blockchain.info",
        per_minute=6,
        spread=True,
        interval=6 * 3600,
        requests=len(CHARTS),
        terms="https://www.blockchain.com/legal/terms: about a request in ten seconds",
    )
}
ASSETS: dict[str, str] = {}
CHUNK = None


class _Point(Struct):
    x: int  # seconds
    y: Decimal


class _Chart(Struct):
    values: list[Raw]


_Decoder, _POINT = Decoder(_Chart), Decoder(_Point)


def poll(options: PollOptions, cursor: str) -> Poll:
    """A year of each chart at first, then two months, in case the daemon was stopped. The cursor is the requested timespan."""
    timespan = "60days" if cursor else "1year"
    complete = yield from run_parts((chart, _fetch(options, chart, f"timespan={timespan}")) for chart in CHARTS)
    return timespan if complete else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    span = f"start={to_date(since)}&timespan={(until - since) // DAY + 1}days"
    for chart in CHARTS:
        yield within((yield from _fetch(options, chart, span)), since, until)
    return ""


def _fetch(options: PollOptions, chart: str, span: str) -> Part[list[OnchainMetric | Malformed]]:
    answer = yield from answer_to(Request(f"{options.base_url}/charts/{chart}?{span}&format=json&sampled=false"))
    read = partial(_metric, *CHARTS[chart], answer.received_at)
    return (yield from sliced(elements(decoded(answer, _Decoder).values, _POINT, read)))


def _metric(metric: str, factor: int, received_at: int, point: _Point) -> Iterator[OnchainMetric]:
    time = time_of(point.x, SECOND, received_at)
    yield OnchainMetric("BTC", metric, NAME, time, scaled(point.y, factor), received_at)
