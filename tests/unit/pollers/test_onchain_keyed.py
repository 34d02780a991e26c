"""On-chain figures of providers with a key: recorded results of Etherscan, and documented examples where nothing is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import Reject, Retry
from ingest.pollers import etherscan, glassnode, moralis
from ingest.records import MINUTE, SECOND, Asset, OnchainMetric
from tests.support.turns import NOW, micros, run_history, turn

# https://docs.etherscan.io/api-reference/endpoint/ethsupply2 and .../nodecount
SUPPLY = b"""{"status":"1","message":"OK","result":{"EthSupply":"122373866217800000000000000",
    "Eth2Staking":"2940327167090033000000000","BurntFees":"4610942856337430575173814","WithdrawnTotal":"7618584348954597000000000"}}"""
NODES = b'{"status":"1","message":"OK","result":{"UTCDate":"2025-09-25","TotalNodeCount":"11786"}}'
NOW_MINUTE = NOW - NOW % MINUTE


def recorded(real: Path, name: str) -> bytes:
    """A recorded result in its documented envelope; only `result` was recorded."""
    result = json.loads((real / f"etherscan/{name}.json").read_text())["res"]
    return json.dumps({"status": "1", "message": "OK", "result": result}).encode()


def eth(metric: str, time: int, value: str) -> OnchainMetric:
    return OnchainMetric("ETH", metric, "etherscan", time, value, NOW)


def test_figures_of_etherscan(real: Path) -> None:
    result = turn(etherscan, recorded(real, "get_gas_oracle"), SUPPLY, NODES, plan="free", secret={"apikey": "k"})
    actions = ("gastracker&action=gasoracle", "stats&action=ethsupply2", "stats&action=nodecount")
    assert result.urls == [f"http://x/v2/api?chainid=1&module={action}" for action in actions]
    assert [request.secret for request in result.requests] == [{"apikey": "k"}] * 3
    assert result.records == [
        eth("gas_price_safe", NOW_MINUTE, "62"),
        eth("gas_price_propose", NOW_MINUTE, "82"),
        eth("gas_price_fast", NOW_MINUTE, "89"),
        eth("supply", NOW_MINUTE, "120703250.528552602424826186"),
        eth("burnt_fees", NOW_MINUTE, "4610942.856337430575173814"),
        eth("node_count", micros(2025, 9, 25), "11786"),
    ]
    assert result.cursor == ""


def test_a_plan_with_pro_endpoints_has_days(real: Path) -> None:
    days = [recorded(real, f"pro_get_daily_{name}_count") for name in ("tx", "new_address")]
    now = micros(2019, 3, 1, 12)
    result = turn(etherscan, recorded(real, "get_gas_oracle"), SUPPLY, NODES, *days, plan="pro", now=now)
    assert result.urls[3].endswith("module=stats&action=dailytx&startdate=2018-03-01&enddate=2019-03-01&sort=asc")
    found = [metric for metric in result.records if metric.metric in ("tx_count", "new_addresses")]
    assert len(found) == 2 * 28
    assert (found[0].time, found[0].value) == (micros(2019, 2, 1), "498856")
    assert (found[-1].metric, found[-1].time, found[-1].value) == ("new_addresses", micros(2019, 2, 28), "53117")
    assert result.cursor == str(micros(2019, 3, 1))
    again = turn(etherscan, recorded(real, "get_gas_oracle"), SUPPLY, NODES, *days, plan="pro", now=now, cursor=result.cursor)
    assert "startdate=2019-02-24" in again.urls[3]
    history = run_history(etherscan, micros(2019, 2, 3), micros(2019, 2, 5), *days, plan="pro")
    assert [metric.time for metric in history.records] == [micros(2019, 2, 3), micros(2019, 2, 4)] * 2


def test_a_plan_without_pro_endpoints_has_no_history() -> None:
    with pytest.raises(Reject, match=r"right would be pollers\.etherscan\.plan") as refused:
        run_history(etherscan, 0, 1, plan="free")
    assert refused.value.reason == "history"


@pytest.mark.parametrize(
    ("result", "error", "code"),
    [  # https://docs.etherscan.io/common-error-messages
        ("Max rate limit reached, please use API Key for higher rate limit", Retry, "429"),
        ("Too many invalid api key attempts, please try again later", Retry, "429"),
        ("Invalid API Key", Reject, "403"),
        ("Sorry, it looks like you are trying to access an API Pro endpoint.", Reject, "403"),
        ("Error! Missing Or invalid Action name", Reject, ""),
    ],
)
def test_an_error_with_status_200_is_raised(result: str, error: type[Retry | Reject], code: str) -> None:
    with pytest.raises(error, match="gasoracle: ") as caught:
        turn(etherscan, json.dumps({"status": "0", "message": "NOTOK", "result": result}).encode())
    assert caught.value.code == code


COINS = (Asset("BTC", "BTC"), Asset("ETH", "ETH"))


def test_each_figure_of_glassnode_is_a_request() -> None:
    """Points in the shape of https://docs.glassnode.com/basic-api/endpoints."""
    count = 7 + 5
    body = b'[{"t":1795046400,"v":812345.0},{"t":1795132800,"v":1.0543e21},{"t":1795219200,"v":null}]'
    result = turn(glassnode, *[body] * count, assets=COINS, headers={"X-Api-Key": "k"})
    assert len(result.urls) == count <= len(COINS) * glassnode.PLANS["light"].requests
    assert result.urls[0] == "http://x/v1/metrics/addresses/active_count?a=BTC&i=24h"
    assert result.urls[3] == "http://x/v1/metrics/fees/volume_sum?a=BTC&i=24h&c=USD"
    assert [url for url in result.urls if "a=ETH" in url and "/mining/" in url] == []
    assert result.records[:2] == [
        OnchainMetric("BTC", "active_addresses", "glassnode", 1795046400 * SECOND, "812345.0", NOW),
        OnchainMetric("BTC", "active_addresses", "glassnode", 1795132800 * SECOND, "1054300000000000000000", NOW),
    ]
    assert result.cursor == "1795132800000000"
    assert turn(glassnode, *[body] * count, assets=COINS, cursor=result.cursor).urls[0].endswith("&s=1794700800")
    history = run_history(glassnode, 1795132800 * SECOND, 1795219200 * SECOND, *[body] * count, assets=COINS)
    assert history.urls[0].endswith("&s=1795132800&u=1795219200")
    assert {metric.time for metric in history.records} == {1795132800 * SECOND}


