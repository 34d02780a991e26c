"""The daemon of a run: successive processes with the same configuration, ended by signals, and their logs.

The configuration is in the environment. The log is JSON, one file per process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from cluster import CHECKOUT
from msgspec import Struct

from chaos.waiting import until

START_SECONDS = 30.0
END_SECONDS = 40.0  # after SIGTERM; the drain takes up to 5 s of it
ENDING_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # even if we are killed
_LISTENS = re.compile(r"health on (http://[0-9.:]+)")
_ROW_TOTALS = re.compile(r"(\w+): row totals: (.*)")
_INPUTS = {"decoded", "recovered"}


class Ended(Struct, frozen=True):
    """A process that has ended: its log and its exit code, which is negative if a signal killed it."""

    log: Path
    code: int


class Daemon:
    """At most one process runs at a time. `command` precedes `ingest run`; `environment` is added to that of this process."""

    def __init__(self, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.ended: list[Ended] = []
        self._folder = folder
        self._url = ""
        self._command = [*ENDING_WITH_US, *command, sys.executable, "-m", "ingest", "run"]
        self._environment = {**os.environ, **environment, "INGEST__SERVER__PORT": "0", "INGEST__LOG__FORMAT": "json"}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start a process and wait until it listens."""
        with self._log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=CHECKOUT,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._process = process
        await until(lambda: process.returncode is not None or bool(self._find_url()), START_SECONDS, "it listens")
        if process.returncode is not None:
            raise RuntimeError(f"the daemon ended with {process.returncode}: {self._log.read_text()[-2000:]}")
        self._url = self._find_url()

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> None:
        """SIGTERM: it drains."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(number)
        try:
            code = await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise RuntimeError(f"no end within {END_SECONDS:.0f} s of {number.name}: {self._log.read_text()[-2000:]}") from None
        self._process = None
        self.ended.append(Ended(self._log, code))

    async def status(self) -> dict[str, Any]:
        """The body of /status; empty while the daemon does not answer."""
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as client, client.get(f"{self._url}/status") as response:
                status: dict[str, Any] = await response.json()
                return status
        except (aiohttp.ClientError, TimeoutError):
            return {}

    async def idle(self) -> bool:
        """Whether the daemon is ready and no row waits in a queue or in the spool."""
        status = await self.status()
        is_ready = status.get("daemon", {}).get("state") == "ready"
        return is_ready and not any(queue["queued"] or queue["spooled"] for queue in status["queues"].values())

    def _find_url(self) -> str:
        return next(iter(_LISTENS.findall(self._log.read_text())), "")

    @property
    def _log(self) -> Path:
        return self._folder / f"daemon-{len(self.ended)}.log"


def events(ended: Ended) -> list[dict[str, Any]]:
    """The parsed lines of the log. A last line that was cut off by a kill is skipped."""
    lines = ended.log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def defects(ended: Ended) -> list[str]:
    """The logged exceptions, which the daemon did not expect."""
    raised = [(event["logger"], event["exception"]) for event in events(ended) if "exception" in event]
    # asyncpg may leave a future unretrieved if the server goes away within a COPY; the COPY is retried
    return [text for logger, text in raised if logger != "asyncio" or not text.startswith("asyncpg.")]


def unbalanced(ended: Ended) -> list[str]:
    """The tables whose logged row totals do not balance; also a process that was not killed and logged none."""
    if ended.code < 0:
        return []
    messages = [event["message"] for event in events(ended)]
    totals = [match for message in messages if (match := _ROW_TOTALS.fullmatch(message))]
    had_rows = any(message.startswith("TimescaleDB ") for message in messages)  # else it ended before it had a database
    if ended.code or (had_rows and not totals):
        return [f"{ended.log.name}: exit code {ended.code}, row totals of {len(totals)} tables"]
    return [f"{ended.log.name}: {match[0]}" for match in totals if not _balances(match[2])]


def _balances(totals: str) -> bool:
    rows = {term: int(count) for term, count in re.findall(r"(\w+) (\d+)", totals)}
    return sum(rows[term] for term in _INPUTS) == sum(count for term, count in rows.items() if term not in _INPUTS)
