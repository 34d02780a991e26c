"""The daemon as a process: started from a configuration, read over HTTP, ended by signals.

The module is a pytest plugin: `simulator` is a running simulated exchange, `daemon` starts daemons. A test polls for a condition
until a deadline; nothing sleeps for a fixed time. pytest prints the logs of a failed test's daemons.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ingest.daemon.http_server import RENDER_SECONDS
from ingest.simulator.server import Simulator
from tests.support.paths import ROOT

SECONDS = 20.0  # the deadline of every wait, unless a test gives another
ADDRESS = "status, metrics and health on "
OUTCOMES = ("written", "revised", "duplicate", "shed", "rejected", "expired")

Settings = dict[str, Any]
T = TypeVar("T")

on_apache = pytest.mark.parametrize("edition", ["apache"], indirect=True)  # for tests whose result does not depend on the edition


async def until(condition: Callable[[], T | Awaitable[T]], seconds: float = SECONDS) -> T:
    """Poll `condition` until it returns a true value, and return that value. After the deadline the test fails with its source."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        value: T = await result if inspect.isawaitable(result) else result
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {inspect.getsource(condition).strip()}; last: {value!r}")
        await asyncio.sleep(0.03)


async def subscribed(simulator: Simulator, *streams: str) -> None:
    """Wait until a client has subscribed to the streams: it receives every later message of them."""
    await until(lambda: all(map(simulator.has_subscriber, streams or ("btcusdt@trade",))))


def demo(simulator: Simulator, **changes: Any) -> Settings:
    """The section `[exchanges.NAME]` of an exchange whose addresses are the simulator's."""
    urls = {"ws_url": simulator.ws_url, "rest_url": simulator.rest_url}
    return {"protocol": "binance", "instruments": ["BTC/USDT"], "channels": ["trades"]} | urls | changes


def configuration(dsn: str, simulator: Simulator, **changes: Any) -> Settings:
    """The settings of one daemon on one simulated exchange; `changes` replace whole sections."""
    return {
        "name": "one",
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "exchanges": {"demo": demo(simulator)},
        "server": {"port": 0},
        "log": {"format": "json"},
        "shutdown_timeout": "5s",
        "heal": {"enabled": False},  # gaps stay visible; tests/daemon/test_heal.py fills them
    } | changes


def to_toml(settings: Settings, path: str = "") -> str:
    """Nested tables, lists and scalars as TOML, which spells lists and scalars as JSON does."""
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if name not in tables]
    for name, table in tables.items():
        lines += [f"[{path}{name}]", to_toml(table, f"{path}{name}.")]
    return "\n".join(lines)


class Scrape:
    """One response of /metrics. It shows a single moment, because the daemon renders it without yielding to other tasks."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of `ingest_<name>` that have these labels; 0 without such a sample."""
        samples = self._samples.get(f"ingest_{name}", [])
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def has(self, name: str, **labels: str) -> bool:
        """Whether `ingest_<name>` has a sample with these labels."""
        return any(labels.items() <= sample.labels.items() for sample in self._samples.get(f"ingest_{name}", []))

    def rows(self, table: str) -> dict[str, int]:
        """Every term of the row totals of `table`."""
        terms = {term: int(self.value(f"rows_{term}_total", table=table)) for term in ("decoded", "recovered", *OUTCOMES)}
        depths = {term: int(self.value(f"{name}_rows", table=table)) for term, name in (("queued", "queue"), ("spooled", "spool"))}
        return terms | depths

    def assert_balanced(self) -> None:
        """The row totals of every table with a sample balance."""
        for sample in self._samples.get("ingest_rows_decoded_total", []):
            assert_balanced(sample.labels["table"], self.rows(sample.labels["table"]))


def assert_balanced(table: str, rows: dict[str, int]) -> None:
    """The row totals of one table balance: each row that came in is in exactly one term."""
    incoming = rows["decoded"] + rows["recovered"]
    assert incoming == sum(rows[term] for term in (*OUTCOMES, "queued", "spooled")), f"{table}: {rows}"


