"""Etherscan V2: Ethereum's supply, nodes and gas prices and, with a plan that has PRO endpoints, daily metrics.

https://docs.etherscan.io/api-reference/endpoint/ethsupply2 https://docs.etherscan.io/common-error-messages

The free plan covers selected chains, Ethereum among them (https://docs.etherscan.io/supported-chains, 2026). All numbers are text;
supplies are in wei. An error has HTTP status 200 and `"status":"0"`. A limit passes, a wrong key does not: more than five attempts
with a wrong key within 30 s block the IP address for half a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from urllib.parse import urlencode

from msgspec import Raw, Struct, field
from msgspec.json import Decoder
from msgspec.structs import asdict, replace

from ingest.errors import Reject, Retry
from ingest.polling import checked
from ingest.polling.elements import elements, sliced
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, within
from ingest.polling.trading_day import DAY, to_date, to_time
from ingest.protocol.decode import Number
from ingest.protocol.http import Request, Response, T, answer_to
from ingest.records import MINUTE, OnchainMetric

NAME = "etherscan"
TABLES = ("onchain_metrics",)
_FREE = Plan(
    base_url="https://api.etherscan.io",
    key="apikey",
    key_in="query",
    per_minute=60,
    per_month=3_000_000,
    interval=300,
    requests=3,
    terms="https://etherscan.io/terms: attribution beside the data",
)
PLANS = {
    "free": _FREE,
    "pro": replace(_FREE, per_minute=300, per_month=6_000_000, requests=5),
}
ASSETS: dict[str, str] = {}
CHUNK = None
DAILY = {"dailytx": ("tx_count", "transactionCount"), "dailynewaddress": ("new_addresses", "newAddressCount")}
OVERLAP, YEAR = 5 * DAY, 365 * DAY
WEI = Decimal(10**18)


class _Answer(Struct):
    status: str
    message: str
    result: Raw


class _Supply(Struct, rename="pascal"):
    eth_supply: Number
    eth2_staking: Number = field(name="Eth2Staking")
    burnt_fees: Number


class _Nodes(Struct):
    date: str = field(name="UTCDate")
    count: Number = field(name="TotalNodeCount")


class _Gas(Struct):
    safe: Number = field(name="SafeGasPrice")
    propose: Number = field(name="ProposeGasPrice")
    fast: Number = field(name="FastGasPrice")
    base: Number | None = field(name="suggestBaseFee", default=None)


_Outer = Decoder(_Answer)
_SupplyDecoder = Decoder(_Supply)
_NodesDecoder = Decoder(_Nodes)
_GasDecoder = Decoder(_Gas)
_DaysDecoder, _DAY = Decoder(list[Raw]), Decoder(dict[str, str | int])
_TextDecoder = Decoder(str)


def poll(options: PollOptions, cursor: str) -> Poll:
    """Current gas prices, supply and nodes; with PRO endpoints also days, from `OVERLAP` before the cursor on.

    The cursor is the end of the requested days, in microseconds.
    """
    gas, answer = yield from _fetch(options, "gastracker", "gasoracle", _GasDecoder)
    minute = answer.received_at - answer.received_at % MINUTE
    prices = {f"gas_price_{name}": value for name, value in asdict(gas).items() if value is not None}
    yield [_metric(name, minute, value, answer) for name, value in prices.items()]
    supply, answer = yield from _fetch(options, "stats", "ethsupply2", _SupplyDecoder)
    wei = Decimal(supply.eth_supply) + Decimal(supply.eth2_staking) - Decimal(supply.burnt_fees)
    burnt = Decimal(supply.burnt_fees)
    yield [_metric("supply", minute, f"{wei / WEI:f}", answer), _metric("burnt_fees", minute, f"{burnt / WEI:f}", answer)]
    nodes, answer = yield from _fetch(options, "stats", "nodecount", _NodesDecoder)
    yield [_metric("node_count", to_time(nodes.date), nodes.count, answer)]
    if options.plan != "pro":
        return ""
    today = answer.as_of - answer.as_of % DAY
    yield from _days(options, max(int(cursor or 0), today - YEAR) - (OVERLAP if cursor else 0), today)
    return str(today)


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds. Raises Reject (history) if the plan has no PRO endpoints."""
    if options.plan != "pro":
        raise Reject('past days need a plan with PRO endpoints; right would be pollers.etherscan.plan = "pro"', reason="history")
    yield from _days(options, since, until)
    return ""


def _days(options: PollOptions, since: int, until: int) -> Poll:
    span = {"startdate": to_date(since), "enddate": to_date(until), "sort": "asc"}
    for action, (metric, name) in DAILY.items():
        rows, answer = yield from _fetch(options, "stats", action, _DaysDecoder, span)
        days = yield from sliced(elements(rows, _DAY, partial(_daily, metric, name, answer)))
        yield within(days, since, until)
    return ""


def _daily(metric: str, name: str, answer: Response, row: dict[str, str | int]) -> Iterator[OnchainMetric]:
    yield _metric(metric, to_time(str(row.get("UTCDate"))), str(row.get(name, "")), answer)


def _fetch(
    options: PollOptions, module: str, action: str, decoder: Decoder[T], span: dict[str, str] | None = None
) -> Part[tuple[T, Response]]:
    query = urlencode({"chainid": "1", "module": module, "action": action, **(span or {})})
    answer = yield from answer_to(Request(f"{options.base_url}/v2/api?{query}", secret=options.secret))
    outer = decoded(answer, _Outer)
    inner = Response(answer.status, bytes(outer.result))
    if outer.status != "1":
        raise _refusal(action, decoded(inner, _TextDecoder) if bytes(outer.result)[:1] == b'"' else outer.message)
    return decoded(inner, decoder), answer


def _refusal(action: str, message: str) -> Retry | Reject:
    """The error of an answer: Retry for a limit, Reject for a wrong key or plan and for an unknown message."""
    text = f"{action}: {message[:200]}"
    if "rate limit" in message or "Too many" in message:
        return Retry(text, after=60.0, code="429")
    if "API Key" in message or "API Pro" in message:
        return Reject(text, reason="http", code="403")
    return Reject(text, reason="unknown")


def _metric(metric: str, time: int, value: str, answer: Response) -> OnchainMetric:
    return OnchainMetric("ETH", metric, NAME, checked.micros(time), checked.total(value), answer.received_at)
