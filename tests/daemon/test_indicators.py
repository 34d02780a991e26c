"""Two daemons, of which one computes: what ends in the table follows from the candles, whoever stopped in the middle of what."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal

import numpy as np
import pytest

from ingest.indicators.names import parse
from ingest.indicators.values import Bars, values
from ingest.simulator.server import Simulator
from ingest.store.indicators import Selection, compute
from ingest.store.pool import connect
from tests.support import stored
from tests.support.daemon import Daemon, configuration, demo, on_apache, until

Daemons = Callable[..., Daemon]
SPEED = 60
NAMES = ("SMA_3", "RSI_3", "STOCH_3_2_2", "VWAP")
SELECTION = Selection(tuple(map(parse, NAMES)), ("1m",))
CANDLES = """
    SELECT (extract(epoch FROM time) / 60)::int, open::float8, high::float8, low::float8, close::float8, volume::float8
      FROM candles JOIN instruments i ON i.id = instrument_id WHERE i.symbol = $1 AND interval = '1m' ORDER BY time"""
INDICATORS = """
    SELECT (extract(epoch FROM n.time) / 60)::int, n.name, n.value
      FROM indicators n JOIN instruments i ON i.id = n.instrument_id WHERE i.symbol = $1 ORDER BY 1, 2"""


@pytest.fixture
async def hurried() -> AsyncIterator[Simulator]:
    """An exchange that lives through a minute in each second."""
    begun = time.time_ns() // 1000
    made = Simulator(trades_per_second=2, clock=lambda: begun + (time.time_ns() // 1000 - begun) * SPEED)
    await made.start()
    yield made
    await made.stop()


async def gone(dsn: str) -> bool:
    """Whether no backend of a daemon is at work any more: the server ends those of a killed one when it comes to answer them."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'ingest%'"
    return not await stored.fetch(dsn, query)


@on_apache
async def test_one_of_two_daemons_computes_and_the_other_goes_on(market: str, hurried: Simulator, daemon: Daemons):
    section = demo(hurried, channels=["candles"], instruments=["BTC/USDT", "ETH/USDT"])
    indicators = {"names": list(NAMES), "intervals": ["1m"]}
    settings = [
        configuration(market, hurried, name=name, exchanges={"demo": section}, indicators=indicators) for name in ("one", "two")
    ]
    one = await daemon(settings[0]).start()
    await one.until(lambda now: now.rows("indicators")["written"] >= 20)
    two = await daemon(settings[1]).start()

    async def waits() -> bool:
        return (await two.status())["maintenance"]["indicators"]["state"] == "standby"

    await until(waits)
    assert await one.terminate() == 0
    assert one.logged_row_totals("indicators")["written"] >= 20
    await two.until(lambda now: now.rows("indicators")["written"] >= 20)
    await two.kill()

    await until(lambda: gone(market))
    connection = await connect(market)
    while (left := await compute(connection, SELECTION)).taken:  # what the kill left marked
        assert left.revised == 0
    await connection.close()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        candles = [tuple(row) for row in await stored.fetch(market, CANDLES, symbol)]
        bars = Bars(1, *(np.array(column) for column in zip(*candles, strict=True)))
        expected = {(one.time, one.spec.name): one.values for one in values(bars, SELECTION.specs, candles[0][0])}
        kept = {(time, name): value for time, name, value in await stored.fetch(market, INDICATORS, symbol)}
        assert kept == {key: Decimal(f"{value[0]:.12g}") for key, value in expected.items() if value}
        assert len(kept) >= 10
