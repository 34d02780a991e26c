"""Daemons with a spool: their settings, the trades that they receive, and the files of the spool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cluster import Cluster

from ingest.simulator.server import Simulator
from tests.support.daemon import Daemon, Settings, configuration

SHORT = "300 ms"  # `max_wait` of a test that wants rows to be shed


def spooling(
    dsn: str, simulator: Simulator, folder: Path, *, durability: str = "spool", max_wait: str = "10s", **spool: Any
) -> Settings:
    """The settings of a daemon with small queues and a spool in `folder`."""
    queue = {"batch_rows": 100, "max_age": "50 ms", "max_rows": 1000, "max_wait": max_wait}
    section = {"path": str(folder / "spool"), "start_after": "200 ms"} | spool
    return configuration(dsn, simulator, queue=queue, spool=section, durability=durability)


def files(folder: Path) -> list[str]:
    """The names of the segments and of the quarantined segments."""
    return sorted(path.name for path in (folder / "spool").iterdir() if path.suffix in (".spool", ".bad"))


@asynccontextmanager
async def stopped(cluster: Cluster) -> AsyncIterator[None]:
    """Kill the database server, and start it again at the end of the block."""
    await asyncio.to_thread(cluster.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(cluster.start)


async def send_trades(simulator: Simulator, daemon: Daemon, trades: int) -> None:
    """Send `trades` trades, by the hundred. Each hundred is decoded before the next is sent, so that none waits in a socket."""
    for _ in range(trades // 100):
        simulator.trade("BTCUSDT", 100)
        sent = len(list(simulator.oracle.trades("BTCUSDT")))
        await daemon.until(lambda now, sent=sent: now.rows("trades")["decoded"] >= sent)
