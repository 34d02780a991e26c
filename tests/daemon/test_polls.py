"""The daemon polls providers on loopback: responses are stored field by field, and an error of one provider disturbs no other.

CoinGecko's /coins/markets, alternative.me's days, CoinDesk's feed and the file of the VIX are recorded. No recorded /simple/price
has AUD: its response has the shape of the documented example, https://docs.coingecko.com/reference/simple-price.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.daemon import Daemon, on_apache, until
from tests.support.providers import JSON, SIMPLE, VIX, Answer, Providers, polling, serving

Daemons = Callable[..., Daemon]


@pytest.fixture
async def providers(real: Path) -> AsyncIterator[Providers]:
    markets = (real / "jkorf_coingecko/Endpoints.GetMarkets.txt").read_text().split("false\n", 1)[1]
    always: dict[str, Answer] = {
        "coins/markets": (200, markets.encode(), JSON | {"ETag": 'W/"14e4fb"'}),
        "simple/price": (200, SIMPLE, JSON),
        "arc/outboundfeeds/rss/": (
            200,
            (real / "news_rss/coindesk_2026-09-25.xml").read_bytes(),
            {"Content-Type": "text/xml", "Last-Modified": "Fri, 25 Sep 2026 16:22:09 GMT"},
        ),
        VIX[1:]: (200, (real / "stock_indices/vix-daily.csv").read_bytes(), {}),
        "fng/": (200, (real / "alternative_me/fng_limit2_2026-09-08.json").read_bytes(), JSON),
    }
    async with serving(**always) as providers:
        yield providers


async def rows(dsn: str, query: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [dict(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_prices_are_stored_as_received(market: str, providers: Providers, daemon: Daemons) -> None:
    instance = await daemon(polling(market, providers, coingecko={"symbols": ["BTC"]})).start()
    await instance.until(lambda now: now.rows("prices")["written"] == 1 and now.rows("prices")["duplicate"] >= 2)
    (row,) = await rows(market, "SELECT * FROM market.prices")
    assert row.pop("received_at") > datetime(2026, 1, 1, tzinfo=UTC)
    assert row == {
        "symbol": "BTC",
        "coingecko_id": "bitcoin",
        "source": "coingecko",
        "time": datetime(2024, 4, 7, 16, 49, tzinfo=UTC),
        "price_usd": Decimal(70187),
        "price_aud": Decimal("105280.51"),
        "market_cap_usd": Decimal(1381651251183),
        "market_cap_aud": Decimal("2072476876774.5"),
        "volume_24h_usd": Decimal(20154184933),
        "volume_24h_aud": Decimal("30231277399.25"),
        "change_1h": None,
        "change_24h": Decimal("3.12502"),
        "change_7d": None,
        "high_24h": Decimal(70215),
        "low_24h": Decimal(68060),
    }
    request = next(request for request in providers.requests if request.path == "/coins/markets")
    assert dict(request.query) == {
        "vs_currency": "usd",
        "ids": "bitcoin",
        "price_change_percentage": "1h,24h,7d",
        "per_page": "250",
        "page": "1",
    }
    assert any(request.headers.get("If-None-Match") == 'W/"14e4fb"' for request in providers.requests)
    providers.always["/simple/price"] = (200, SIMPLE.replace(b"105280.51", b"105281"), JSON)
    await instance.until(lambda now: now.rows("prices")["revised"] == 1)
    assert await rows(market, "SELECT price_aud FROM prices") == [{"price_aud": Decimal(105281)}]
    assert await instance.terminate() == 0
    instance.logged_row_totals("prices")


LINK = "https://www.coindesk.com/markets/2026/09/25/circle-and-tether-step-in-to-freeze-hacker-wallet-after-massive-bitget-crypto-heist"
OKX = {
    "annType": "announcements-new-listings",
    "title": "OKX to list Virtuals Protocol (VIRTUAL) for spot trading",
    "url": "https://www.okx.com/help/okx-to-list-virtuals-protocol-virtual-for-spot-trading",
    "pTime": "1761620404821",
    "businessPTime": "1761620400000",
}


def announced(*details: dict[str, str]) -> Answer:
    """https://www.okx.com/docs-v5/en/#announcement-get-announcements"""
    return 200, json.dumps({"code": "0", "msg": "", "data": [{"details": details, "totalPage": "1"}]}).encode(), JSON


