"""The interval follows from the budget and the plan from the key; a symbol must be one coin."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.config.sections import PollerSection
from ingest.errors import Reject, Stop
from ingest.pollers import alternative_me, coingecko, moralis, whale_ethereum
from ingest.polling.provider import PollOptions
from ingest.protocol.exchange import Rate
from ingest.protocol.http import Request, Response
from ingest.records import Asset
from ingest.sources.poll_plan import assets_of, interval_of, plan_of, rate_of

MONTH = 31 * 86_400


@pytest.mark.parametrize(
    ("section", "seconds"),
    [
        ({}, 2 * MONTH / 10_000),  # nine minutes; with a poll each minute the budget of a month would last four days
        ({"budget": {"per_month": 1_000_000}}, 60.0),
        ({"budget": {"per_month": 10_000_000, "per_minute": 1}, "interval": "1s"}, 120.0),
        ({"interval": "1 hour"}, 3600.0),
    ],
)
def test_the_interval_respects_both_budgets(section: dict[str, Any], seconds: float) -> None:
    settings = PollerSection(**section)
    assert interval_of(plan_of(coingecko, settings)[0], coingecko, settings) == pytest.approx(seconds)


def test_a_plan_may_limit_requests_per_second() -> None:
    assert rate_of(coingecko.PLANS["demo"]) == Rate(30, 60.0)
    assert rate_of(whale_ethereum.PLANS["etherscan"]) == Rate(1, 1.0)
    assert rate_of(whale_ethereum.PLANS["blockscout"]) == Rate(1, 0.4)


@pytest.mark.parametrize(
    ("section", "plan", "disabled"),
    [
        ({}, "keyless", ""),
        ({"api_key": "k"}, "demo", ""),
        ({"api_key": "k", "plan": "pro"}, "pro", ""),
        ({"plan": "pro"}, "pro", "no key"),
    ],
)
def test_the_plan_follows_from_the_key(section: dict[str, Any], plan: str, disabled: str) -> None:
    assert plan_of(coingecko, PollerSection(**section)) == (coingecko.PLANS[plan], disabled)


def test_an_ambiguous_symbol_is_refused() -> None:
    assert assets_of("coingecko", coingecko, PollerSection(symbols=("BTC",))) == [Asset("BTC", "bitcoin")]
    assert assets_of("coingecko", coingecko, PollerSection(symbols=("ONE",), ids={"ONE": "harmony"})) == [Asset("ONE", "harmony")]
    with pytest.raises(Stop, match="coingecko: symbol 'ONE' may be many coins; right would be ids = "):
        assets_of("coingecko", coingecko, PollerSection(symbols=("ONE",)))
    with pytest.raises(Stop, match="coingecko: two symbols are the same coin 'bitcoin'; right would be one symbol for each"):
        assets_of("coingecko", coingecko, PollerSection(symbols=("BTC", "XBT"), ids={"XBT": "bitcoin"}))


def test_a_provider_may_have_default_coins() -> None:
    symbols = [asset.symbol for asset in assets_of("whale_ethereum", whale_ethereum, PollerSection())]
    assert symbols == list(whale_ethereum.SYMBOLS)
    named = PollerSection(symbols=("ETH", "MKR"), ids={"MKR": "0x9f8f72aa9304c8b593d555f12ef6589cc3a579a2/18"})
    assert [asset.symbol for asset in assets_of("whale_ethereum", whale_ethereum, named)] == ["ETH", "MKR"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"status":{"error_code":429,"error_message":"You\'ve exceeded the Rate Limit."}}', "shape"),  # an error with status 200
        (b'[{"id":"bitcoin"', "json"),
        (b"<html></html>", "json"),
        (b'{"data":[{"value":"x","value_classification":"Greed","timestamp":"1"}]}', "value"),
    ],
)
def test_a_malformed_response_is_rejected_with_its_reason(body: bytes, reason: str) -> None:
    module: Any = alternative_me if reason == "value" else coingecko
    turn = module.poll(PollOptions(base_url="http://x", assets=(Asset("BTC", "bitcoin", id=1),)), "")
    next(turn)
    with pytest.raises(Reject) as refused:
        turn.send(Response(200, body))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("module", "coins", "requests", "per_month"),
    [(coingecko, 250, 2, 10_000), (coingecko, 251, 4, 10_000), (moralis, 30, 30, 800)],
)
def test_the_interval_follows_from_the_number_of_coins(module: Any, coins: int, requests: int, per_month: int) -> None:
    settings = PollerSection(symbols=tuple(f"C{n}" for n in range(coins)), api_key="k")
    assert interval_of(plan_of(module, settings)[0], module, settings) == pytest.approx(requests * 31 * 86_400 / per_month)


def test_the_first_turn_requests_the_whole_history_and_later_ones_the_last_days() -> None:
    options = PollOptions(base_url="http://x")
    assert next(alternative_me.poll(options, "")).url == "http://x/fng/?limit=0&format=json"
    turn = alternative_me.poll(options, "1788825600")
    assert next(turn).url == "http://x/fng/?limit=10&format=json"  # type: ignore[union-attr]
    days = '{{"data":[{{"value":"20","value_classification":"Fear","timestamp":"{}"}}]}}'
    assert isinstance(turn.send(Response(200, days.format(1788825600 + 86400).encode())), list)
    turn = alternative_me.poll(options, "1788825600")
    next(turn)
    missed = turn.send(Response(200, days.format(1788825600 + 3 * 86400).encode()))  # days are missing after the cursor
    assert isinstance(missed, Request) and missed.url == "http://x/fng/?limit=0&format=json"
