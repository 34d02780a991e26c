"""`ingest backfill` as a process, from providers on loopback that send recorded responses and errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support import stored
from tests.support.backfills import Commands
from tests.support.daemon import on_apache, until
from tests.support.providers import JSON, VIX, Answer, serving

CHART = "coins/bitcoin/market_chart/range"
_CHUNKS = "SELECT j.source, j.symbol, c.state, c.verdict FROM jobs j JOIN job_chunks c ON c.job_id = j.id ORDER BY 1, 2, c.since"
_SPENT = "SELECT source, requests FROM poll_cursors ORDER BY source"


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


ALLOWED = {"per_minute": 100_000, "per_month": 1_000_000}


def polling(market: str, url: str, **pollers: dict[str, Any]) -> dict[str, Any]:
    return {
        "database": {"dsn": market, "admin_dsn": market},
        "pollers": {name: {"base_url": url, "budget": ALLOWED, **section} for name, section in pollers.items()},
        "retention": dict.fromkeys(("prices", "stock_indices", "sentiment_scores", "onchain_metrics"), "none"),
        "log": {"level": "warning"},
    }


def chains(real: Path) -> tuple[list[tuple[Any, ...]], dict[str, Answer]]:
    """The rows expected of the first 14 recorded days of Etherscan, and the responses with all days."""
    expected, answers = [], {}
    named = {"dailynewaddress": ("new_address", "newAddressCount"), "dailytx": ("tx", "transactionCount")}
    for (action, (file, count)), metric in zip(named.items(), ("new_addresses", "tx_count"), strict=True):
        days = json.loads((real / f"etherscan/pro_get_daily_{file}_count.json").read_text())["res"]
        answers[f"v2/api?action={action}"] = 200, json.dumps({"status": "1", "message": "OK", "result": days}).encode(), JSON
        expected += [(metric, day["UTCDate"], Decimal(day[count])) for day in days[:14]]
    return expected, answers


@on_apache
async def test_only_the_requested_days_of_a_response_are_stored(market: str, tmp_path: Path, real: Path) -> None:
    vix = (real / "stock_indices/vix-daily.csv").read_bytes()
    days = (real / "alternative_me/fng_limit2_2026-09-08.json").read_bytes()
    ether, actions = chains(real)
    async with serving(**{VIX[1:]: (200, vix, {}), "fng/": (200, days, JSON)}, **actions) as providers:
        sections = {"etherscan": {"plan": "pro", "api_key": "geheim-4711"}, "alphavantage": {"enabled": True, "api_key": "k"}}
        backfill = Commands(tmp_path, polling(market, providers.url, cboe={}, alternative_me={}, **sections))
        code, text = await backfill("indices", "--since", "2026-06-01", "--to", "2026-07-01")
        assert (code, "alphavantage has 140 days of history with this plan; begin at" in text) == (1, True), text
        assert "cboe: 1 chunks: 22 written, 0 revised, 0 were there already\n" in text
        lines = [line.split(",") for line in vix.decode().splitlines() if line.startswith("2026-06-")]
        rows = await stored.fetch(market, "SELECT time::date::text, open, high, low, close FROM stock_indices ORDER BY time")
        assert [tuple(row) for row in rows] == [(date, *map(Decimal, prices)) for date, *prices in lines]

        output = await backfill("onchain", "--source", "etherscan", "--from", "2019-02-01", "--to", "2019-02-15")
        assert output == (0, "etherscan: 1 chunks: 28 written, 0 revised, 0 were there already\n")
        rows = await stored.fetch(market, "SELECT metric, time::date::text, value FROM onchain_metrics ORDER BY metric, time")
        assert [tuple(row) for row in rows] == ether
        assert providers.requests[-1].query["apikey"] == "geheim-4711"

        providers.once["/fng/"] = [(200, days[:40], JSON)]
        span = ("--from", "2026-09-01", "--to", "2026-09-09")
        code, text = await backfill("sentiment", *span)
        assert (code, "1 chunks failed, the same command tries them again" in text) == (1, True), text
        assert (await backfill("sentiment", *span))[0] == 0
        assert len(await stored.fetch(market, "SELECT FROM sentiment_scores")) == 2
    done = [(name, "", "done", None) for name in ("alternative_me", "cboe", "etherscan")]
    assert [tuple(row) for row in await stored.fetch(market, _CHUNKS)] == done
    assert [tuple(row) for row in await stored.fetch(market, _SPENT)] == [("alternative_me", 2), ("cboe", 1), ("etherscan", 2)]


@on_apache
async def test_historical_prices_respect_the_monthly_budget_and_replace_nothing(market: str, tmp_path: Path, real: Path) -> None:
    chart = json.loads((real / "coingecko/hourly_historical_prices_for_one_coin.json").read_text())["body"]
    expected = [
        (datetime.fromtimestamp(stamp // 60_000 * 60, UTC), *(Decimal(str(value)) for value in (price, cap, volume)))
        for (stamp, price), (_, cap), (_, volume) in zip(*chart.values(), strict=True)
        if at(2021, 5, 1) <= datetime.fromtimestamp(stamp // 60_000 * 60, UTC) < at(2021, 5, 5)
    ]
    span = ("--from", "2021-05-01", "--to", "2021-05-05")
    async with serving(**{CHART: (200, json.dumps(chart).encode(), JSON)}) as providers:
        section = {"plan": "analyst", "api_key": "geheim-4711", "symbols": ["BTC"]}
        backfill = Commands(tmp_path, polling(market, providers.url, coingecko=section))
        output = await backfill("prices", *span, "--dry-run")
        assert output == (0, "coingecko: coingecko BTC: 2021-05-01 00:00 to 2021-05-05 00:00\n")
        assert not providers.requests

        backfill.settings["pollers"]["coingecko"]["budget"] = ALLOWED | {"per_month": 1}
        code, text = await backfill("prices", *span)
        assert (code, "the budget of 1 requests a month is spent (pollers.coingecko.budget.per_month)" in text) == (1, True), text
        backfill.settings["pollers"]["coingecko"]["budget"] = ALLOWED
        output = await backfill("prices", *span)
        assert output == (0, f"coingecko: 1 chunks: {len(expected)} written, 0 revised, 0 were there already\n")
        query = "SELECT time, price_usd, market_cap_usd, volume_24h_usd FROM prices ORDER BY time"
        assert [tuple(row) for row in await stored.fetch(market, query)] == expected
        assert providers.requests[-1].headers["x-cg-pro-api-key"] == "geheim-4711"
        assert dict(providers.requests[-1].query) == {"vs_currency": "aud", "from": "1619827200", "to": "1620172800"}

        fuller = "UPDATE prices SET change_1h = 1.5, received_at = now() WHERE time = (SELECT max(time) FROM prices)"
        await stored.fetch(market, fuller)
        output = await backfill("prices", *span, "--again")
        assert output == (0, f"coingecko: 1 chunks: 0 written, 0 revised, {len(expected)} were there already\n")
        assert await backfill("prices", *span) == (0, "coingecko: nothing is pending\n")
        assert providers.request_counts[f"/{CHART}"] == 1 + 2 + 2
    assert [tuple(row) for row in await stored.fetch(market, _CHUNKS)] == [("coingecko", "BTC", "done", None)]
    assert [tuple(row) for row in await stored.fetch(market, _SPENT)] == [("coingecko", 5)]


@on_apache
async def test_after_a_kill_the_same_command_loads_the_pending_coins(market: str, tmp_path: Path, real: Path) -> None:
    chart = json.loads((real / "coingecko/hourly_historical_prices_for_one_coin.json").read_text())["body"]
    other = CHART.replace("bitcoin", "ethereum")
    span = ("--from", "2021-05-01", "--to", "2021-05-05")
    async with serving(**dict.fromkeys((CHART, other), (200, json.dumps(chart).encode(), JSON))) as providers:
        providers.once[f"/{other}"] = [None]
        backfill = Commands(tmp_path, polling(market, providers.url, coingecko={"plan": "analyst", "api_key": "k"}))
        killed = await backfill.start("prices", *span)

        async def is_half_done() -> bool:
            return {tuple(row)[1:3] for row in await stored.fetch(market, _CHUNKS)} == {("BTC", "done"), ("ETH", "pending")}

        await until(is_half_done)
        await until(lambda: providers.request_counts[f"/{other}"] == 1)
        killed.kill()
        await killed.wait()
        code, output = await backfill("prices", *span)
        assert (code, output.startswith("coingecko: 1 chunks: ")) == (0, True), output
        assert providers.request_counts == {f"/{CHART}": 2, f"/{other}": 1 + 2}
    assert {tuple(row)[1:3] for row in await stored.fetch(market, _CHUNKS)} == {("BTC", "done"), ("ETH", "done")}
    assert [tuple(row) for row in await stored.fetch(market, _SPENT)] == [("coingecko", 5)]


@on_apache
async def test_a_bad_line_of_a_file_costs_itself_and_an_odd_one_is_flagged(market: str, tmp_path: Path) -> None:
    """Real lines of VIX_History.csv, the last of which is cut; that of 2006 has a high below its open."""
    lines = [
        "DATE,OPEN,HIGH,LOW,CLOSE",
        "02/08/2006,41.60,13.61,12.76,12.83",
        "11/17/2025,18.1,18.9,17.7,18.3",
        "11/18/2025,BAD,18.2,,17.24",
        "11/19/2025,17.3,18",
    ]
    async with serving(**{VIX[1:]: (200, "\n".join(lines).encode(), {})}) as providers:
        backfill = Commands(tmp_path, polling(market, providers.url, cboe={}))
        output = await backfill("indices", "--from", "2000-01-01", "--to", "2026-01-01")
        assert output == (0, "cboe: 1 chunks: 2 written, 0 revised, 0 were there already, 2 rejected (see the table rejects)\n")
    rows = await stored.fetch(market, "SELECT time::date::text, open, close FROM stock_indices ORDER BY time")
    assert [tuple(row) for row in rows] == [
        ("2006-02-08", Decimal("41.60"), Decimal("12.83")),
        ("2025-11-17", Decimal("18.1"), Decimal("18.3")),
    ]
    rejects = await stored.fetch(market, "SELECT source, stage, payload FROM rejects ORDER BY payload")
    assert [tuple(row)[:2] for row in rejects] == [("cboe", "decode"), ("cboe", "decode"), ("cboe", "flag")]
    assert {row["payload"] for row in rejects[:2]} == {"11/19/2025,17.3,18", "2025-11-18,BAD,18.2,,17.24"}
    assert '"open":41.60' in rejects[2]["payload"]
    assert [tuple(row) for row in await stored.fetch(market, _CHUNKS)] == [("cboe", "", "done", None)]


@on_apache
async def test_an_empty_list_of_prices_is_not_a_range_without_prices(market: str, tmp_path: Path) -> None:
    empty = b'{"prices":[],"market_caps":[],"total_volumes":[]}'
    async with serving(**{CHART: (200, empty, JSON)}) as providers:
        section = {"plan": "analyst", "api_key": "geheim-4711", "symbols": ["BTC"]}
        backfill = Commands(tmp_path, polling(market, providers.url, coingecko=section))
        code, text = await backfill("prices", "--from", "2021-05-01", "--to", "2021-05-05")
    assert (code, "BTC in usd: the answer is empty; right would be some rows" in text) == (1, True), text
    ((source, symbol, state, verdict),) = map(tuple, await stored.fetch(market, _CHUNKS))
    assert (source, symbol, state, "the answer is empty" in verdict) == ("coingecko", "BTC", "failed", True)


@on_apache
async def test_a_bad_point_of_a_chart_is_kept_without_the_key_and_early_days_are_counted(market: str, tmp_path: Path) -> None:
    at_noon = 1_619_870_400_000
    chart = {
        "prices": [[at_noon, 57_000], ["geheim-4711", 1], [at_noon + 3_600_000, 57_100]],
        "market_caps": [],
        "total_volumes": [],
    }
    days = b"Date,Open,High,Low,Close,Volume\n1896-05-27,29.39,29.39,29.39,29.39,\n2021-05-03,4191.98,4209.39,4188.03,4192.66,1\n"
    async with serving(**{CHART: (200, json.dumps(chart).encode(), JSON), "q/d/l/": (200, days, {})}) as providers:
        section = {"plan": "analyst", "api_key": "geheim-4711", "symbols": ["BTC"]}
        backfill = Commands(tmp_path, polling(market, providers.url, coingecko=section, stooq={"enabled": True, "api_key": "k"}))
        code, text = await backfill("prices", "--from", "2021-05-01", "--to", "2021-05-05")
        assert (code, "2 written, 0 revised, 0 were there already, 2 rejected" in text) == (0, True), text
        (reject,) = await stored.fetch(market, "SELECT DISTINCT source, stage, payload FROM rejects")
        assert (reject["source"], reject["stage"], "geheim" in reject["payload"]) == ("coingecko", "decode", False)
        code, text = await backfill("indices", "--source", "stooq", "--from", "1890-01-01", "--to", "2022-01-01")
        assert (code, "filtered" in text) == (0, True), text