def collected(*posts: dict[str, Any]) -> Answer:
    """In the shape of CryptoPanic's recorded responses, whose `next` contains the key."""
    page = {"count": 100, "next": "https://cryptopanic.com/?auth_token=geheim-4711&page=2", "previous": None, "results": posts}
    return 200, json.dumps(page).encode(), JSON


async def rejected(dsn: str) -> list[dict[str, Any]]:
    """The rejects of CryptoPanic once the article of 2099 is among them: rejects are written up to a second later."""
    kept = await rows(dsn, "SELECT reason, message, payload FROM rejects WHERE source = 'news_cryptopanic'")
    return kept if any(row["reason"] == "value" for row in kept) else []


@on_apache
async def test_news_and_indices_are_stored_as_received(market: str, providers: Providers, daemon: Daemons, real: Path) -> None:
    """CryptoPanic is served last, so that the article of CoinDesk to which it links is already known."""
    text = (real / "cryptopanic/moq_2018.js.txt").read_text()
    recorded = json.JSONDecoder().raw_decode(text, text.index("{", text.index("generic:")))[0]["results"][0]
    post = recorded | {"published_at": "2026-09-25T14:00:00Z"}
    linked = post | {"id": 1, "title": "Heist", "original_url": LINK + "?utm_source=cryptopanic#top"}
    providers.always["/api/v5/support/announcements"] = announced(OKX)
    providers.always["/posts/"] = (200, collected()[1].replace(b"[]", b"{}"), JSON)
    settings = polling(market, providers, news_coindesk={}, news_okx={}, news_cryptopanic={}, cboe={"interval": "1 hour"})
    instance = await daemon(settings, {"INGEST__POLLERS__NEWS_CRYPTOPANIC__API_KEY": "geheim-4711"}).start()
    await instance.until(lambda now: now.rows("news")["written"] == 4 and now.rows("stock_indices")["written"])
    providers.always["/posts/"] = collected(post, linked, post | {"id": 2, "published_at": "2099-01-01T00:00:00Z"}, {"id": "x"})
    await instance.until(lambda now: now.rows("news")["written"] == 5 and now.rows("news")["duplicate"] >= 6, 40)
    found = await rows(market, "SELECT * FROM market.news ORDER BY time DESC")
    assert [row["source"] for row in found] == ["coindesk", "coindesk", "coindesk", "cryptopanic", "okx"]
    assert {name: value for name, value in found[0].items() if name != "received_at"} == {
        "source": "coindesk",
        "id": "a0b4a6ba-5569-4fef-940c-e402f9698d89",
        "time": datetime(2026, 9, 25, 14, 41, 53, tzinfo=UTC),
        "title": "Circle and Tether step in to freeze hacker wallet after massive Bitget crypto heist",
        "summary": "The stablecoin issuer blacklisted a wallet holding about $318,000 in USDT and USDC. Most of the stolen funds "
        "sit in ether, which can't be frozen.",
        "url": LINK,
        "author": "Oliver Knight",
        "image_url": "https://cdn.sanity.io/images/s3y3vcno/production/fa4127f0e7d39e461c0b46e5ad103a58c4d7cf7f-1920x1080.png"
        "?fm=jpg&w=1920&h=1080&crop=focalpoint&fit=clip",
        "symbols": ["ETH", "USDC", "USDT"],
        "categories": ["Markets", "Circle", "Tether", "News", "security"],
        "sentiment": Decimal("-0.9345"),
        "relevance": Decimal("0.81"),
        "impact_level": "critical",
    }
    names = ("id", "title", "author", "url", "symbols", "categories", "impact_level")
    title = "NEO ($NEO) price is up 20.99%"
    assert [found[3][name] for name in names] == ["841770", title, "CoinMarketCap", recorded["url"], ["NEO"], [], "low"]
    labels = ["announcements-new-listings", "listing"]
    assert [found[4][name] for name in names] == [OKX["url"], OKX["title"], None, OKX["url"], ["VIRTUAL"], labels, "high"]
    await until(lambda: providers.request_counts["/arc/outboundfeeds/rss/"] >= 2)
    dates = {request.headers.get("If-Modified-Since") for request in providers.requests if "rss" in request.path}
    assert dates == {None, "Fri, 25 Sep 2026 16:22:09 GMT"}, "only the first request has no If-Modified-Since"
    request = next(request for request in providers.requests if request.path == "/posts/")
    assert request.query["auth_token"] == "geheim-4711"
    kept = await until(lambda: rejected(market))
    assert {row["reason"] for row in kept} == {"shape", "value"}
    assert sum("more than an hour ahead" in row["message"] for row in kept) == 1, (
        "rejected once, although each turn receives it again"
    )
    assert "geheim" not in instance.log + str(kept)
    lines = [line.split(",") for line in providers.always[VIX][1].decode().splitlines()[1:]]
    await instance.until(lambda now: now.rows("stock_indices")["decoded"] == len(lines) and not now.rows("stock_indices")["queued"])
    stored = await rows(market, "SELECT time::date::text AS date, open, high, low, close, volume FROM stock_indices ORDER BY time")
    expired = int(await instance.value("rows_expired_total", table="stock_indices"))
    assert 0 < len(stored) == len(lines) - expired
    assert [list(row.values()) for row in stored] == [[date, *map(Decimal, prices), None] for date, *prices in lines[expired:]]


