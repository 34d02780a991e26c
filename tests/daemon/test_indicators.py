"""Two daemons, one of which computes indicators: the stored values follow from the stored candles, also after a stop and a kill."""

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
    """A simulated exchange whose clock runs a minute in each second."""
    started = time.time_ns() // 1000
    simulator = Simulator(trades_per_second=2, clock=lambda: started + (time.time_ns() // 1000 - started) * SPEED)
    await simulator.start()
    yield simulator
    await simulator.stop()


async def gone(dsn: str) -> bool:
    """Whether no backend of a daemon is left: the server ends those of a killed daemon only when it next writes to them."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'ingest%'"
    return not await stored.fetch(dsn, query)


@on_apache
async def test_one_of_two_daemons_computes_and_the_other_takes_over(market: str, hurried: Simulator, daemon: Daemons):
    section = demo(hurried, channels=["candles"], instruments=["BTC/USDT", "ETH/USDT"])
    indicators = {"names": list(NAMES), "intervals": ["1m"]}
    settings = [
        configuration(market, hurried, name=name, exchanges={"demo": section}, indicators=indicators) for name in ("one", "two")
    ]
    first = await daemon(settings[0]).start()
    await first.until(lambda now: now.rows("indicators")["written"] >= 20)
    second = await daemon(settings[1]).start()

    async def is_standby() -> bool:
        return (await second.status())["maintenance"]["indicators"]["state"] == "standby"

    await until(is_standby)
    assert await first.terminate() == 0
    assert first.logged_row_totals("indicators")["written"] >= 20
    await second.until(lambda now: now.rows("indicators")["written"] >= 20)
    await second.kill()

    await until(lambda: gone(market))
    connection = await connect(market)
    while (computed := await compute(connection, SELECTION)).taken:  # ranges that the killed daemon left marked
        assert computed.revised == 0
    await connection.close()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        candles = [tuple(row) for row in await stored.fetch(market, CANDLES, symbol)]
        bars = Bars(1, *(np.array(column) for column in zip(*candles, strict=True)))
        expected = {(first.time, first.spec.name): first.values for first in values(bars, SELECTION.specs, candles[0][0])}
        kept = {(time, name): value for time, name, value in await stored.fetch(market, INDICATORS, symbol)}
        assert kept == {key: Decimal(f"{value[0]:.12g}") for key, value in expected.items() if value}
        assert len(kept) >= 10
