"""Gaps are filled without a command: after a kill, a lost connection, a full queue, and for a new instrument."""

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
HEAL = {"after": "12s", "interval": "200 ms"}  # the exchange vouches for nothing that is younger than 10 s
SECONDS = 60.0

_GAPS = "SELECT state, channel, reasons FROM coverage_gaps WHERE state = 'open' OR channel IN ('trades', 'candles')"
# trades that the ledger calls covered and that are not there: what a claim must never do
_CLAIMED = """
    SELECT t.time FROM unnest($1::timestamptz[]) t (time), coverage_streams('-infinity') s
     WHERE s.channel = 'trades' AND s.covered @> t.time"""


def healing(dsn: str, simulator: Simulator, **changes: Any) -> Settings:
    return configuration(dsn, simulator, **({"heal": HEAL} | changes))


async def healed(market: str) -> None:
    """Wait until nothing is missing, of what is watched."""
    await until(lambda: nothing_is_missing(market), SECONDS)


async def nothing_is_missing(market: str) -> bool:
    holes = [gap for gap in await stored.gaps(market) if gap["state"] == "open"]
    return not holes and not await stored.fetch(market, _GAPS)


@on_apache
async def test_what_was_said_while_the_daemon_was_dead_comes_back(market: str, simulator: Simulator, daemon: Daemons):
    settings = healing(market, simulator)
    one = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 400)
    await one.settled("trades", 400)
    await until(lambda: stored.fetch(market, "SELECT 1 FROM coverage WHERE state = 'covered'"))
    await one.kill()
    await until(lambda: not simulator.has_subscriber(TRADES))
    simulator.trade("BTCUSDT", 1500)  # nobody hears it
    again = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await until(lambda: all_there(market, simulator), SECONDS)
    await healed(market)
    await again.balanced_scrape()
    assert await again.value("gaps_healed_total", source="demo", channel="trades", reason="unwatched")
    assert not await again.value("gap_open_seconds")
    (row,) = await stored.fetch(market, "SELECT percent FROM coverage_report WHERE channel = 'trades'")
    assert row["percent"] == 100


async def all_there(market: str, simulator: Simulator) -> bool:
    return await stored.trades(market) == list(simulator.oracle.trades("BTCUSDT"))