@on_apache
async def test_an_error_of_a_provider_is_counted_and_disturbs_no_other(market: str, providers: Providers, daemon: Daemons) -> None:
    good = providers.always["/fng/"]
    bad: list[Answer] = [
        (500, b"", {}),
        (200, b"<!DOCTYPE html><html>Just a moment...</html>", {"Content-Type": "text/html"}),
        (200, good[1][:40], JSON),
        (429, b'{"error":"slow down"}', JSON | {"Retry-After": "1"}),
    ]
    providers.once["/fng/"] = list(bad)
    providers.always["/coins/markets"] = (401, b'{"status":{"error_code":10002,"error_message":"API Key Missing"}}', JSON)
    instance = await daemon(polling(market, providers, coingecko={"symbols": ["BTC"]}, alternative_me={})).start()
    # a turn ends a little after its rows are committed: the duplicates are of the turn after it
    await instance.until(lambda now: now.rows("sentiment_scores")["written"] == 2 <= now.rows("sentiment_scores")["duplicate"], 40)
    found = await rows(market, "SELECT symbol, platform, interval, time, social_score, label FROM sentiment_scores ORDER BY time")
    days = json.loads(good[1])["data"]
    assert found == [
        {
            "symbol": "BTC",
            "platform": "alternative_me",
            "interval": "1d",
            "time": datetime.fromtimestamp(int(day["timestamp"]), UTC),
            "social_score": Decimal(day["value"]),
            "label": day["value_classification"],
        }
        for day in reversed(days)
    ]
    scrape = await instance.balanced_scrape()
    assert scrape.value("poll_requests_total", source="alternative_me") >= len(bad) + 1
    assert scrape.value("errors_total", stage="decode", error_type="json") == 2
    assert scrape.value("errors_total", stage="poll", error_type="Retry") == 2
    status = (await instance.status())["pollers"]
    assert status["alternative_me"]["state"] == "ok"
    assert status["coingecko"]["state"] == "disabled"
    assert status["coingecko"]["detail"].startswith("GET http://127.0.0.1")
    assert providers.request_counts["/coins/markets"] == 1
    assert await rows(market, "SELECT cursor, requests FROM poll_cursors WHERE source = 'coingecko'") == [
        {"cursor": "", "requests": 1}
    ]
    (row,) = await rows(market, "SELECT cursor FROM poll_cursors WHERE source = 'alternative_me'")
    assert row == {"cursor": days[0]["timestamp"]}
    kept = await rows(market, "SELECT reason, payload FROM rejects WHERE source = 'alternative_me' ORDER BY payload")
    assert kept == [{"reason": "json", "payload": body.decode()} for _, body, _ in bad[1:3]]


