"""Records of providers' responses: recorded files, and documented examples where there is no recording."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest import registry
from ingest.config.sections import PollerSection
from ingest.errors import Reject
from ingest.pollers import blockchain_com, cboe, coinmetrics, fred, mempool_space
from ingest.polling.provider import PollOptions
from ingest.protocol.http import Request, Response
from ingest.records import SECOND, Asset, OnchainMetric, StockIndex
from ingest.sources.poll_plan import plan_of

NOW = 1_795_176_000 * SECOND


def micros(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc]


def turn(module: Any, *bodies: bytes, cursor: str = "") -> tuple[list[str], list[Any], str]:
    """Run a turn whose requests get `bodies`. Returns the requested URLs, all records and the next cursor."""
    flow, responses = (
        module.poll(PollOptions(base_url="http://x", assets=(Asset("BTC", "btc"), Asset("ETH", "eth"))), cursor),
        iter(bodies),
    )
    urls: list[str] = []
    records: list[Any] = []
    step = next(flow)
    while True:
        try:
            if isinstance(step, Request):
                urls.append(step.url)
                step = flow.send(Response(200, next(responses), received_at=NOW))
            else:
                records += step
                step = next(flow)
        except StopIteration as done:
            return urls, records, done.value


def test_days_of_the_vix(real: Path) -> None:
    body = (real / "stock_indices/vix-daily.csv").read_bytes()
    urls, records, cursor = turn(cboe, body)
    assert urls == ["http://x/api/global/us_indices/daily_prices/VIX_History.csv"]
    first = StockIndex("VIX", "cboe", micros(1990, 1, 2), "17.240000", "17.240000", "17.240000", "17.240000", None, NOW)
    last = StockIndex("VIX", "cboe", micros(2026, 7, 23), "17.670000", "20.310000", "17.320000", "18.700000", None, NOW)
    assert (records[0], records[-1], len(records)) == (first, last, body.count(b"\n") - 1)
    assert cursor == str(last.time)
    _, again, _ = turn(cboe, body, cursor=cursor)
    assert again == [day for day in records if day.time >= micros(2026, 7, 13)]


def test_dates_of_cboe_are_month_day_year() -> None:
    _, records, _ = turn(cboe, b"DATE,OPEN,HIGH,LOW,CLOSE\n07/23/2026,17.67,20.31,17.32,18.70\n")
    assert [record.time for record in records] == [micros(2026, 7, 23)]


def test_fred_has_only_closes_and_no_rows_for_holidays() -> None:
    """In the layout of https://fred.stlouisfed.org/graph/fredgraph.csv?id=SP500; there is no recording."""
    bodies = [f"observation_date,{name}\n2026-07-02,1.5\n2026-07-03,{holiday}\n".encode() for name, holiday in _FRED]
    urls, records, cursor = turn(fred, *bodies)
    assert urls == [f"http://x/graph/fredgraph.csv?id={name}" for name, _ in _FRED]
    day = micros(2026, 7, 2)
    expected = [StockIndex(name, "fred", day, None, None, None, "1.5", None, NOW) for name in ("SPX", "NASDAQ", "VIX")]
    assert (records, cursor) == (expected, str(day))


_FRED = (("SP500", "."), ("NASDAQCOM", ""), ("VIXCLS", "."))


def test_hash_rates_of_mempool_space_are_in_hashes_per_second() -> None:
    """The layout of https://mempool.space/docs/api/rest; there is no recording."""
    mining = b"""{"hashrates": [{"timestamp": 1652486400, "avgHashrate": 236416872483600000000}],
        "difficulty": [{"time": 1652468330, "height": 736249, "difficulty": 31251101365711.12, "adjustment": 1.04893}],
        "currentHashrate": 252529840142530100000, "currentDifficulty": 31251101365711.12}"""
    mempool = b'{"count": 8134, "vsize": 3444604, "total_fee": 29204625, "fee_histogram": [[53.01, 102131]]}'
    urls, records, cursor = turn(mempool_space, mining, mempool)
    assert (urls, cursor) == (["http://x/api/v1/mining/hashrate/1y", "http://x/api/mempool"], "1y")
    assert records == [
        OnchainMetric("BTC", "hash_rate", "mempool_space", 1652486400 * SECOND, "236416872483600000000", NOW),
        OnchainMetric("BTC", "difficulty", "mempool_space", 1652468330 * SECOND, "31251101365711.12", NOW),
        OnchainMetric("BTC", "mempool_tx_count", "mempool_space", NOW, "8134", NOW),
        OnchainMetric("BTC", "mempool_vsize", "mempool_space", NOW, "3444604", NOW),
    ]
    assert turn(mempool_space, mining, mempool, cursor=cursor)[0][0] == "http://x/api/v1/mining/hashrate/1m"