def test_holders_of_moralis() -> None:
    """As in https://docs.moralis.com/web3-data-api/evm/reference/get-token-holder-stats, with counts as text and as numbers."""
    first = b"""{"totalHolders": "99999", "holderSupply": {}, "holderChange": {}, "holdersByAcquisition": {"swap": "10"},
        "holderDistribution": {"whales": "100", "sharks": "100"}}"""
    second = b'{"totalHolders": 7, "holdersByAcquisition": {"swap": 1}}'
    assets = tuple(Asset(symbol, moralis.ASSETS[symbol]) for symbol in ("USDT", "UNI"))
    result = turn(moralis, first, second, assets=assets, headers={"X-API-Key": "k"})
    assert result.urls[0] == "http://x/api/v2.2/erc20/0xdac17f958d2ee523a2206206994597c13d831ec7/holders?chain=eth"
    assert result.records == [
        OnchainMetric("USDT", "token_holders", "moralis", NOW_MINUTE, "99999", NOW),
        OnchainMetric("USDT", "token_whales", "moralis", NOW_MINUTE, "100", NOW),
        OnchainMetric("UNI", "token_holders", "moralis", NOW_MINUTE, "7", NOW),
    ]


@pytest.mark.parametrize(
    ("module", "body", "reason"),
    [
        (glassnode, b'{"error":"forbidden"}', "shape"),
        (glassnode, b"<html></html>", "json"),
        (glassnode, b'[{"t":1795046400,"v":', "json"),
        (moralis, b'{"message":"not found"}', "shape"),
        (moralis, b'{"totalHolders":"many"}', "value"),
        (etherscan, b'{"status":"1","message":"OK","result":"62"}', "shape"),
        (
            etherscan,
            b'{"status":"1","message":"OK","result":{"SafeGasPrice":"x","ProposeGasPrice":"1","FastGasPrice":"1"}}',
            "value",
        ),
        (etherscan, b"<html>502</html>", "json"),
        (etherscan, b'{"status":"1","mess', "json"),
    ],
)
def test_a_malformed_response_is_rejected(module: Any, body: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        turn(module, *[body] * 30, assets=COINS)
    assert refused.value.reason == reason
