"""Real on-chain series, which others stored as CSV, in the documented layouts of the providers.

Hash rates are of blockchain.com, counts of Coin Metrics, the mempool of a node of mempool.space. No original response is recorded.
"""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

from ingest.pollers import blockchain_com, coinmetrics, mempool_space
from ingest.records import MINUTE, SECOND, Asset, OnchainMetric
from tests.support.turns import NOW, micros, turn


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def day(text: str) -> int:
    return micros(*map(int, text.split("-")))


def test_a_chart_of_years_is_converted_to_hashes_per_second(real: Path) -> None:
    """From the first block, when the hash rate was below one TH/s, the unit of blockchain.com."""
    series = {name: rows(real / f"onchain_series/{name}.csv") for name in ("hashrate", "difficulty")}
    charts = {
        name: [[day(row["date"]) // SECOND, row[name]] for row in series[name] if row[name]] for name in ("hashrate", "difficulty")
    }
    bodies = [
        b'{"status":"ok","values":[%s]}' % b",".join(b'{"x":%d,"y":%s}' % (x, y.encode()) for x, y in charts[name])
        for name in ("hashrate", "difficulty", "difficulty", "difficulty")
    ]
    result = turn(blockchain_com, *bodies)
    rates = [metric for metric in result.records if metric.metric == "hash_rate"]
    assert [metric.time for metric in rates] == [x * SECOND for x, _ in charts["hashrate"]]
    assert [Decimal(metric.value) for metric in rates] == [Decimal(y) * 10**12 for _, y in charts["hashrate"]]
    assert Decimal(rates[-1].value) == 1_107_446_999_964_330_000_000
    last = next(metric for metric in reversed(result.records) if metric.metric == "difficulty")
    assert (last.time, last.value) == (micros(2026, 2, 12), "125864590119494")


def test_days_of_coin_metrics_leave_out_missing_figures(real: Path) -> None:
    """In 2009 bitcoin had no price, so a day has fewer figures than in 2019. Values keep the digits of the source."""
    kept = [row for row in rows(real / "coinmetrics/btc.csv") if row["date"] in ("2009-01-03", "2019-10-20")]
    names = [name for name in coinmetrics.METRICS if name in kept[0]]
    data = [
        {"asset": "btc", "time": f"{row['date']}T00:00:00.000000000Z", **{name: row[name] for name in names if row[name]}}
        for row in kept
    ]
    result = turn(coinmetrics, json.dumps({"data": data}).encode(), assets=(Asset("BTC", "btc"),))
    last = micros(2019, 10, 20)
    assert [(metric.metric, metric.value) for metric in result.records if metric.time != last] == [
        ("active_addresses", "0"),
        ("tx_count", "0"),
    ]
    assert {metric.metric: metric.value for metric in result.records if metric.time == last} == {
        "active_addresses": "546144",
        "tx_count": "281555",
        "market_cap_usd": "147875242280.4089172825330646",
    }


def test_the_mempool_has_the_minute_of_the_response(real: Path) -> None:
    info = json.loads((real / "mempool_space/mainnet_mempoolInfo.json").read_text())["mempoolInfo"]
    mempool = {"count": info["size"], "vsize": info["bytes"], "total_fee": 510536864, "fee_histogram": []}
    result = turn(mempool_space, b'{"hashrates":[],"difficulty":[]}', json.dumps(mempool).encode(), cursor="1y")
    minute = NOW - NOW % MINUTE
    assert result.records == [
        OnchainMetric("BTC", "mempool_tx_count", "mempool_space", minute, "112686", NOW),
        OnchainMetric("BTC", "mempool_vsize", "mempool_space", minute, "175691391", NOW),
    ]
