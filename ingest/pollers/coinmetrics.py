"""Coin Metrics' community data: daily metrics of many chains.

https://gitbook-docs.coinmetrics.io, where the documentation is since 2026; 10 requests in 6 seconds by address.

The licence, CC BY-NC 4.0, forbids commercial use, so it is off by default. A metric that an asset does not have is absent or null,
not zero. A day is published on the next day and may be revised.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import urlencode

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.polling.checked import scaled, shown, time_of
from ingest.polling.elements import elements, sliced
from ingest.polling.provider import Plan, Poll, PollOptions, decoded, within
from ingest.polling.trading_day import to_date
from ingest.protocol.http import Request, answer_to
from ingest.records import OnchainMetric
from ingest.text.dates import read_time

NAME = "coinmetrics"
TABLES = ("onchain_metrics",)
METRICS = {  # name of the source: the metric, and the factor to its unit
    "AdrActCnt": ("active_addresses", 1),
    "TxCnt": ("tx_count", 1),
    "HashRate": ("hash_rate", 10**12),  # TH/s to H/s
    "CapMrktCurUSD": ("market_cap_usd", 1),
}
PLANS = {
    "keyless": Plan(
        base_url="https://community-api.coinmetrics.io",
        per_minute=60,
        interval=6 * 3600,
        requests=1,
        terms="https://coinmetrics.io/community-network-data/: CC BY-NC 4.0, not for commercial use",
        default_on=False,
    )
}
ASSETS = {symbol: symbol.lower() for symbol in ("ADA", "BCH", "BTC", "DOGE", "ETH", "LTC", "XRP")}
CHUNK = None
DAYS, RECENT = 365, 60  # days of each asset, in the first turn and in later turns
PAGES = 100  # of 10,000 rows, for one range


class _Answer(Struct):
    data: list[Raw]
    next_page_token: str = ""


_Decoder, _ROW = Decoder(_Answer), Decoder(dict[str, str | None])


def poll(options: PollOptions, cursor: str) -> Poll:
    """A year of days at first, then two months, in case the daemon was stopped. The cursor marks that the year is read."""
    yield from _pages(options, {"paging_from": "end", "limit_per_asset": str(RECENT if cursor else DAYS)})
    return "year"


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds."""
    span = {"start_time": to_date(since), "end_time": to_date(until - 1), "paging_from": "start"}
    yield from _pages(options, span, since, until)
    return ""


def _pages(options: PollOptions, span: dict[str, str], since: int = 0, until: int | None = None) -> Poll:
    symbols = {asset.coingecko_id: asset.symbol for asset in options.assets}
    query = {
        "assets": ",".join(symbols),
        "metrics": ",".join(METRICS),
        "frequency": "1d",
        **span,
        "page_size": "10000",
        "ignore_unsupported_errors": "true",
        "ignore_forbidden_errors": "true",  # a metric outside the community data must not make the request fail
    }
    for _ in range(PAGES):
        url = f"{options.base_url}/v4/timeseries/asset-metrics?{urlencode(query, safe=',')}"
        answer = yield from answer_to(Request(url))
        page = decoded(answer, _Decoder)
        metrics = yield from sliced(elements(page.data, _ROW, partial(_metrics, symbols, answer.received_at)))
        yield within(metrics, since, until)
        if not page.next_page_token:
            return ""
        query["next_page_token"] = page.next_page_token
    raise Reject(f"more than {PAGES} pages", reason="size")


def _metrics(symbols: dict[str, str], received_at: int, row: dict[str, str | None]) -> Iterator[OnchainMetric]:
    name, time = row.get("asset") or "", row.get("time") or ""
    if (asset := symbols.get(name)) is None:
        raise Reject(f"{shown(name)} is not an asset that was requested", reason="value")
    if (micros := read_time(time)) is None:
        raise Reject(f"{shown(time)} is not a time; right would be '2026-01-01T00:00:00.000000000Z'", reason="value")
    for column, (metric, factor) in METRICS.items():
        value = row.get(column)
        if value is not None:
            yield OnchainMetric(asset, metric, NAME, time_of(micros, 1, received_at), scaled(value, factor), received_at)