@on_apache
async def test_what_was_said_while_the_line_was_lost_comes_back(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(healing(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 100)
    simulator.faults.handshake = 503
    await simulator.disconnect()
    await until(lambda: not simulator.has_subscriber(TRADES))
    simulator.trade("BTCUSDT", 700)
    simulator.faults.handshake = None
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await until(lambda: all_there(market, simulator), SECONDS)
    await healed(market)
    assert await one.value("gaps_healed_total", reason="disconnect") == 1


@on_apache
async def test_ids_that_a_session_missed_are_asked_for_by_id(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(healing(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    simulator.faults.lose(TRADES, 60)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 140)
    await until(lambda: all_there(market, simulator), SECONDS)
    await healed(market)
    (hole,) = [gap for gap in await stored.gaps(market) if gap["reason"] == "sequence"]
    assert (hole["state"], hole["expected"], hole["stored"], hole["verdict"]) == ("healed", 60, 60, None)


@on_apache
async def test_rows_that_were_shed_come_back(market: str, simulator: Simulator, daemon: Daemons):
    queue = {"max_rows": 100, "batch_rows": 50, "max_wait": "200 ms"}
    one = await daemon(healing(market, simulator, queue=queue)).start()
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 2000)
        await one.until(lambda now: now.rows("trades")["shed"])
    await until(lambda: all_there(market, simulator), SECONDS)
    await healed(market)
    assert await one.value("gaps_healed_total", reason="shed") == 1


@pytest.fixture
async def old() -> AsyncIterator[Simulator]:
    """An exchange that has traded for half an hour before anybody asks."""
    made = Simulator(trades_per_second=4, history_seconds=1800, ping_seconds=0.5)
    await made.start()
    made.trades_per_second = 0
    yield made
    await made.stop()


@on_apache
async def test_a_new_instrument_with_history_is_a_gap_that_far_back(market: str, old: Simulator, daemon: Daemons):
    section = demo(old, channels=["trades", "candles"], history="20 minutes")
    one = await daemon(healing(market, old, exchanges={"demo": section})).start()
    await subscribed(old)
    await until(lambda: history_is_healed(market), SECONDS)
    since = (await stored.fetch(market, "SELECT min(since) AS since FROM coverage WHERE channel = 'trades'"))[0]["since"]
    expected = [said for said in old.oracle.trades("BTCUSDT") if said.time >= since.timestamp() * 1000]
    assert len(expected) > 500
    assert [said for said in await stored.trades(market) if said.time >= since.timestamp() * 1000] == expected
    minutes = await stored.fetch(market, "SELECT time FROM candles WHERE interval = '1m' ORDER BY time")
    assert len(minutes) >= 19
    assert all(after["time"] - before["time"] == timedelta(minutes=1) for before, after in pairwise(minutes))
    await one.balanced_scrape()


@on_apache
async def test_an_instrument_that_a_reload_brings_has_its_history_at_once(market: str, old: Simulator, daemon: Daemons):
    one = await daemon(healing(market, old)).start()
    await subscribed(old)
    await until(lambda: histories(market))
    section = demo(old, instruments=["BTC/USDT", "ETH/USDT"], history="20 minutes")
    one.configure(one.settings | {"exchanges": {"demo": section}})
    one.signal(signal.SIGHUP)
    await until(lambda: history_of(market, "ETHUSDT"))


async def histories(market: str) -> list[dict[str, Any]]:
    return [gap for gap in await stored.gaps(market) if gap["reason"] == "history"]


async def history_of(market: str, symbol: str) -> bool:
    """Whether it is a hole of twenty minutes, or was one."""
    spans = [gap["until"] - gap["since"] for gap in await histories(market) if gap["symbol"] == symbol]
    return bool(spans) and max(spans) > timedelta(minutes=19)


async def history_is_healed(market: str) -> bool:
    """All of the trades; of the candles the last minute must end first."""
    holes = await histories(market)
    open_channels = {gap["channel"] for gap in holes if gap["state"] == "open"}
    return "trades" not in open_channels and {gap["channel"] for gap in holes if gap["state"] == "healed"} == {"trades", "candles"}


@on_apache
async def test_what_one_of_two_daemons_missed_is_no_gap(market: str, simulator: Simulator, daemon: Daemons):
    """The other has it: nothing is asked of the exchange."""
    one, two = (daemon(configuration(market, simulator, name=name)) for name in ("one", "two"))
    await asyncio.gather(one.start(), two.start())
    for each in (one, two):
        await each.until(lambda now: now.value("messages_received_total"))
    simulator.trade("BTCUSDT", 1)
    await until(lambda: claims_of(market, "one"))
    await until(lambda: claims_of(market, "two"))
    await one.kill()
    simulator.trade("BTCUSDT", 300)
    again = await daemon(configuration(market, simulator, name="one")).start()
    await again.until(lambda now: now.value("messages_received_total"))
    simulator.trade("BTCUSDT", 1)
    await until(lambda: claims_of(market, "one", 2))
    await two.settled("trades", 302)

    async def no_channel_has_a_gap() -> bool:
        """Once the other has claimed as far as the one that came back began; nobody heals here, so a gap would stay."""
        return not await stored.fetch(market, "SELECT * FROM coverage_gaps")

    await until(no_channel_has_a_gap)
    await stored.assert_all_trades(market, simulator)


async def claims_of(market: str, writer: str, count: int = 1) -> bool:
    rows = await stored.fetch(market, "SELECT 1 FROM coverage WHERE state = 'covered' AND writer = $1", writer)
    return len(rows) >= count


@on_apache
async def test_no_claim_covers_a_row_that_is_not_stored(market: str, simulator: Simulator, daemon: Daemons):
    """Killed at any moment, with the table locked, with a queue that is full: what is missing is never called covered."""
    settings = configuration(market, simulator, queue={"max_rows": 200, "batch_rows": 50, "max_wait": "300 ms"})
    for turn in range(3):
        one = await daemon(settings).start()
        await subscribed(simulator)
        for _ in range(15):
            simulator.trade("BTCUSDT", 20)
            await asyncio.sleep(0.2)
        async with stored.locked(market, "trades"):
            for _ in range(15):
                simulator.trade("BTCUSDT", 20)
                await asyncio.sleep(0.2)
            if turn:
                await one.kill()
        if not turn:
            await one.until(lambda now: not now.rows("trades")["queued"])
            await asyncio.sleep(1.5)
            await one.kill()
    there = {said.id for said in await stored.trades(market)}
    missing = [said.time for said in simulator.oracle.trades("BTCUSDT") if said.id not in there]
    assert missing
    claimed = await stored.fetch(market, _CLAIMED.replace("$1::timestamptz[]", f"{_times(missing)}"))
    assert not claimed


def _times(milliseconds: list[int]) -> str:
    return f"(SELECT array_agg(to_timestamp(ms / 1000.0)) FROM unnest(ARRAY{milliseconds}::bigint[]) ms)"


@on_apache
async def test_a_person_lists_the_gaps_and_has_them_closed(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    settings = configuration(market, simulator)
    one = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 100)
    simulator.faults.lose(TRADES, 40)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 160)
    await until(lambda: stored.gaps(market))
    assert await one.terminate() == 0
    code, said = await command(tmp_path, settings, "gaps", "--json")
    assert code == 1
    (gap,) = [gap for gap in json.loads(said) if gap["reason"] == "sequence"]
    assert (gap["source"], gap["instrument"], gap["channel"], gap["state"]) == ("demo", "BTC/USDT", "trades", "open")

    async def closed() -> bool:
        _, said = await command(tmp_path, settings | {"heal": HEAL}, "gaps", "--heal", "--all")
        return bool(re.search(r"^healed +demo BTC/USDT trades .* sequence$", said, re.MULTILINE))

    await until(closed, SECONDS)
    assert await all_there(market, simulator)


async def command(folder: Path, settings: Settings, *arguments: str) -> tuple[int | None, str]:
    """One command line, to its end: exit code and output."""
    (folder / "gaps.toml").write_text(to_toml(settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", *arguments, "--config", str(folder / "gaps.toml")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode, output.decode()