def test_hash_rates_of_blockchain_com_are_converted_to_hashes_per_second() -> None:
    """The layout of https://www.blockchain.com/explorer/api/charts_api; there is no recording."""
    head = '{"status":"ok","name":"n","unit":"u","period":"day","description":"d","values":[{"x":1764547200,"y":%s}]}'
    bodies = [(head % value).encode() for value in ("1054321.5", "152271285318239.0", "399776.0", "747953")]
    urls, records, _ = turn(blockchain_com, *bodies)
    assert urls == [f"http://x/charts/{name}?timespan=1year&format=json&sampled=false" for name in blockchain_com.CHARTS]
    values = ("1054321500000000000.0", "152271285318239.0", "399776.0", "747953")
    names = ("hash_rate", "difficulty", "tx_count", "active_addresses")
    time = 1764547200 * SECOND
    expected = [OnchainMetric("BTC", name, "blockchain_com", time, value, NOW) for name, value in zip(names, values, strict=True)]
    assert records == expected


def test_missing_figures_of_coin_metrics_are_left_out() -> None:
    """The layout of https://docs.coinmetrics.io/api-reference/timeseries/timeseries-rest/asset-metrics, in two pages."""
    first = b"""{"data": [{"asset": "btc", "time": "2025-11-05T00:00:00.000000000Z", "AdrActCnt": "747953", "TxCnt": "399776",
        "HashRate": "1054321.5", "CapMrktCurUSD": null}], "next_page_token": "0.abc", "next_page_url": "https://..."}"""
    second = b'{"data": [{"asset": "eth", "time": "2025-11-05T00:00:00.000000000Z", "TxCnt": "1500000"}]}'
    urls, records, cursor = turn(coinmetrics, first, second)
    assert [url.partition("next_page_token=")[2] for url in urls] == ["", "0.abc"]
    assert "assets=btc,eth&metrics=AdrActCnt,TxCnt,HashRate,CapMrktCurUSD&frequency=1d" in urls[0]
    day = micros(2025, 11, 5)
    assert records == [
        OnchainMetric("BTC", "active_addresses", "coinmetrics", day, "747953", NOW),
        OnchainMetric("BTC", "tx_count", "coinmetrics", day, "399776", NOW),
        OnchainMetric("BTC", "hash_rate", "coinmetrics", day, "1054321500000000000.0", NOW),
        OnchainMetric("ETH", "tx_count", "coinmetrics", day, "1500000", NOW),
    ]
    assert cursor == "year"


@pytest.mark.parametrize(
    ("module", "body", "reason"),
    [
        (cboe, b"", "shape"),
        (cboe, b"<!DOCTYPE html>", "shape"),
        (cboe, b"DATE,OPEN,HIGH,LOW,CLOSE\n07/23/2026,17.67", "value"),
        (cboe, b"DATE,OPEN,HIGH,LOW,CLOSE\n23/07/2026,1,1,1,1\n", "value"),
        (fred, b"observation_date,SP500\n2026-07-02,x\n", "value"),
        (fred, b"", "shape"),
        (mempool_space, b"<html></html>", "json"),
        (mempool_space, b'{"error": "too many requests"}', "shape"),
        (blockchain_com, b'{"status":"not-found"}', "shape"),
        (coinmetrics, b'{"error":{"type":"forbidden"}}', "shape"),
        (coinmetrics, b'{"data":[{"asset":"btc","time":"soon"}]}', "value"),
        (coinmetrics, b'{"data":[{"asset":"btc","time":"2025-11-05T00:00:00Z","TxCnt":"NaN"}]}', "value"),
    ],
)
def test_a_malformed_response_is_rejected(module: Any, body: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        turn(module, *[body] * 30)
    assert refused.value.reason == reason


def test_a_provider_that_ends_its_keyless_use_is_off_without_a_key() -> None:
    plan, disabled = plan_of(registry.pollers()["whale_ethereum"], PollerSection())
    assert plan.base_url == "https://eth.blockscout.com"
    assert disabled == f"not enabled: {plan.terms}" and "deprecated since 2026-07-01" in disabled
    plan, disabled = plan_of(registry.pollers()["whale_ethereum"], PollerSection(api_key="k"))
    assert (plan.base_url, disabled) == ("https://api.etherscan.io/v2/api", "")


@pytest.mark.parametrize("name", sorted(registry.pollers()))
def test_every_plan_has_an_address_and_a_link_to_its_terms(name: str) -> None:
    module = registry.pollers()[name]
    assert all(plan.base_url.startswith("https://") and "https://" in plan.terms for plan in module.PLANS.values())
