"""Two daemons on every channel of an exchange whose minutes last a second together write one correct set of rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ingest.simulator.server import Simulator
from ingest.store.pool import connect
from ingest.store.rollup import roll_up
from tests.support import stored
from tests.support.daemon import Daemon, configuration, demo, on_apache

Daemons = Callable[..., Daemon]
SPEED = 60
CHANNELS = ["trades", "candles", "book", "quotes"]
BARS = 4  # minutes before, and again after, one of the daemons is killed

CANDLES = """
    SELECT extract(epoch FROM time) * 1000, open::text, high::text, low::text, close::text, volume::text, quote_volume::text,
           trades_count, taker_buy_volume::text, taker_buy_quote_volume::text
      FROM candles JOIN instruments i ON i.id = instrument_id
     WHERE i.symbol = $1 AND interval = '1m' ORDER BY time"""
FIVE_MINUTES = """
    SELECT extract(epoch FROM time) * 1000, open, high, low, close, volume, trades_count, parts
      FROM candles JOIN instruments i ON i.id = instrument_id
     WHERE i.symbol = $1 AND interval = '5m' ORDER BY time"""


@pytest.fixture
async def hurried() -> AsyncIterator[Simulator]:
    """A simulated exchange whose clock runs a minute in each second."""
    started = time.time_ns() // 1000
    simulator = Simulator(trades_per_second=2, clock=lambda: started + (time.time_ns() // 1000 - started) * SPEED)
    await simulator.start()
    yield simulator
    await simulator.stop()


def as_candle(bar: list[Any]) -> tuple[Any, ...]:
    """A row of /api/v3/klines as the query CANDLES returns it."""
    time_ms, opened, high, low, close, volume, _, quote_volume, count, taker, taker_quote, _ = bar
    return (time_ms, opened, high, low, close, volume, quote_volume, count, taker, taker_quote)


def rolled_up(bars: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """5m candles computed from 1m candles, as the query FIVE_MINUTES returns them."""
    buckets: dict[int, list[tuple[Any, ...]]] = {}
    for bar in bars:
        buckets.setdefault(int(bar[0]) // 300_000 * 300_000, []).append(bar)
    return [
        (
            start,
            Decimal(rows[0][1]),
            max(Decimal(row[2]) for row in rows),
            min(Decimal(row[3]) for row in rows),
            Decimal(rows[-1][4]),
            sum(Decimal(row[5]) for row in rows),
            sum(bar[7] for bar in rows),
            len(rows),
        )
        for start, rows in sorted(buckets.items())
    ]


async def finish_roll_ups(market: str) -> None:
    """Roll up what the daemons had marked and not rolled up yet, including the bucket that is not over."""
    connection = await connect(market)
    await roll_up(connection, datetime.now(UTC) + timedelta(days=2))
    await connection.close()


@on_apache
async def test_two_daemons_on_every_channel_of_which_one_is_killed(market: str, hurried: Simulator, daemon: Daemons):
    section = demo(hurried, channels=CHANNELS, book={"depth": 10, "interval": "10s"}, instruments=["BTC/USDT", "ETH/USDT"])
    settings = [configuration(market, hurried, name=name, exchanges={"demo": section}) for name in ("one", "two")]
    one, two = await asyncio.gather(*(daemon(each).start() for each in settings))
    for each in (one, two):
        await each.until(lambda now: now.value("messages_received_total"))
    first = {symbol: len(list(hurried.oracle.trades(symbol))) for symbol in ("BTCUSDT", "ETHUSDT")}
    await one.until(lambda now: now.rows("candles")["decoded"] >= 2 * BARS)
    await one.balanced_scrape()
    await one.kill()
    before = (await two.scrape()).rows("candles")["decoded"]
    await two.until(lambda now: now.rows("candles")["decoded"] >= before + 2 * BARS)
    assert await two.terminate() == 0
    two.logged_row_totals("candles")
    await finish_roll_ups(market)

    for symbol, known in first.items():
        sent, kept = list(hurried.oracle.trades(symbol)), await stored.trades(market, symbol)
        assert kept == sent[sent.index(kept[0]) : sent.index(kept[0]) + len(kept)]
        assert sent.index(kept[0]) <= known
        bars = [as_candle(bar) for bar in hurried.oracle.candles(symbol)]
        candles = [tuple(row) for row in await stored.fetch(market, CANDLES, symbol)]
        assert candles == bars[bars.index(candles[0]) : bars.index(candles[0]) + len(candles)]
        assert len(candles) >= 2 * BARS
        rolled = [tuple(row) for row in await stored.fetch(market, FIVE_MINUTES, symbol)]
        assert rolled == rolled_up(candles)
        for sequence, bids, asks in await stored.books(market, symbol):
            all_bids, all_asks = hurried.oracle.book(symbol, sequence)
            assert (bids, asks) == (all_bids[:10], all_asks[:10])
    reasons = await stored.reasons(market)
    assert not reasons, reasons
