"""The daemon fills gaps by itself: after a kill, a lost connection or a full queue, and for a new instrument. Also by command."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, Settings, configuration, demo, on_apache, subscribed, to_toml, until
from tests.support.paths import ROOT

Daemons = Callable[..., Daemon]
TRADES = "btcusdt@trade"
HEAL = {"after": "12s", "interval": "200 ms"}  # the simulated exchange guarantees nothing younger than 10 s
SECONDS = 60.0

_GAPS = "SELECT state, channel, reasons FROM coverage_gaps WHERE state = 'open' OR channel IN ('trades', 'candles')"
# times out of an array that the ledger counts as covered
_CLAIMED = """
    SELECT t.time FROM unnest($1::timestamptz[]) t (time), coverage_streams('-infinity') s
     WHERE s.channel = 'trades' AND s.covered @> t.time"""


def healing(dsn: str, simulator: Simulator, **changes: Any) -> Settings:
    return configuration(dsn, simulator, **({"heal": HEAL} | changes))


async def healed(market: str) -> None:
    """Wait until no gap is open."""
    await until(lambda: nothing_is_missing(market), SECONDS)


async def nothing_is_missing(market: str) -> bool:
    gaps = [gap for gap in await stored.gaps(market) if gap["state"] == "open"]
    return not gaps and not await stored.fetch(market, _GAPS)


@on_apache
async def test_trades_missed_while_the_daemon_was_dead_are_healed(market: str, simulator: Simulator, daemon: Daemons):
    settings = healing(market, simulator)
    instance = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 400)
    await instance.settled("trades", 400)
    await until(lambda: is_covered(market, simulator))
    await instance.kill()
    await until(lambda: not simulator.has_subscriber(TRADES))
    simulator.trade("BTCUSDT", 1500)  # no daemon receives them
    again = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await until(lambda: all_there(market, simulator), SECONDS)
    await healed(market)
    await again.balanced_scrape()
    assert await again.value("gaps_healed_total", source="demo", channel="trades", reason="unwatched")
    assert not await again.value("gap_open_seconds")
    (row,) = await stored.fetch(market, "SELECT missing FROM coverage_report WHERE channel = 'trades'")
    assert row["missing"] == 0


async def is_covered(market: str, simulator: Simulator, writer: str = "one", count: int = 1) -> bool:
    """Whether the daemon has so many covered ranges; a further trade shows that none before it was missed."""
    simulator.trade("BTCUSDT", 1)
    rows = await stored.fetch(market, "SELECT 1 FROM coverage WHERE state = 'covered' AND writer = $1", writer)
    return len(rows) >= count


async def all_there(market: str, simulator: Simulator) -> bool:
    return await stored.trades(market) == list(simulator.oracle.trades("BTCUSDT"))


@on_apache
async def test_trades_missed_while_the_connection_was_lost_are_healed(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(healing(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    simulator.faults.handshake = 503
    await simulator.disconnect()
    await until(lambda: not simulator.has_subscriber(TRADES))
    simulator.trade("BTCUSDT", 700)
    simulator.faults.handshake = None
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await until(lambda: all_there(market, simulator), SECONDS)
    await healed(market)
    assert await instance.value("gaps_healed_total", reason="disconnect") == 1


@on_apache
async def test_missing_ids_are_fetched_by_id(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(healing(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    simulator.faults.lose(TRADES, 60)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 140)
    await until(lambda: all_there(market, simulator), SECONDS)
    await healed(market)
    (gap,) = [gap for gap in await stored.gaps(market) if gap["reason"] == "sequence"]
    assert (gap["state"], gap["expected"], gap["stored"], gap["verdict"]) == ("healed", 60, 60, None)


@on_apache
async def test_shed_rows_are_healed(market: str, simulator: Simulator, daemon: Daemons):
    queue = {"max_rows": 100, "batch_rows": 50, "max_wait": "200 ms"}
    instance = await daemon(healing(market, simulator, queue=queue)).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 2000)
        await instance.until(lambda now: now.rows("trades")["shed"])
    await until(lambda: all_there(market, simulator), SECONDS)
    await healed(market)
    assert await instance.value("gaps_healed_total", reason="shed") == 1


@pytest.fixture
async def traded() -> AsyncIterator[Simulator]:
    """A simulated exchange with half an hour of history that trades no more."""
    simulator = Simulator(trades_per_second=4, history_seconds=1800, ping_seconds=0.5)
    await simulator.start()
    simulator.trades_per_second = 0
    yield simulator
    await simulator.stop()


@on_apache
async def test_the_history_of_a_new_instrument_is_a_gap_that_is_healed(market: str, traded: Simulator, daemon: Daemons):
    section = demo(traded, channels=["trades", "candles"], history="20 minutes")
    instance = await daemon(healing(market, traded, exchanges={"demo": section})).start()
    await subscribed(traded)
    await until(lambda: history_is_healed(market), SECONDS)
    since = (await stored.fetch(market, "SELECT min(since) AS since FROM coverage WHERE channel = 'trades'"))[0]["since"]
    expected = [trade for trade in traded.oracle.trades("BTCUSDT") if trade.time >= since.timestamp() * 1000]
    assert len(expected) > 500
    assert [trade for trade in await stored.trades(market) if trade.time >= since.timestamp() * 1000] == expected
    minutes = await stored.fetch(market, "SELECT time FROM candles WHERE interval = '1m' ORDER BY time")
    assert len(minutes) >= 19
    assert all(after["time"] - before["time"] == timedelta(minutes=1) for before, after in pairwise(minutes))
    await instance.balanced_scrape()


@on_apache
async def test_the_history_of_an_instrument_that_a_reload_adds_is_a_gap_at_once(market: str, traded: Simulator, daemon: Daemons):
    instance = await daemon(healing(market, traded)).start()
    await subscribed(traded)
    await until(lambda: histories(market))
    section = demo(traded, instruments=["BTC/USDT", "ETH/USDT"], history="20 minutes")
    instance.configure(instance.settings | {"exchanges": {"demo": section}})
    instance.signal(signal.SIGHUP)
    await until(lambda: history_of(market, "ETHUSDT"))


async def histories(market: str) -> list[dict[str, Any]]:
    return [gap for gap in await stored.gaps(market) if gap["reason"] == "history"]


async def history_of(market: str, symbol: str) -> bool:
    """Whether the history of the symbol is or was a gap of at least 19 minutes."""
    spans = [gap["until"] - gap["since"] for gap in await histories(market) if gap["symbol"] == symbol]
    return bool(spans) and max(spans) > timedelta(minutes=19)


async def history_is_healed(market: str) -> bool:
    """All of the trades are healed, and some of the candles: their last minute must end first."""
    gaps = await histories(market)
    open_channels = {gap["channel"] for gap in gaps if gap["state"] == "open"}
    return "trades" not in open_channels and {gap["channel"] for gap in gaps if gap["state"] == "healed"} == {"trades", "candles"}


@on_apache
async def test_what_one_of_two_daemons_missed_is_no_gap(market: str, simulator: Simulator, daemon: Daemons):
    """The other daemon has stored it, so nothing is fetched from the exchange."""
    one, two = (daemon(configuration(market, simulator, name=name)) for name in ("one", "two"))
    await asyncio.gather(one.start(), two.start())
    for each in (one, two):
        await each.until(lambda now: now.value("messages_received_total"))
    await until(lambda: is_covered(market, simulator, "one"))
    await until(lambda: is_covered(market, simulator, "two"))
    await one.kill()
    simulator.trade("BTCUSDT", 300)
    again = await daemon(configuration(market, simulator, name="one")).start()
    await again.until(lambda now: now.value("messages_received_total"))
    await until(lambda: is_covered(market, simulator, "one", 2))
    await two.settled("trades", len(list(simulator.oracle.trades("BTCUSDT"))))

    async def no_channel_has_a_gap() -> bool:
        """True once the second daemon has claimed up to the restart of the first. Gap filling is off here, so a gap would stay."""
        return not await stored.fetch(market, "SELECT * FROM coverage_gaps")

    await until(no_channel_has_a_gap, SECONDS)
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_no_claim_covers_a_row_that_is_not_stored(market: str, simulator: Simulator, daemon: Daemons):
    """Killed at any moment, with a locked table and a full queue, no missing row is ever claimed as covered."""
    settings = configuration(market, simulator, queue={"max_rows": 200, "batch_rows": 50, "max_wait": "300 ms"})
    for turn in range(3):
        instance = await daemon(settings).start()
        await subscribed(simulator)
        for _ in range(15):
            simulator.trade("BTCUSDT", 20)
            await asyncio.sleep(0.2)
        async with stored.locked(market, "trades"):
            for _ in range(15):
                simulator.trade("BTCUSDT", 20)
                await asyncio.sleep(0.2)
            if turn:
                await instance.kill()
        if not turn:
            await instance.until(lambda now: not now.rows("trades")["queued"])
            await asyncio.sleep(1.5)
            await instance.kill()
    stored_ids = {trade.id for trade in await stored.trades(market)}
    missing = [trade.time for trade in simulator.oracle.trades("BTCUSDT") if trade.id not in stored_ids]
    assert missing
    claimed = await stored.fetch(market, _CLAIMED.replace("$1::timestamptz[]", f"{_times(missing)}"))
    assert not claimed


def _times(milliseconds: list[int]) -> str:
    return f"(SELECT array_agg(to_timestamp(ms / 1000.0)) FROM unnest(ARRAY{milliseconds}::bigint[]) ms)"


@on_apache
async def test_gaps_are_listed_and_healed_by_command(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    settings = configuration(market, simulator)
    instance = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    simulator.faults.lose(TRADES, 40)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 160)
    await until(lambda: stored.gaps(market))
    assert await instance.terminate() == 0
    code, output = await command(tmp_path, settings, "gaps", "--json")
    assert code == 1
    (gap,) = [gap for gap in json.loads(output) if gap["reason"] == "sequence"]
    assert (gap["source"], gap["instrument"], gap["channel"], gap["state"]) == ("demo", "BTC/USDT", "trades", "open")

    async def closed() -> bool:
        _, output = await command(tmp_path, settings | {"heal": HEAL}, "gaps", "--heal", "--all")
        return bool(re.search(r"^healed +demo BTC/USDT trades .* sequence$", output, re.MULTILINE))

    await until(closed, SECONDS)
    assert await all_there(market, simulator)


async def command(folder: Path, settings: Settings, *arguments: str) -> tuple[int | None, str]:
    """Run `ingest` with these arguments to its end: exit code and output."""
    (folder / "gaps.toml").write_text(to_toml(settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", *arguments, "--config", str(folder / "gaps.toml")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode, output.decode()
