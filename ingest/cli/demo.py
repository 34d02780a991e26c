"""`ingest demo`: runs a simulated exchange on loopback and the daemon that stores its data, in one process.

The exchange is stored under the name `demo`, so that simulated rows are never mixed with real ones.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

from ingest import log
from ingest.config import settings as config
from ingest.config.settings import Settings
from ingest.daemon.http_server import listen
from ingest.daemon.supervisor import Supervisor
from ingest.pipeline.time_ranges import CHANNELS
from ingest.simulator.market import SPECS
from ingest.simulator.server import Simulator

STATUS_SECONDS = 2.0
TRADES_PER_SECOND = 200.0
HISTORY_SECONDS = 300


async def run(options: argparse.Namespace) -> int:
    """Runs until SIGTERM, SIGINT or the end of `seconds`. Returns the exit code of the daemon."""
    log.set_up("console", "warning")
    simulator = Simulator(trades_per_second=TRADES_PER_SECOND, history_seconds=HISTORY_SECONDS, seed=time.time_ns() % 2**31)
    await simulator.start()
    try:
        load = partial(_load, options.config, simulator)
        settings = load()
        supervisor = Supervisor(settings, load, listen(settings.server.host, settings.server.port))
        if options.seconds is not None:
            asyncio.get_running_loop().call_later(options.seconds, supervisor.stop)
        printing = asyncio.create_task(_print_forever(supervisor))
        try:
            code = await supervisor.run()
        finally:
            printing.cancel()
        print(_line(supervisor), flush=True)
        return code
    finally:
        await simulator.stop()


def _load(path: Path | None, simulator: Simulator) -> Settings:
    """The settings with the simulated exchange only: an exchange that the environment configures would be streamed as well."""
    overrides = _overrides(simulator)
    settings = config.load(path, overrides)
    return settings.model_copy(update={"exchanges": {"demo": settings.exchanges["demo"]}})


def _overrides(simulator: Simulator) -> dict[str, Any]:
    section = {
        "protocol": "binance",
        "instruments": [f"{spec.base}/{spec.quote}" for spec in SPECS],
        "ws_url": simulator.ws_url,
        "rest_url": simulator.rest_url,
    }
    return {"exchanges": {"demo": section}, "migrate_on_start": True}


async def _print_forever(supervisor: Supervisor) -> None:
    while True:
        await asyncio.sleep(STATUS_SECONDS)
        print(_line(supervisor), flush=True)


def _line(supervisor: Supervisor) -> str:
    """The stored rows by table, the age of the newest stored trade, the address of the metrics, and why the daemon is not ready."""
    rows = "  ".join(f"{name} {writer.queue.tally.written:,}" for name, writer in supervisor.writers.items() if name in CHANNELS)
    trades = supervisor.writers.get("trades")
    lag = f"{time.time() - trades.committed_time / 1e6:.2f} s" if trades and trades.committed_time else "-"
    unready = "; ".join(supervisor.unready())
    return f"rows stored: {rows or 'none yet'}  |  lag {lag}  |  {supervisor.server.url}/metrics" + (
        f"  |  {unready}" if unready else ""
    )
