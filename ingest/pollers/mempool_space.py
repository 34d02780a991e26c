"""mempool.space: Bitcoin's hash rate, difficulty and mempool. https://mempool.space/docs/api/rest#get-hashrate

Hash rates are in H/s. The average of the current day is published during the day and is revised until the day is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.polling.checked import metric, time_of
from ingest.polling.elements import elements
from ingest.polling.provider import Plan, Poll, PollOptions, decoded, within
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import MINUTE, SECOND, OnchainMetric

NAME = "mempool_space"
TABLES = ("onchain_metrics",)
PLANS = {
    "keyless": Plan(
        base_url="https://mempool.space",
        per_minute=10,
        interval=300,
        requests=2,
        terms="https://mempool.space/terms-of-service: no limit is published; heavy users run a server of their own",
    )
}
ASSETS: dict[str, str] = {}
CHUNK = None


class _HashRate(Struct, rename={"average": "avgHashrate"}):
    timestamp: int  # seconds
    average: Decimal


class _Difficulty(Struct):
    time: int  # seconds
    difficulty: Decimal


class _Mining(Struct):
    hashrates: list[Raw]
    difficulty: list[Raw]


class _Mempool(Struct):
    count: int
    vsize: Decimal


_MiningDecoder, _HASH_RATE, _DIFFICULTY = Decoder(_Mining), Decoder(_HashRate), Decoder(_Difficulty)
_MempoolDecoder = Decoder(_Mempool)


def poll(options: PollOptions, cursor: str) -> Poll:
    """A year of days at first, then a month, in case the daemon was stopped; and the current mempool. The cursor is the range."""
    past = "1m" if cursor else "1y"
    answer = yield from answer_to(Request(f"{options.base_url}/api/v1/mining/hashrate/{past}"))
    yield list(_mining(decoded(answer, _MiningDecoder), answer.received_at))
    answer = yield from answer_to(Request(f"{options.base_url}/api/mempool"))
    yield list(_mempool(decoded(answer, _MempoolDecoder), answer.received_at))
    return past


def history(options: PollOptions, since: int, until: int) -> Poll:
    """Hash rate and difficulty of [since, until), microseconds; the answer has all days. The mempool has no history."""
    answer = yield from answer_to(Request(f"{options.base_url}/api/v1/mining/hashrate/all"))
    metrics = _mining(decoded(answer, _MiningDecoder), answer.received_at)
    yield within(metrics, since, until)
    return ""


def _mining(mining: _Mining, received_at: int) -> Iterator[OnchainMetric | Malformed]:
    def hash_rate(day: _HashRate) -> Iterator[OnchainMetric]:
        yield _metric("hash_rate", time_of(day.timestamp, SECOND, received_at), metric(day.average), received_at)

    def difficulty(epoch: _Difficulty) -> Iterator[OnchainMetric]:
        yield _metric("difficulty", time_of(epoch.time, SECOND, received_at), metric(epoch.difficulty), received_at)

    yield from elements(mining.hashrates, _HASH_RATE, hash_rate)
    yield from elements(mining.difficulty, _DIFFICULTY, difficulty)


def _mempool(mempool: _Mempool, now: int) -> Iterator[OnchainMetric]:
    minute = now - now % MINUTE
    yield _metric("mempool_tx_count", minute, metric(str(mempool.count)), now)
    yield _metric("mempool_vsize", minute, metric(mempool.vsize), now)


def _metric(name: str, time: int, value: str, received_at: int) -> OnchainMetric:
    return OnchainMetric("BTC", name, NAME, time, value, received_at)
