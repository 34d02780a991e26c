"""The daemon at a steady rate of rows, with eight pollers, while it is attacked: does anything grow, and how late is /livez?

The slopes are those of a least-squares line through the samples after the first sixth of the time, when caches and pools are full.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from statistics import linear_regression
from typing import Any

import aiohttp
from cluster import free_port
from msgspec import Struct

from bench.exchange import ENDING_WITH_US, Exchange
from bench.process import Running, daemon
from bench.result import Place, read_settings
from bench.steady import INSTRUMENTS, TABLES
from bench.stored import OURS, TRADE, empty, require, stored

SECONDS = 3600.0
TRADES = 2_000.0  # per second
SAMPLE_SECONDS = 5.0
LIVEZ_SECONDS = 0.25
LIVEZ_LIMIT = 10.0
POLLERS = ("coingecko", "news_coindesk", "cboe", "alternative_me", "yahoo", "mempool_space", "coinmetrics", "fred")
EVIL = "EVIL/USDT"  # of the hostile exchange
OF_BINANCE = f"{OURS} WHERE i.exchange = 'binance'"
_TASKS = re.compile(r"^ingest_event_loop_tasks (\S+)$", re.MULTILINE)


class Sample(Struct, frozen=True):
    """`seconds` since the first sample; `memory` in megabytes."""

    seconds: float
    memory: float
    descriptors: int
    tasks: float


class Soak(Struct, frozen=True, kw_only=True):
    """Growth per hour, the slowest and the 99th percentile of the responses of /livez in seconds, and those that failed."""

    name: str = "soak"
    seconds: float
    rows: int
    memory_mb_per_hour: float
    descriptors_per_hour: float
    tasks_per_hour: float
    memory_mb: float
    descriptors: int
    tasks: float
    livez_worst: float
    livez_p99: float
    livez_failed: int
    polled_rows: dict[str, int]
    settings: dict[str, Any]


async def soak(place: Place, seconds: float | None) -> Soak:
    """Raises Wrong unless every trade of the good exchange is stored correctly."""
    seconds, port = seconds or SECONDS, free_port()
    connection = place.connection
    await empty(connection, *TABLES.values(), "rejects")
    async with Exchange(INSTRUMENTS, TRADES) as exchange, _providers() as providers, _attackers(port) as hostile:
        async with daemon(place.dsn, exchange, list(TABLES), _settings(hostile, providers, port)) as process:
            await exchange.subscribed()
            samples, livez = await _observe(process, port, seconds)
        rows = await connection.fetch(f"SELECT i.symbol, min(t.trade_id), max(t.trade_id) FROM {OF_BINANCE} GROUP BY i.symbol")
        found = await stored(connection, OF_BINANCE, TRADE)
        require(found, await exchange.checksum_of({symbol: (first, last) for symbol, first, last in rows}), "soak")
    return await _result(place, seconds, found.rows, samples, livez)


async def _result(place: Place, seconds: float, rows: int, samples: Sequence[Sample], livez: list[float]) -> Soak:
    steady = [sample for sample in samples if sample.seconds >= seconds / 6]
    answered = sorted(took for took in livez if took < LIVEZ_LIMIT)
    polled = {
        table: await place.connection.fetchval(f"SELECT count(*) FROM {table}")
        for table in ("prices", "news", "stock_indices", "sentiment_scores", "onchain_metrics")
    }
    return Soak(
        seconds=seconds,
        rows=rows,
        memory_mb_per_hour=_slope(steady, lambda sample: sample.memory),
        descriptors_per_hour=_slope(steady, lambda sample: sample.descriptors),
        tasks_per_hour=_slope(steady, lambda sample: sample.tasks),
        memory_mb=max(sample.memory for sample in samples),
        descriptors=max(sample.descriptors for sample in samples),
        tasks=max(sample.tasks for sample in samples),
        livez_worst=round(answered[-1], 3),
        livez_p99=round(answered[len(answered) * 99 // 100], 3),
        livez_failed=len(livez) - len(answered),
        polled_rows=polled,
        settings=await read_settings(place.connection),
    )


def _slope(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """The growth of `value` per hour."""
    line = linear_regression([sample.seconds for sample in samples], [value(sample) for sample in samples])
    return round(line.slope * 3600, 2)


async def _observe(process: Running, port: int, seconds: float) -> tuple[list[Sample], list[float]]:
    """Watch the daemon for `seconds`; returns the samples, and the times in which /livez answered."""
    livez: list[float] = []
    samples: list[Sample] = []
    began = time.monotonic()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        probing = asyncio.create_task(_probe(client, livez))
        while (passed := time.monotonic() - began) < seconds:
            samples.append(Sample(passed, round(process.resident_mb, 1), process.descriptors, await _tasks(client)))
            await asyncio.sleep(SAMPLE_SECONDS)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
    return samples, livez


async def _tasks(client: aiohttp.ClientSession) -> float:
    """The number of tasks in the daemon; while it is attacked, a request may be refused."""
    while True:
        try:
            async with client.get("/metrics") as answer:
                match = _TASKS.search(await answer.text())
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
            continue
        return float(match[1]) if match else 0.0


async def _probe(client: aiohttp.ClientSession, livez: list[float]) -> None:
    """Request /livez, each time on a new connection, as Kubernetes does. A failure takes LIVEZ_LIMIT."""
    while True:
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(LIVEZ_LIMIT),
                client.get("/livez", headers={"Connection": "close"}) as answer,
            ):
                await answer.read()
                livez.append(time.monotonic() - began if answer.status == 200 else LIVEZ_LIMIT)
        except (aiohttp.ClientError, TimeoutError):
            livez.append(LIVEZ_LIMIT)
        await asyncio.sleep(LIVEZ_SECONDS)


def _settings(hostile: dict[str, str], providers: str, port: int) -> dict[str, str]:
    """The hostile exchange, the eight pollers, and a ninth whose provider is hostile."""
    fast = {"base_url": providers, "interval": "2s", "budget": {"per_minute": 100_000, "per_month": 10**9}}
    section = {
        "protocol": "binance",
        "instruments": [EVIL],
        "channels": ["trades"],
        "ws_url": hostile["ws_url"],
        "rest_url": hostile["rest_url"],
    }
    pollers = dict.fromkeys(POLLERS, fast) | {"news_theblock": fast | {"base_url": hostile["provider"]}}
    pollers["coingecko"] = fast | {"symbols": ["BTC"]}
    return {
        "INGEST__EXCHANGES__HOSTILE": json.dumps(section),
        "INGEST__POLLERS": json.dumps(pollers),
        "INGEST__RETENTION__STOCK_INDICES": "none",
        "INGEST__SERVER__PORT": str(port),
        "INGEST__LOG__LEVEL": "error",
    }


@asynccontextmanager
async def _providers() -> AsyncIterator[str]:
    """A server with recorded responses of the eight providers; yields its address."""
    from tests.support.paths import REAL  # noqa: PLC0415 - only this benchmark needs the recordings
    from tests.support.providers import recorded, serving  # noqa: PLC0415

    async with serving(**recorded(REAL)) as providers:
        yield providers.url


@asynccontextmanager
async def _attackers(port: int) -> AsyncIterator[dict[str, str]]:
    """Attack the daemon on `port` while the block runs; yields the addresses of the hostile exchange and provider."""
    command = [*ENDING_WITH_US, sys.executable, "-m", "bench.attacks", str(port)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
        if process.returncode is not None:
            raise RuntimeError(f"the attacks ended with {process.returncode}; their output is above")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
