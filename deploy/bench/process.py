"""A measured process: started, read through /proc, and ended.

https://www.kernel.org/doc/html/latest/filesystems/proc.html - VmHWM is the peak of what was resident; utime and stime are in
clock ticks.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cluster import free_port

from bench.exchange import ENDING_WITH_US, KIND, Exchange

END_SECONDS = 40.0  # the daemon's own deadline for draining is 30
EMPTY: Mapping[str, str] = {}

Command = Sequence[str | Path]


class Running:
    """A running process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds so far, of all its threads."""
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_mb(self) -> float:
        """The peak of resident memory, in megabytes of 10^6 bytes."""
        line = next(line for line in self._read("status").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6

    def _read(self, name: str) -> str:
        if self._process.returncode is not None:
            raise RuntimeError(f"the measured process ended with {self._process.returncode}; its output is above")
        return Path("/proc", str(self._process.pid), name).read_text()

    async def end(self, number: signal.Signals) -> None:
        """Send the signal and return when the process has ended."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def running(
    command: Sequence[str | Path], end: signal.Signals, settings: Mapping[str, str] = EMPTY
) -> AsyncIterator[Running]:
    """Run `command` during a `with`. Its output goes to stderr, because stdout has only results."""
    streams = {"stdin": asyncio.subprocess.DEVNULL, "stdout": sys.stderr.fileno()}
    environment = {**os.environ, **settings}
    one = Running(await asyncio.create_subprocess_exec(*ENDING_WITH_US, *command, env=environment, **streams))
    try:
        yield one
    finally:
        await one.end(end)


@asynccontextmanager
async def daemon(dsn: str, exchange: Exchange, channels: Sequence[str]) -> AsyncIterator[Running]:
    """`ingest run` on the simulated exchange, with the default settings."""
    binance = {
        "instruments": exchange.instruments,
        "channels": channels,
        "trade_kind": KIND,
        "ws_url": exchange.ws_url,
        "rest_url": exchange.rest_url,
    }
    settings = {
        "INGEST__DATABASE__DSN": dsn,
        "INGEST__DATABASE__ADMIN_DSN": dsn,
        "INGEST__EXCHANGES": json.dumps({"binance": binance}),
        "INGEST__SERVER__PORT": str(free_port()),
        "INGEST__LOG__LEVEL": "warning",
    }
    async with running([sys.executable, "-m", "ingest", "run"], signal.SIGTERM, settings) as one:
        yield one
