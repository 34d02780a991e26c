"""Many kinds of error responses of providers at once: each is counted and retried by its rule, and disturbs no other provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingest.pollers.blockchain_com import CHARTS
from tests.support import stored
from tests.support.daemon import Daemon, on_apache, until
from tests.support.providers import JSON, VIX, Answer, Providers, polling, recorded, serving

Daemons = Callable[..., Daemon]

HTML: Answer = (200, b"<!DOCTYPE html><html>Just a moment...</html>", {"Content-Type": "text/html"})
KEY = "geheim-4711"
LIMITED = b'{"Information": "We have detected your API key as geheim-4711 and our standard API rate limit is 25 requests per day."}'
SHUT: dict[str, Answer] = {  # errors that last
    "v1/metrics/addresses/active_count": (401, b'{"error":"unauthorized"}', JSON),
    "api/v2.2/erc20/0x7fc66500c84a76ad7e9c93437bfc5ac33e2ddae9/holders": (403, b'{"message":"plan"}', JSON),
    **dict.fromkeys((f"charts/{chart}" for chart in CHARTS), (422, b'{"error":"Missing parameter"}', JSON)),
    "v2/api": (200, b'{"status":"0","message":"NOTOK","result":"Max rate limit reached"}', JSON),
    "q/d/l/": (200, b"Exceeded the daily hits limit\n", {"Content-Type": "text/plain"}),
    "query": (200, LIMITED, JSON),
}
KEYED = ("glassnode", "moralis", "etherscan", "stooq", "alphavantage")


def break_once(providers: Providers) -> None:
    """One bad response of each kind before the good ones."""
    half = {path: (status, body[: len(body) // 2], headers) for path, (status, body, headers) in providers.always.items()}
    providers.once = {
        "/fng/": [(503, b"", {})],
        "/v4/timeseries/asset-metrics": [(429, b"", {})],
        "/api/v1/mining/hashrate/1y": [(429, b'{"error":"slow down"}', JSON | {"Retry-After": "1"})],
        "/v8/finance/chart/^GSPC": [HTML],
        VIX: [None],
        "/arc/outboundfeeds/rss/": [half["/arc/outboundfeeds/rss/"]],
        "/coins/markets": [half["/coins/markets"]],
    }


@on_apache
async def test_every_error_is_counted_and_disturbs_no_other_provider(market: str, real: Path, daemon: Daemons) -> None:
    async with serving(**recorded(real), **SHUT) as providers:
        break_once(providers)
        # a source whose response cannot be parsed waits for its next turn
        slow, fast = {"enabled": True, "interval": "1 hour"}, {"enabled": True, "interval": "1s"}
        sections: dict[str, dict[str, Any]] = dict.fromkeys((*KEYED, "blockchain_com", "coinmetrics", "mempool_space"), slow)
        sections |= {"alternative_me": slow, "cboe": slow | {"timeout": "1500ms"}}
        sections |= {"yahoo": fast, "news_coindesk": fast, "coingecko": fast | {"symbols": ["BTC"]}}
        settings = polling(market, providers, **sections)
        settings["retention"] = dict.fromkeys(("stock_indices", "onchain_metrics"), "none")
        instance = await daemon(settings, {f"INGEST__POLLERS__{name.upper()}__API_KEY": KEY for name in KEYED}).start()
        await instance.until(lambda now: now.rows("sentiment_scores")["written"] == 2 and now.rows("prices")["written"] == 1, 60)
        await instance.until(lambda now: now.rows("onchain_metrics")["written"] == 4 and now.rows("news")["written"] == 3, 60)
        await instance.until(
            lambda now: now.rows("stock_indices")["written"] == 3 * 49 + recorded(real)[VIX[1:]][1].count(b"\n") - 1, 60
        )

        async def final_states() -> dict[str, str]:
            """The states, once they are final: a turn ends a little after its rows are committed."""
            message = {
                name: f"{poller['state']}: {poller['detail']}" for name, poller in (await instance.status())["pollers"].items()
            }
            return message if {name for name, state in message.items() if state != "ok: "} == {*KEYED, "blockchain_com"} else {}

        states = await until(final_states)
        for name in ("glassnode", "moralis", "blockchain_com"):
            assert states[name].startswith("disabled: GET http://127.0.0.1"), states[name]
        limits = {"etherscan": "Max rate limit", "stooq": "Exceeded the daily hits limit", "alphavantage": "API key as *** and"}
        for name, message in limits.items():
            assert states[name].startswith("failing: ") and message in states[name], states[name]
        scrape = await instance.balanced_scrape()
        assert scrape.value("errors_total", stage="poll", error_type="Retry") >= 4 + 3  # 503, 429, 429, time; three limits
        # 401, 403 and 422, the last also for each chart; three responses that cannot be parsed
        assert scrape.value("errors_total", stage="poll", error_type="Reject") == 3 + len(CHARTS) + 3
        await check_what_is_kept(market, instance, providers)


async def check_what_is_kept(market: str, instance: Daemon, providers: Providers) -> None:
    """Rejects hold the responses that could not be parsed, requests are counted by provider, and no key is stored."""
    kept = await stored.fetch(market, "SELECT DISTINCT source, stage, reason FROM rejects ORDER BY source")
    flagged = ("cboe", "flag", "contradiction")  # bars of 1992 to 2006
    reasons = [
        flagged,
        *((name, "decode", form) for name, form in [("coingecko", "json"), ("news_coindesk", "xml"), ("yahoo", "json")]),
    ]
    assert [tuple(row) for row in kept] == reasons
    rows = await stored.fetch(market, "SELECT payload, message FROM rejects")
    assert KEY not in str([tuple(row) for row in rows]) + instance.log
    spent = dict(await stored.fetch(market, "SELECT source, requests FROM poll_cursors"))  # type: ignore[arg-type]
    by_path = Counter(request.path.split("/")[1] for request in providers.requests)
    (due,) = await stored.fetch(
        market, "SELECT due_at < now() + interval '61 s' AS soon FROM poll_cursors WHERE source = 'glassnode'"
    )
    assert due["soon"]  # the next process tries a corrected key
    expected = {"alternative_me": "fng", "stooq": "q", "alphavantage": "query", "glassnode": "v1", "coinmetrics": "v4"}
    assert {name: spent[name] for name in expected} == {name: by_path[path] for name, path in expected.items()}
    assert (spent["alternative_me"], spent["coinmetrics"], spent["stooq"], spent["glassnode"]) == (2, 2, 1, 1)


@on_apache
async def test_an_unknown_coin_is_reported_and_the_others_have_prices(market: str, real: Path, daemon: Daemons) -> None:
    """As recorded, CoinGecko leaves out an unknown coin without an error. The status reports it, and one reject is stored."""
    async with serving(**recorded(real)) as providers:
        section = {"symbols": ["BTC", "ONE"], "ids": {"ONE": "no-such-coin"}, "interval": "1s"}
        instance = await daemon(
            polling(market, providers, coingecko=section | {"budget": {"per_minute": 600, "per_month": 10**8}})
        ).start()
        await until(lambda: providers.request_counts["/simple/price"] >= 3)
        status = (await instance.status())["pollers"]["coingecko"]
        reason = "no coin has the id 'no-such-coin'; right would be one of /coins/list (pollers.coingecko.ids.ONE)"
        assert (status["state"], status["detail"]) == ("partial", f"ONE: {reason}")
        assert (await instance.balanced_scrape()).value("errors_total", stage="poll", error_type="Reject") >= 2
    kept = await stored.fetch(market, "SELECT source, reason, message FROM rejects")
    assert [tuple(row) for row in kept] == [("coingecko", "unknown", f"ONE: {reason}")]
    assert [row[0] for row in await stored.fetch(market, "SELECT a.symbol FROM prices p JOIN assets a ON a.id = p.asset_id")] == [
        "BTC"
    ]


@on_apache
async def test_requests_of_a_killed_turn_count_against_the_budget(market: str, real: Path, daemon: Daemons) -> None:
    """The lease of the killed daemon lasts at most a minute; the test ends it at once."""
    async with serving(**recorded(real)) as providers:
        providers.once["/simple/price"] = [None]
        settings = polling(market, providers, coingecko={"symbols": ["BTC"], "interval": "1 hour"})
        first = await daemon(settings).start()
        await until(lambda: providers.request_counts["/simple/price"] == 1)
        await first.kill()
        assert [tuple(row) for row in await stored.fetch(market, "SELECT requests, cursor FROM poll_cursors")] == [(2, "")]
        query = "SELECT expires_at < now() + interval '61 s' AS short FROM leases WHERE name = 'poll coingecko'"
        (lease,) = await stored.fetch(market, query)
        assert lease["short"]
        await stored.fetch(market, "UPDATE leases SET expires_at = now()")
        second = await daemon(settings | {"name": "two"}).start()
        await second.until(lambda now: now.rows("prices")["written"] == 1)
        assert await stored.fetch(market, "SELECT FROM poll_cursors WHERE requests = 4")
