"""Unverifiable ranges are compared with the history of the exchange: verified, missed, or asked again later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import pytest
import pytest_asyncio

from ingest.config.sections import ExchangeSection
from ingest.counters import Counters
from ingest.exchanges.binance import exchange as binance
from ingest.protocol.exchange import Rate
from ingest.protocol.session import ChannelName, Gap
from ingest.records import MINUTE
from ingest.simulator.oracle import OracleTrade
from ingest.simulator.server import Simulator
from ingest.sources import evidence
from ingest.sources.evidence import EvidenceSearch
from ingest.store.coverage import Claim, ClaimState, to_datetime, write_claims
from ingest.store.jobs import to_micros
from ingest.store.pool import Pool, open_pool
from ingest.transports.client import open_client
from ingest.transports.http import Http
from tests.support.daemon import on_apache

pytestmark = on_apache  # the ledger is a plain table

MINUTES = 30


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """An exchange with half an hour of history that trades no more."""
    simulator = Simulator(trades_per_second=4, history_seconds=MINUTES * 60)
    await simulator.start()
    simulator.trades_per_second = 0
    yield simulator
    await simulator.stop()


class Bench:
    """The evidence search of the exchange `demo`, and a market whose trades are stored but for those of `leave_out`."""

    def __init__(self, simulator: Simulator, pool: Pool) -> None:
        self.pool = pool
        self.trades = list(simulator.oracle.trades("BTCUSDT"))
        self.since = self.trades[0].time * 1000
        self.gaps: list[Gap] = []
        self.newest: list[int] = []
        self.counters = Counters()
        urls = {"ws_url": simulator.ws_url, "rest_url": simulator.rest_url}
        self.section = ExchangeSection(**{"instruments": ("BTC/USDT",), "channels": ("trades",)} | urls)
        self.busy = self.is_silent = False
        self.kept: dict[str, timedelta | None] = {"trades": None, "candles": None}
        self.search = EvidenceSearch(
            "demo",
            binance,
            "one",
            pool=pool,
            counters=self.counters,
            kept=self.kept,
            busy=lambda: self.busy,
            on_gap=lambda source, gap, kind: self.gaps.append(gap),
            retire_silent=self.retire_silent,
        )

    def retire_silent(self, instrument_id: int, channel: ChannelName, event_at: int) -> bool:
        self.newest.append(event_at)
        return self.is_silent

    def at(self, minutes: float) -> int:
        return self.since + int(minutes * MINUTE)

    async def store(self, trades: list[OracleTrade]) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute(
                "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status, trade_kind)"
                " VALUES ('demo', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading', 'trade')"
            )
            rows = [(1, to_datetime(one.time * 1000), one.id, 1, 1, one.side) for one in trades]
            query = (
                "INSERT INTO trades (instrument_id, time, trade_id, price, size, side, received_at) VALUES ($1,$2,$3,$4,$5,$6,$2)"
            )
            await connection.executemany(query, rows)

    async def claim(self, since: float, until: float, state: ClaimState, channel: ChannelName = "trades") -> None:
        async with self.pool.acquire() as connection:
            one = Claim("demo", "one", 1, channel, "trade", self.at(since), self.at(until), state=state)
            await write_claims(connection, [one])

    async def ask(self, times: int = 1) -> None:
        async with open_client(None) as client:
            http = Http(client, rate=Rate(1000, 1.0))
            for _ in range(times):
                await self.search.ask(http, self.section, 0.0)

    async def covered(self) -> list[tuple[float, float]]:
        rows = await self.pool.fetch("SELECT unnest(covered) AS span FROM coverage_streams('-infinity')")
        return [tuple((to_micros(end) - self.since) / MINUTE for end in (row[0].lower, row[0].upper)) for row in rows]  # type: ignore[misc]

    def results(self) -> dict[str, int]:
        return {result: count for (_, _, result), count in self.counters.evidence_checks.items()}


@pytest_asyncio.fixture
async def bench(market: str, simulator: Simulator) -> AsyncIterator[Bench]:
    pool = await open_pool(market, 2)
    yield Bench(simulator, pool)
    pool.terminate()


async def test_a_silence_without_newer_rows_is_covered_by_the_claim_before_it(bench: Bench) -> None:
    await bench.store(bench.trades)
    await bench.claim(0, 10, "covered")
    await bench.claim(0, 15, "unverifiable")
    await bench.ask()
    assert await bench.covered() == [(0, 15)]
    assert bench.results() == {"verified": 1}
    assert bench.gaps == []
    assert await bench.pool.fetchval("SELECT count(*) FROM coverage") == 2
    assert bench.newest  # rows at the start of the range that came after the covered claim
    await bench.claim(0, 12, "covered")  # the daemon's own claim does not shorten it
    assert await bench.covered() == [(0, 15)]


async def test_a_page_verifies_no_more_than_it_reaches(bench: Bench) -> None:
    await bench.store(bench.trades)
    await bench.claim(0, MINUTES, "unverifiable")
    await bench.ask()
    ((since, until),) = await bench.covered()
    assert since == 0
    assert 5 < until < 25  # a page has 1,000 trades
    bench.search._look_due = 0.0
    await bench.ask()
    assert (await bench.covered())[0][1] > until
    assert await bench.pool.fetchval("SELECT count(*) FROM coverage WHERE state = 'covered'") == 1


async def test_rows_that_were_not_received_are_a_gap_and_pause_the_questions(bench: Bench) -> None:
    lost = [one for one in bench.trades if bench.at(11) <= one.time * 1000 < bench.at(12)]
    await bench.store([one for one in bench.trades if one not in lost])
    await bench.claim(0, 10, "covered")
    await bench.claim(0, 15, "unverifiable")
    await bench.ask()
    assert [(gap.reason, gap.since, gap.until) for gap in bench.gaps] == [("missed", bench.at(10), bench.at(15))]
    assert await bench.covered() == [(0, 10)]
    bench.search._look_due = 0.0
    await bench.ask(3)
    assert bench.results() == {"missed": 1}


async def test_a_silent_subscription_counts_as_missed_even_if_another_daemon_stored_its_rows(bench: Bench) -> None:
    await bench.store(bench.trades)
    await bench.claim(0, 15, "unverifiable")
    bench.is_silent = True
    await bench.ask()
    assert bench.results() == {"missed": 1}
    assert await bench.covered() == [(0, 15)]


async def test_a_failure_is_asked_again_later(bench: Bench, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "FIRST_PAUSE", 0.0)
    await bench.store(bench.trades)
    await bench.claim(0, 15, "unverifiable")
    simulator.faults.refuse("/api/v3/aggTrades", 400)
    await bench.ask()
    assert bench.results() == {"failed": 1}
    assert await bench.covered() == []
    bench.search._look_due = 0.0
    await bench.ask()
    assert bench.results() == {"failed": 1}  # pauses begin with a minute
    bench.search._pauses.clear()
    bench.search._look_due = 0.0
    await bench.ask()
    assert bench.results() == {"failed": 1, "verified": 1}


async def test_nothing_is_asked_while_rows_wait_or_before_it_is_due(bench: Bench) -> None:
    await bench.store(bench.trades)
    await bench.claim(0, 15, "unverifiable")
    bench.busy = True
    await bench.ask()
    bench.busy = False
    assert bench.results() == {}
    await bench.pool.execute("UPDATE coverage SET since = now() - interval '4 minutes', until = now()")
    await bench.ask()
    assert bench.results() == {}


async def test_what_retention_has_deleted_is_not_missed(bench: Bench) -> None:
    bench.kept["trades"] = timedelta(minutes=MINUTES - 12)
    await bench.store([one for one in bench.trades if one.time * 1000 >= bench.at(12)])
    await bench.claim(0, 15, "unverifiable")
    await bench.ask()
    assert bench.results() == {"verified": 1}
    ((since, until),) = await bench.covered()
    assert 11.9 < since < 12.5
    assert until == 15


async def test_other_channels_are_not_asked_about(bench: Bench) -> None:
    await bench.store(bench.trades)
    for channel in ("book", "quotes"):
        await bench.claim(0, 15, "unverifiable", cast(Any, channel))
    await bench.ask()
    assert bench.results() == {}


async def test_candles_are_compared_by_minute(bench: Bench, simulator: Simulator) -> None:
    await bench.store([])
    bars = [row[0] for row in simulator.oracle.candles("BTCUSDT")][:20]
    bench.since = bars[0] * 1000
    query = (
        "INSERT INTO candles (instrument_id, interval, time, open, high, low, close, volume, parts, origin, received_at)"
        " VALUES (1, '1m', $1, 1, 1, 1, 1, 1, 1, 'ws', $1)"
    )
    async with bench.pool.acquire() as connection:
        await connection.executemany(query, [(to_datetime(bar * 1000),) for bar in bars if bar != bars[15]])
    await bench.claim(0, 10, "unverifiable", "candles")
    await bench.ask()
    assert await bench.covered() == [(0, 10)]
    await bench.claim(0, 20, "unverifiable", "candles")
    bench.search._look_due = 0.0
    await bench.ask()
    assert [(gap.channel, gap.since, gap.until) for gap in bench.gaps] == [("candles", bench.at(10), bench.at(20))]
