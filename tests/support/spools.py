"""Daemons with a spool: their configuration, trades for them, and the files of the spool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cluster import Cluster

from ingest.simulator.server import Simulator
from tests.support.daemon import Daemon, Settings, configuration

SHORT = "300 ms"  # queue.max_wait of tests in which rows are shed


def spooling(
    dsn: str, simulator: Simulator, folder: Path, *, durability: str = "spool", max_wait: str = "10s", **spool: Any
) -> Settings:
    """The configuration of a daemon with small queues and a spool in `folder`."""
    queue = {"batch_rows": 100, "max_age": "50 ms", "max_rows": 1000, "max_wait": max_wait}
    section = {"path": str(folder / "spool"), "start_after": "200 ms"} | spool
    return configuration(dsn, simulator, queue=queue, spool=section, durability=durability)


def files(folder: Path) -> list[str]:
    """The names of segments and of quarantined segments."""
    return sorted(path.name for path in (folder / "spool").iterdir() if path.suffix in (".spool", ".bad"))


@asynccontextmanager
async def stopped(cluster: Cluster) -> AsyncIterator[None]:
    """Kills the database server, and starts it again when the block is left."""
    await asyncio.to_thread(cluster.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(cluster.start)


async def tell(simulator: Simulator, one: Daemon, trades: int) -> None:
    """Make trades by the hundred, and wait until each hundred is decoded, so that none waits in a socket."""
    for _ in range(trades // 100):
        simulator.trade("BTCUSDT", 100)
        told = len(list(simulator.oracle.trades("BTCUSDT")))
        await one.until(lambda now, told=told: now.rows("trades")["decoded"] >= told)