class Daemon:
    """One process of `ingest run`. `start` returns when its HTTP server listens; `ready` waits until the daemon is ready."""

    def __init__(self, folder: Path, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self.url = ""
        self._config = folder / "ingest.toml"
        self._log = folder / "ingest.log"
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process
        self._client: aiohttp.ClientSession

    # --- start and end ------------------------------------------------------------------------------------------------------

    async def spawn(self) -> None:
        """Start the process, without waiting for it to listen."""
        self.configure(self.settings)
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ingest", "run", "--config", str(self._config)),
                cwd=ROOT,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def start(self) -> Daemon:
        """Start the process and wait until it listens."""
        await self.spawn()
        result = await until(lambda: self.logged(ADDRESS) or self.exit_code)
        assert isinstance(result, list), f"the daemon ended with exit code {result}: {self.log}"
        self.url = result[0].removeprefix(ADDRESS)
        return self

    def configure(self, settings: Settings) -> None:
        """Write the configuration file; a running daemon reads it on SIGHUP."""
        self.settings = settings
        self._config.write_text(to_toml(settings))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def terminate(self, seconds: float = SECONDS) -> int:
        """Send SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait(seconds)

    async def wait(self, seconds: float = SECONDS) -> int:
        """Wait for the end of the process; returns the exit code."""
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def kill(self) -> None:
        """Send SIGKILL: nothing is drained."""
        self.signal(signal.SIGKILL)
        await self._process.wait()

    async def close(self) -> None:
        if self.exit_code is None:
            await self.kill()
        await self._client.close()

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    @property
    def pid(self) -> int:
        return self._process.pid

    # --- log, status and metrics --------------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return self._log.read_text()

    def events(self) -> list[dict[str, Any]]:
        """The log's complete lines, parsed."""
        return [json.loads(line) for line in self.log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]

    def logged(self, text: str) -> list[str]:
        """The logged messages that contain `text`."""
        return [event["message"] for event in self.events() if text in event["message"]]

    def logged_row_totals(self, table: str) -> dict[str, int]:
        """The row totals of `table` that the daemon logged at its end; they must balance."""
        (text,) = self.logged(f"{table}: row totals: ")
        rows = {term: int(count) for term, count in re.findall(r"(\w+) (\d+)", text.partition("row totals: ")[2])}
        assert_balanced(table, rows)
        return rows

    async def readyz(self) -> str:
        """The text of /readyz: `ok`, or one reason a line; empty where nothing listens."""
        try:
            async with self._client.get(f"{self.url}/readyz") as answer:
                text = (await answer.text()).strip()
                assert (answer.status == 200) == (text == "ok"), (answer.status, text)
                return text
        except aiohttp.ClientConnectionError:
            return ""

    async def livez(self) -> str:
        """The text of /livez: `ok`, or the part that is stuck."""
        async with self._client.get(f"{self.url}/livez") as answer:
            return (await answer.text()).strip()

    async def ready(self, seconds: float = SECONDS) -> Daemon:
        """Wait until the daemon is ready."""
        await until(self._is_ready, seconds)
        return self

    async def unready(self, reason: str, seconds: float = SECONDS) -> str:
        """Wait until the daemon is not ready and `reason` is among the reasons; returns all reasons."""

        async def unready() -> str:
            text = await self.readyz()
            return text if reason in text and text != "ok" else ""

        return await until(unready, seconds)

    async def scrape(self) -> Scrape:
        """The metrics as they are now: the daemon answers with the page of the last RENDER_SECONDS."""
        await asyncio.sleep(RENDER_SECONDS)
        return await self._served_metrics()

    async def _served_metrics(self) -> Scrape:
        async with self._client.get(f"{self.url}/metrics") as answer:
            return Scrape(await answer.text())

    async def value(self, name: str, **labels: str) -> float:
        """A number of /metrics, as `Scrape.value` returns it."""
        return (await self.scrape()).value(name, **labels)

    async def status(self) -> dict[str, Any]:
        async with self._client.get(f"{self.url}/status") as answer:
            return await answer.json()

    async def balanced_scrape(self) -> Scrape:
        """Scrape, and assert that no row is lost or counted twice, which must hold at every moment."""
        scrape = await self.scrape()
        scrape.assert_balanced()
        return scrape

    async def until(self, condition: Callable[[Scrape], object], seconds: float = SECONDS) -> Scrape:
        """Poll the metrics until `condition` is true of them; the row totals must balance in every scrape."""

        async def met() -> Scrape | None:
            scrape = await self._served_metrics()
            scrape.assert_balanced()
            return scrape if condition(scrape) else None

        try:
            scrape = await until(met, seconds)
        except pytest.fail.Exception:
            now = await self.scrape()
            rows = {table: now.rows(table) for table in ("trades", "candles", "quotes", "order_books")}
            message = f"not within {seconds} s: {inspect.getsource(condition).strip()}; {rows}; readyz: {await self.readyz()}"
            raise pytest.fail.Exception(message) from None
        assert scrape is not None
        return scrape

    async def settled(self, table: str, rows: int, seconds: float = SECONDS) -> Scrape:
        """Wait until `rows` rows of `table` are decoded and none is queued."""
        return await self.until(lambda now: now.rows(table)["decoded"] >= rows and not now.rows(table)["queued"], seconds)

    async def _is_ready(self) -> bool:
        assert self.exit_code is None, f"the daemon ended with exit code {self.exit_code}"
        return await self.readyz() == "ok"


# --- fixtures -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulated exchange whose books change by themselves, and which trades only when a test calls `trade`."""
    made = Simulator(trades_per_second=0, ping_seconds=0.5)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Callable[..., Daemon]]:
    """Makes daemons: `await daemon(settings).start()`. A test fails where a daemon logged an exception."""
    made: list[Daemon] = []

    def make(settings: Settings, environment: Mapping[str, str] | None = None) -> Daemon:
        folder = tmp_path / f"daemon{len(made)}"
        folder.mkdir()
        made.append(Daemon(folder, settings, environment))
        return made[-1]

    yield make
    for process in made:
        await process.close()
        print(process.log)
    defects = [event for process in made for event in process.events() if "exception" in event]
    assert not defects, defects
