"""Repeated SIGKILL: with durability `always` every counted row is stored in the end, and every gap is found again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster

from ingest.simulator.oracle import OracleTrade
from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, on_apache, subscribed, until
from tests.support.spools import files, spooling, stopped

Daemons = Callable[..., Daemon]
KILLS = 6


@on_apache
@pytest.mark.parametrize("fsync", ["never", "always"])
async def test_what_was_counted_survives_every_kill(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path, fsync: str):
    seed = time.time_ns()
    print(f"seed {seed}")
    rng = random.Random(seed)
    settings = spooling(market, simulator, tmp_path, durability="always", fsync=fsync)
    counted: list[OracleTrade] = []
    for number in range(KILLS):
        instance = await daemon(settings).start()
        await subscribed(simulator)
        before = len(list(simulator.oracle.trades("BTCUSDT")))
        enough = rng.randint(1, 900)
        async with stored.locked(market, "trades") if number % 2 else nullcontext():  # either it keeps up, or all rows wait on disk
            for _ in range(20):
                simulator.trade("BTCUSDT", 50)
            scrape = await instance.until(lambda now, enough=enough: now.rows("trades")["decoded"] >= enough)
            await instance.kill()
        counted += list(simulator.oracle.trades("BTCUSDT"))[before : before + scrape.rows("trades")["decoded"]]
        await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
    last = await daemon(settings).start()
    await last.until(lambda now: now.rows("trades")["recovered"] and not now.rows("trades")["spooled"])  # the last kill left rows
    kept = set(await stored.trades(market))
    assert len(counted) >= KILLS
    assert [row for row in counted if row not in kept] == []
    assert await last.terminate() == 0
    assert files(tmp_path) == []


@on_apache
async def test_a_gap_seen_while_the_database_was_away_is_found_again_after_a_kill(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    settings = spooling(market, simulator, tmp_path) | {"heal": {"enabled": True, "after": "2s", "interval": "200 ms"}}
    instance = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)

    async def claimed() -> list[Any]:
        simulator.trade("BTCUSDT")  # a later trade shows that the time before it is covered
        return await stored.fetch(market, "SELECT 1 FROM coverage WHERE state = 'covered' AND channel = 'trades'")

    await until(claimed)
    async with stopped(cluster):
        simulator.faults.lose("btcusdt@trade", 5)
        simulator.trade("BTCUSDT", 50)
        await instance.until(lambda now: now.value("gaps_total", reason="sequence"))
        await instance.kill()  # the gap was in memory only
        await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
    again = await daemon(settings).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)

    async def all_there() -> bool:
        return await stored.trades(market) == list(simulator.oracle.trades("BTCUSDT"))

    await until(all_there, 60)
    reasons = await stored.reasons(market)
    assert ("trades", "unwatched") in reasons  # the range is not claimed, so it is a gap whose reason is unknown
    assert ("trades", "sequence") not in reasons
    await again.balanced_scrape()
