"""Rows that arrive more than once are stored once: resent frames, two daemons, a daemon that is killed and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, configuration, on_apache, subscribed, until

TRADES = "btcusdt@trade"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

Daemons = Callable[..., Daemon]


@on_apache
async def test_frames_that_are_sent_twice_are_one_row_each(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.faults.repeat(TRADES, 300)
    simulator.trade("BTCUSDT", 500)
    scrape = await instance.settled("trades", 800)
    assert scrape.rows("trades") | {"decoded": 800, "written": 500, "duplicate": 300} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)


async def two_daemons(market: str, simulator: Simulator, daemon: Daemons) -> list[Daemon]:
    queue = {"batch_rows": 50, "max_age": "20 ms"}  # many small batches, so that the daemons write the same rows at the same time
    both = [daemon(configuration(market, simulator, name=name, queue=queue)) for name in ("one", "two")]
    await asyncio.gather(*(each.start() for each in both))
    for each in both:  # then the exchange has acknowledged its subscription
        await each.until(lambda now: now.value("messages_received_total"))
    return both


@on_apache
async def test_two_daemons_write_each_row_once(market: str, simulator: Simulator, daemon: Daemons):
    both = await two_daemons(market, simulator, daemon)
    for _ in range(30):
        simulator.trade("BTCUSDT", 200)
        await asyncio.sleep(0)
    scrapes = [await each.settled("trades", 6000) for each in both]
    rows = [scrape.rows("trades") for scrape in scrapes]
    assert [row["decoded"] for row in rows] == [6000, 6000]
    assert sum(row["written"] for row in rows) == sum(row["duplicate"] for row in rows) == 6000
    await stored.assert_all_trades(market, simulator)
    assert (await stored.fetch(market, DEADLOCKS))[0]["deadlocks"] == 0


@on_apache
async def test_of_two_daemons_one_is_killed_and_nothing_is_lost(market: str, simulator: Simulator, daemon: Daemons):
    one, two = await two_daemons(market, simulator, daemon)
    for number in range(30):
        simulator.trade("BTCUSDT", 100)
        if number == 15:
            await one.kill()
        await asyncio.sleep(0.01)
    scrape = await two.settled("trades", 3000)
    assert scrape.rows("trades")["decoded"] == 3000
    await stored.assert_all_trades(market, simulator)


CLAIMED = """
    SELECT 1 FROM coverage
     WHERE state = 'covered' AND channel = 'trades' AND writer = $1 AND since > $2 AND until > $3"""


@on_apache
async def test_two_daemons_that_are_killed_in_turn_leave_no_gap(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    settings = {
        name: configuration(market, simulator, name=name, durability="always", spool={"path": str(tmp_path / f"spool {name}")})
        for name in ("one", "two")
    }

    async def claimed(name: str, since: datetime) -> None:
        """Wait until a run of that daemon that began after `since` covers everything up to the time of this call."""
        now = datetime.now(UTC)

        async def is_claimed() -> bool:
            simulator.trade("BTCUSDT", 1)  # shows that none before it was missed
            return bool(await stored.fetch(market, CLAIMED, name, since, now))

        await until(is_claimed)

    started_at = datetime.now(UTC)
    daemons = {name: await daemon(section).start() for name, section in settings.items()}
    for name in settings:
        await daemons[name].until(lambda now: now.value("messages_received_total"))
    for name, other in (("one", "two"), ("two", "one")):
        simulator.trade("BTCUSDT", 200)
        await claimed(name, started_at)
        await claimed(other, started_at)
        await daemons[name].kill()
        killed_at = datetime.now(UTC)
        simulator.trade("BTCUSDT", 300)
        await claimed(other, started_at)
        daemons[name] = await daemon(settings[name]).start()
        await daemons[name].until(lambda now: now.value("messages_received_total"))
        simulator.trade("BTCUSDT", 100)
        await claimed(name, killed_at)
    await until(lambda: all_there(market, simulator))
    await until(lambda: nothing_is_missing(market))  # the other daemon claims the missing range a little later
    assert await stored.gaps(market) == []


async def nothing_is_missing(market: str) -> bool:
    return not await stored.fetch(market, "SELECT * FROM coverage_gaps")


async def all_there(market: str, simulator: Simulator) -> bool:
    return await stored.trades(market) == list(simulator.oracle.trades("BTCUSDT"))


@on_apache
async def test_a_killed_daemon_comes_back_and_writes_nothing_twice(market: str, simulator: Simulator, daemon: Daemons):
    settings = configuration(market, simulator)
    instance = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 400)
    await instance.settled("trades", 400)
    async with stored.stalled(market, 1_000_501):
        simulator.trade("BTCUSDT", 200)  # killed in the middle of their COPY
        await until(lambda: stored.stalled_backends(market))
        await instance.kill()
        await until(lambda: not simulator.has_subscriber(TRADES))
    again = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 400)
    scrape = await again.settled("trades", 400)
    assert scrape.rows("trades") | {"written": 400, "duplicate": 0} == scrape.rows("trades")
    sent = list(simulator.oracle.trades("BTCUSDT"))
    kept = await stored.trades(market)
    whole = len(kept) - 400  # a batch is stored whole or not at all; the batches in the middle of their COPY are lost
    assert (kept, 400 <= whole <= 500) == (sent[:whole] + sent[600:], True)
