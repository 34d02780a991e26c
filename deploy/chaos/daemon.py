"""The daemon of a run: processes that follow each other under one configuration, ended by signals, and what each said.

Everything is set by the environment, so that there is no file of settings. The log is JSON, one file a process.
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
END_SECONDS = 40.0  # SIGTERM: the settings of a run give it five for the drain
ENDING_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # however we end
_LISTENS = re.compile(r"health on (http://[0-9.:]+)")
_ACCOUNT = re.compile(r"(\w+): row totals: (.*)")
_CAME = {"decoded", "recovered"}


class Ended(Struct, frozen=True):
    """One process that is gone: its log, and its exit code (negative where a signal of ours killed it)."""

    log: Path
    code: int


class Daemon:
    """`command` stands before the program; `environment` is added to ours. At most one process lives at a time."""

    def __init__(self, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.ended: list[Ended] = []
        self._folder = folder
        self._url = ""
        self._command = [*ENDING_WITH_US, *command, sys.executable, "-m", "ingest", "run"]
        self._environment = {**os.environ, **environment, "INGEST__SERVER__PORT": "0", "INGEST__LOG__FORMAT": "json"}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """A new process; it is waited for until it listens."""
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
        """What it says of itself; empty while it does not answer."""
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as client, client.get(f"{self._url}/status") as answer:
                status: dict[str, Any] = await answer.json()
                return status
        except (aiohttp.ClientError, TimeoutError):
            return {}

    async def idle(self) -> bool:
        """Whether it is ready and no row is on its way."""
        status = await self.status()
        is_ready = status.get("daemon", {}).get("state") == "ready"
        return is_ready and not any(queue["queued"] or queue["spooled"] for queue in status["queues"].values())

    def _find_url(self) -> str:
        return next(iter(_LISTENS.findall(self._log.read_text())), "")

    @property
    def _log(self) -> Path:
        return self._folder / f"daemon-{len(self.ended)}.log"


def events(ended: Ended) -> list[dict[str, Any]]:
    """The lines of its log, parsed; a last one that a kill has torn is left out."""
    lines = ended.log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def defects(ended: Ended) -> list[str]:
    """The exceptions that nothing in the daemon was prepared for."""
    raised = [(event["logger"], event["exception"]) for event in events(ended) if "exception" in event]
    # where a server goes away within a COPY asyncpg itself may forget a future; the COPY is retried all the same
    return [text for logger, text in raised if logger != "asyncio" or not text.startswith("asyncpg.")]


def unbalanced(ended: Ended) -> list[str]:
    """The tables whose account it logged does not balance; a process that ended by itself and logged none is named as well."""
    if ended.code < 0:
        return []
    said = [event["message"] for event in events(ended)]
    accounts = [match for message in said if (match := _ACCOUNT.fullmatch(message))]
    had_rows = any(message.startswith("TimescaleDB ") for message in said)  # else it ended before it had a database
    if ended.code or (had_rows and not accounts):
        return [f"{ended.log.name}: exit code {ended.code}, {len(accounts)} accounts"]
    return [f"{ended.log.name}: {match[0]}" for match in accounts if not _balances(match[2])]


def _balances(account: str) -> bool:
    rows = {term: int(count) for term, count in re.findall(r"(\w+) (\d+)", account)}
    return sum(rows[term] for term in _CAME) == sum(count for term, count in rows.items() if term not in _CAME)
