"""Backfill of providers: valid requests, chunks, and the history of CoinGecko and on-chain providers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingest import registry
from ingest.config.settings import Settings
from ingest.errors import Stop
from ingest.pollers import blockchain_com, coingecko, coinmetrics, mempool_space
from ingest.records import SECOND, Asset, Price
from ingest.sources.provider_backfill import KINDS, Historic, ProviderBackfillRequest, chunk_edges, midnight, provider_backfills
from tests.support.turns import micros, run_history, turn

NOW = datetime.now(UTC)
MONTH_AGO = NOW - timedelta(days=30)


def settings(**pollers: dict[str, Any]) -> Settings:
    return Settings(database={"dsn": "postgresql://x/y"}, pollers=pollers)  # type: ignore[arg-type]


def backfill_request(kind: str = "indices", source: str | None = None, since: datetime = MONTH_AGO) -> ProviderBackfillRequest:
    return ProviderBackfillRequest(kind=kind, source=source, symbols=(), since=since, until=midnight(NOW))


def test_without_a_source_all_enabled_providers_are_used() -> None:
    backfills = provider_backfills(settings(cboe={}, fred={"enabled": True}, yahoo={}, alternative_me={}), backfill_request())
    assert [backfill.name for backfill in backfills] == ["cboe", "fred"]
    assert [
        backfill.name for backfill in provider_backfills(settings(cboe={}, fred={"enabled": True}), backfill_request(source="fred"))
    ] == ["fred"]


@pytest.mark.parametrize(
    ("pollers", "wanted", "message"),
    [
        (
            {},
            backfill_request(),
            r"no provider of indices is enabled; right would be one of: \[pollers\.alphavantage\], \[pollers\.cboe\], ",
        ),
        (
            {"cboe": {}},
            backfill_request(source="cbo"),
            "'cbo': no provider of indices; known: alphavantage, cboe, fred, stooq, yahoo",
        ),
        (
            {},
            backfill_request(source="fred"),
            r"--source: 'fred' has no section in the configuration; right would be \[pollers\.fred\]",
        ),
        ({"fred": {}}, backfill_request(source="fred"), "fred: disabled: not enabled: https://fred"),
        ({"etherscan": {}}, backfill_request("onchain", "etherscan"), "etherscan: disabled: no key"),
        (
            {"moralis": {}},
            backfill_request("onchain", "moralis"),
            "'moralis': its history cannot be requested; known: blockchain_com, ",
        ),
        (
            {"cboe": {}},
            backfill_request(since=NOW - timedelta(days=400)),
            r"retention\.stock_indices keeps 365 days, so rows older than ",
        ),
        ({"cboe": {}}, backfill_request(since=NOW), "must be later than --from"),
        (
            {"coingecko": {}},
            backfill_request("prices", "coingecko", since=NOW - timedelta(days=366)),
            "coingecko has 365 days of history with this plan; begin at ....-..-.., or choose another plan",
        ),
    ],
)
def test_an_impossible_request_is_refused_with_the_reason(
    pollers: dict[str, Any], wanted: ProviderBackfillRequest, message: str
) -> None:
    with pytest.raises(Stop, match=message):
        provider_backfills(settings(**pollers), wanted)


def test_every_kind_has_providers_with_a_history() -> None:
    historic = [module for module in registry.pollers().values() if isinstance(module, Historic)]
    assert {table for module in historic for table in module.TABLES} == {table.name for table in KINDS.values()}


def test_chunks_have_the_same_edges_in_any_range() -> None:
    assert chunk_edges(None, 5, 95) == [5, 95]
    assert chunk_edges(30, 5, 95) == [5, 30, 60, 90, 95]
    assert chunk_edges(30, 30, 90) == [30, 60, 90]
    assert chunk_edges(30, 31, 32) == [31, 32]


BTC = Asset("BTC", "bitcoin", id=7)


def test_an_hour_of_coingecko_has_both_currencies(real: Path) -> None:
    """A recorded chart of a month. There is no recording in AUD: the same chart with twice the price, a minute later, is used."""
    usd = json.loads((real / "coingecko/hourly_historical_prices_for_one_coin.json").read_text())["body"]
    aud = {name: [[at + 60_000, value * 2] for at, value in column] for name, column in usd.items()}
    since, until = micros(2021, 4, 15, 17), micros(2021, 4, 15, 18)
    bodies = [json.dumps(body).encode() for body in (usd, aud)]
    result = run_history(coingecko, since, until, *bodies, assets=(BTC,), headers={"x-cg-pro-api-key": "k"})
    assert result.urls == [
        f"http://x/coins/bitcoin/market_chart/range?vs_currency={name}&from=1618506000&to=1618509600" for name in ("usd", "aud")
    ]
    (price,) = result.records
    caps, volumes = (dict(map(tuple, usd[name])) for name in ("market_caps", "total_volumes"))
    assert price == Price(
        asset_id=7,
        source="coingecko",
        time=1618506540 * SECOND,
        price_usd="62773.437903980324",
        price_aud="125546.87580796065",
        market_cap_usd=repr(caps[1618506568120]),
        market_cap_aud=repr(caps[1618506568120] * 2),
        volume_24h_usd=repr(volumes[1618506568120]),
        volume_24h_aud=repr(volumes[1618506568120] * 2),
        change_1h=None,
        change_24h=None,
        change_7d=None,
        high_24h=None,
        low_24h=None,
        received_at=1618506568120 * 1000,
    )


def test_the_history_of_a_chain_is_requested_with_both_ends() -> None:
    since, until = micros(2026, 1, 1), micros(2026, 1, 3)
    charts = [b'{"values":[{"x":1767139200,"y":1},{"x":1767225600,"y":2},{"x":1767398400,"y":3}]}'] * 4
    result = run_history(blockchain_com, since, until, *charts)
    assert result.urls[0] == "http://x/charts/hash-rate?start=2026-01-01&timespan=3days&format=json&sampled=false"
    assert [(record.metric, record.value) for record in result.records] == [
        ("hash_rate", "2000000000000"),
        ("difficulty", "2"),
        ("tx_count", "2"),
        ("active_addresses", "2"),
    ]
    mining = b'{"hashrates":[{"timestamp":1767225600,"avgHashrate":5},{"timestamp":1767398400,"avgHashrate":6}],"difficulty":[]}'
    result = run_history(mempool_space, since, until, mining)
    assert (result.urls, [record.value for record in result.records]) == (["http://x/api/v1/mining/hashrate/all"], ["5"])
    days = b'{"data":[{"asset":"btc","time":"2026-01-01T00:00:00.000000000Z","TxCnt":"9"}]}'
    result = run_history(coinmetrics, since, until, days, assets=(Asset("BTC", "btc"),))
    assert "&start_time=2026-01-01&end_time=2026-01-02&paging_from=start&" in result.urls[0]
    assert [record.value for record in result.records] == ["9"]


def test_an_unknown_coin_is_reported(real: Path) -> None:
    """As recorded, /coins/markets and /simple/price leave out an unknown id without an error."""
    markets = json.loads((real / "coingecko/market_data_for_a_coin.json").read_text())["body"]
    simple = json.loads((real / "coingecko/price_for_multiple_coins_in_different_currencies.json").read_text())["body"]
    assets = (BTC, Asset("ONE", "no-such-coin", id=8))
    result = turn(coingecko, json.dumps(markets).encode(), json.dumps(simple).encode(), assets=assets)
    assert "ids=bitcoin,no-such-coin&" in result.urls[0]
    price, missed = result.records
    assert (price.asset_id, price.price_usd, price.price_aud) == (7, "49053", None)
    assert (missed.name, missed.error.reason) == ("ONE", "unknown")
    assert "no coin has the id 'no-such-coin'" in str(missed.error)
    assert "(pollers.coingecko.ids.ONE)" in str(missed.error)
    assert price.change_24h == "-4.37931"


def test_a_point_has_the_price_in_aud_of_the_same_time() -> None:
    """A short range has points every five minutes, which differ by seconds between currencies, also across a full hour."""
    hour = 1_767_225_600_000
    times = [hour - 1_000, hour + 299_000, hour + 599_000, hour + 5_000_000]

    def chart(values: list[tuple[int, int]]) -> bytes:
        points = [[at, value] for at, value in values]
        return json.dumps({"prices": points, "market_caps": points, "total_volumes": points}).encode()

    usd = chart([(at, 100 + n) for n, at in enumerate(times)])
    aud = chart([(at + 3_000, 150 + n) for n, at in enumerate(times[:3])])
    since, until = (hour - 60_000) * 1000, (hour + 6_000_000) * 1000
    result = run_history(coingecko, since, until, usd, aud, assets=(BTC,))
    pairs = [(record.price_usd, record.price_aud) for record in result.records]
    assert pairs == [("100", "150"), ("101", "151"), ("102", "152"), ("103", None)]