@on_apache
async def test_a_provider_without_a_key_is_disabled_with_the_reason(market: str, providers: Providers, daemon: Daemons) -> None:
    sections: dict[str, Any] = {"coingecko": {"plan": "demo"}, "alternative_me": {"enabled": False}}
    instance = await (await daemon(polling(market, providers, **sections)).start()).ready()
    status = await until(lambda: asyncio.ensure_future(polled(instance)))
    assert (status["coingecko"]["state"], status["coingecko"]["detail"]) == ("disabled", "no key")
    assert status["alternative_me"]["state"] == "disabled"
    assert status["alternative_me"]["detail"].startswith("not enabled: https://alternative.me")
    assert not providers.requests


async def polled(instance: Daemon) -> dict[str, Any]:
    return (await instance.status())["pollers"]


@on_apache
async def test_two_daemons_poll_once_and_the_key_is_in_a_header(market: str, providers: Providers, daemon: Daemons) -> None:
    """The second daemon finds the lease taken; a restarted daemon finds that nothing is due."""
    settings = polling(market, providers, coingecko={"symbols": ["BTC"], "interval": "1 hour"})
    environment = {"INGEST__POLLERS__COINGECKO__API_KEY": "geheim-4711"}
    first = await daemon(settings, environment).start()
    await first.until(lambda now: now.rows("prices")["written"] == 1)
    assert providers.requests[0].headers["x-cg-demo-api-key"] == "geheim-4711"
    second = await daemon(settings | {"name": "two"}, environment).start()
    await until(lambda: asyncio.ensure_future(is_standby(second)))
    assert await first.terminate() == 0
    again = await daemon(settings, environment).start()
    await again.ready()
    await until(lambda: asyncio.ensure_future(knows_its_month(again)))
    assert providers.request_counts == {"/coins/markets": 1, "/simple/price": 1}
    assert "geheim" not in first.log + second.log + again.log


async def is_standby(instance: Daemon) -> bool:
    return bool((await polled(instance)).get("coingecko", {}).get("state") == "standby")


async def knows_its_month(instance: Daemon) -> bool:
    return str((await polled(instance)).get("coingecko", {}).get("requests_this_month", "")).startswith("2 of")


@on_apache
async def test_a_reload_adds_and_removes_providers(market: str, providers: Providers, daemon: Daemons) -> None:
    instance = await daemon(polling(market, providers, alternative_me={}, cboe={})).start()
    await instance.until(lambda now: now.rows("stock_indices")["written"] > 0 and now.rows("sentiment_scores")["written"] > 0)
    instance.configure(polling(market, providers, alternative_me={"interval": "1h"}, coingecko={"symbols": ["BTC"]}))
    instance.signal(signal.SIGHUP)
    await instance.until(lambda now: now.rows("prices")["written"] == 1)
    state = await instance.status()
    assert sorted(state["pollers"]) == ["alternative_me", "coingecko"]
    assert state["pollers"]["alternative_me"]["interval_seconds"] == 3600
    before = providers.request_counts[VIX]
    await instance.until(lambda now: now.rows("prices")["duplicate"] >= 3)
    assert providers.request_counts[VIX] == before
    assert await instance.terminate() == 0
