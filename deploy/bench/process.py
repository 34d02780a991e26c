"""A measured process: start it, read its figures from /proc, and end it.

https://www.kernel.org/doc/html/latest/filesystems/proc.html. VmHWM is the peak of resident memory; utime and stime are in
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

END_SECONDS = 40.0  # longer than the daemon's shutdown_timeout of 30 s
EMPTY: Mapping[str, str] = {}

Command = Sequence[str | Path]


class Running:
    """A running process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all threads since the start."""
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_mb(self) -> float:
        """The peak of resident memory, in megabytes of 10^6 bytes."""
        return self._megabytes("VmHWM:")

    @property
    def resident_mb(self) -> float:
        """The resident memory now, in megabytes of 10^6 bytes."""
        return self._megabytes("VmRSS:")

    @property
    def descriptors(self) -> int:
        """The number of open descriptors."""
        return len(list(Path("/proc", str(self._process.pid), "fd").iterdir()))

    def _megabytes(self, field: str) -> float:
        line = next(line for line in self._read("status").splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024 / 1e6

    def _read(self, name: str) -> str:
        if self._process.returncode is not None:
            raise RuntimeError(f"the measured process ended with {self._process.returncode}; its output is above")
        return Path("/proc", str(self._process.pid), name).read_text()

    async def end(self, number: signal.Signals) -> None:
        """Send the signal and wait until the process has ended; kill it after END_SECONDS."""
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
    """Runs `command` while the block runs. Its output goes to stderr, because stdout has only results."""
    streams = {"stdin": asyncio.subprocess.DEVNULL, "stdout": sys.stderr.fileno()}
    environment = {**os.environ, **settings}
    process = Running(await asyncio.create_subprocess_exec(*ENDING_WITH_US, *command, env=environment, **streams))
    try:
        yield process
    finally:
        await process.end(end)


@asynccontextmanager
async def daemon(dsn: str, exchange: Exchange, channels: Sequence[str], more: Mapping[str, str] = EMPTY) -> AsyncIterator[Running]:
    """Runs `ingest run` on the simulated exchange, with default settings, and those of `more` as environment variables."""
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
    async with running([sys.executable, "-m", "ingest", "run"], signal.SIGTERM, {**settings, **more}) as process:
        yield process
