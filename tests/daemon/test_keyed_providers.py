"""Stock indices and on-chain figures, mostly of providers with a key, are stored value by value.

Recorded: Yahoo's charts (of a stock instead of an index), Stooq's files, Etherscan's gas prices, figures of Coin Metrics, and bars
of Alpha Vantage. Documented examples: the other responses of Etherscan, and those of Glassnode and Moralis.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support import stored
from tests.support.daemon import Daemon, on_apache, until
from tests.support.providers import JSON, Answer, polling, serving

Daemons = Callable[..., Daemon]
KEY = "geheim-4711"
KEYED = ("stooq", "alphavantage", "etherscan", "glassnode", "moralis")
SLOW = {"enabled": True, "interval": "1 hour"}


def answer(value: object) -> Answer:
    return 200, json.dumps(value).encode(), JSON


def chart(real: Path) -> dict[str, Any]:
    text = (real / "yahoo/chart-AAPL-2020-08-31-to-2020-11-07.json").read_text()
    body: dict[str, Any] = json.loads(text)["response"]["bodyJson"]
    return body


def bars(real: Path) -> list[dict[str, str]]:
    return list(json.loads((real / "alphavantage/mock_time_series.json").read_text())["Time Series (1min)"].values())[:2]


def file(real: Path, name: str) -> list[dict[str, str]]:
    """The last 30 days of a recorded file."""
    with (real / f"stock_indices/stooq_{name}_usd.csv").open() as lines:
        return list(csv.DictReader(lines))[-30:]


def text_of(rows: list[dict[str, str]]) -> Answer:
    return 200, "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]).encode(), {"Content-Type": "text/csv"}


async def stored_indices(market: str, source: str) -> list[tuple[Any, ...]]:
    query = "SELECT index_name, time::date::text, open, high, low, close, volume FROM stock_indices WHERE source = $1 ORDER BY 1, 2"
    return [tuple(row) for row in await stored.fetch(market, query, source)]


@on_apache
async def test_indices_are_stored_as_received(market: str, real: Path, daemon: Daemons) -> None:
    days = dict(zip(("2026-11-18", "2026-11-17"), bars(real), strict=True))
    always = {f"v8/finance/chart/^{name}": answer(chart(real)) for name in ("GSPC", "IXIC", "VIX")}
    always |= {f"q/d/l/?s=^{name}": text_of(file(real, of)) for name, of in (("spx", "sp500"), ("ndq", "nasdaq"))}
    always |= {"query": answer({"Meta Data": {}, "Time Series (Daily)": days})}
    async with serving(**always) as providers:
        settings = polling(market, providers, yahoo=SLOW, stooq=SLOW, alphavantage=SLOW)
        settings["retention"] = {"stock_indices": "none"}
        instance = await daemon(settings, {f"INGEST__POLLERS__{name.upper()}__API_KEY": KEY for name in KEYED[:2]}).start()
        await instance.until(lambda now: now.rows("stock_indices")["written"] == 3 * 49 + 60 + 4)

        async def all_are_ok() -> bool:
            """True also though the newest day is years old: its age is not reported, because exchanges have holidays."""
            return {poller["state"] for poller in (await instance.status())["pollers"].values()} == {"ok"}

        await until(all_are_ok)
        assert [request.query["apikey"] for request in providers.requests if "apikey" in request.query] == [KEY] * 4
        assert await instance.terminate() == 0
        assert KEY not in instance.log
    found = await stored_indices(market, "yahoo")
    result = chart(real)["chart"]["result"][0]
    quotes = [result["indicators"]["quote"][0][name] for name in ("open", "high", "low", "close", "volume")]
    expected = [
        (f"{datetime.fromtimestamp(stamp, UTC):%Y-%m-%d}", *(Decimal(repr(value)) for value in values))
        for stamp, *values in zip(result["timestamp"], *quotes, strict=True)
    ]
    assert found == [(name, *row) for name in ("NASDAQ", "SPX", "VIX") for row in expected]
    lines = [("NASDAQ", *row.values()) for row in file(real, "nasdaq")] + [("SPX", *row.values()) for row in file(real, "sp500")]
    assert await stored_indices(market, "stooq") == [(name, date, *map(Decimal, values)) for name, date, *values in lines]
    funds = [(name, date, *map(Decimal, days[date].values())) for name in ("QQQ", "SPY") for date in sorted(days)]
    assert await stored_indices(market, "alphavantage") == funds


def chains(real: Path) -> dict[str, Answer]:
    """Responses: the actions of Etherscan, a day of Coin Metrics, and one figure each of Glassnode and Moralis."""
    results = {"gasoracle": json.loads((real / "etherscan/get_gas_oracle.json").read_text())["res"]}
    results["ethsupply2"] = {
        "EthSupply": "122373866217800000000000000",
        "Eth2Staking": "2940327167090033000000000",
        "BurntFees": "4610942856337430575173814",
        "WithdrawnTotal": "7618584348954597000000000",
    }
    results["nodecount"] = {"UTCDate": "2025-09-25", "TotalNodeCount": "11786"}
    always = {
        f"v2/api?action={name}": answer({"status": "1", "message": "OK", "result": result}) for name, result in results.items()
    }
    with (real / "coinmetrics/btc.csv").open() as lines:
        day = list(csv.DictReader(lines))[-1]
    figures = {name: day[name] for name in ("AdrActCnt", "TxCnt", "CapMrktCurUSD")}
    always["v4/timeseries/asset-metrics"] = answer({"data": [{"asset": "btc", "time": f"{day['date']}T00:00:00Z", **figures}]})
    always["v1/metrics/addresses/active_count"] = answer([{"t": 1758758400, "v": 812345.0}])
    for path in ("addresses/new_non_zero_count", "transactions/count", "fees/volume_sum", "market/marketcap_usd"):
        always[f"v1/metrics/{path}"] = answer([])
    always["api/v2.2/erc20/0xdac17f958d2ee523a2206206994597c13d831ec7/holders"] = answer({"totalHolders": "99999"})
    return always


@on_apache
async def test_onchain_figures_are_stored_as_received(market: str, real: Path, daemon: Daemons) -> None:
    async with serving(**chains(real)) as providers:
        sections = {"etherscan": SLOW, "coinmetrics": SLOW}
        sections |= {"glassnode": SLOW | {"symbols": ["ETH"]}, "moralis": SLOW | {"symbols": ["USDT"]}}
        settings = polling(market, providers, **sections)
        settings["retention"] = {"onchain_metrics": "none"}
        instance = await daemon(settings, {f"INGEST__POLLERS__{name.upper()}__API_KEY": KEY for name in KEYED[2:]}).start()
        await instance.until(lambda now: now.rows("onchain_metrics")["written"] == 6 + 3 + 1 + 1)
        headers = {request.path.split("/")[1]: request.headers for request in providers.requests}
        assert (headers["v1"]["X-Api-Key"], headers["api"]["X-API-Key"]) == (KEY, KEY)
        assert KEY not in instance.log
    query = "SELECT source, asset, metric, value FROM onchain_metrics ORDER BY 1, 2, 3"
    assert [tuple(row) for row in await stored.fetch(market, query)] == [
        ("coinmetrics", "BTC", "active_addresses", Decimal(546144)),
        ("coinmetrics", "BTC", "market_cap_usd", Decimal("147875242280.4089172825330646")),
        ("coinmetrics", "BTC", "tx_count", Decimal(281555)),
        ("etherscan", "ETH", "burnt_fees", Decimal("4610942.856337430575173814")),
        ("etherscan", "ETH", "gas_price_fast", Decimal(89)),
        ("etherscan", "ETH", "gas_price_propose", Decimal(82)),
        ("etherscan", "ETH", "gas_price_safe", Decimal(62)),
        ("etherscan", "ETH", "node_count", Decimal(11786)),
        ("etherscan", "ETH", "supply", Decimal("120703250.528552602424826186")),
        ("glassnode", "ETH", "active_addresses", Decimal("812345.0")),
        ("moralis", "USDT", "token_holders", Decimal(99999)),
    ]
