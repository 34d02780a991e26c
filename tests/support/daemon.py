"""The daemon as a process of its own, for tests of the whole: started from a configuration, asked over HTTP, ended by signals.

It is a pytest plugin: `simulator` is a running simulated exchange, `daemon` starts daemons. What a test waits for has a deadline
and is polled; nothing sleeps for a fixed time. The log of a failed test's daemons is shown with it.
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

from ingest.simulator.server import Simulator
from tests.support.paths import ROOT

SECONDS = 20.0  # how long anything may take, unless a test says otherwise
ADDRESS = "status, metrics and health on "
FATES = ("written", "revised", "duplicate", "shed", "rejected", "expired")

Settings = dict[str, Any]
T = TypeVar("T")

on_apache = pytest.mark.parametrize("edition", ["apache"], indirect=True)  # where the edition cannot matter


async def until(condition: Callable[[], T | Awaitable[T]], seconds: float = SECONDS) -> T:
    """Poll `condition` until it is true, and return what it said. A deadline that passes fails the test with its source."""
    deadline = time.monotonic() + seconds
    while True:
        said = condition()
        value: T = await said if inspect.isawaitable(said) else said
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {inspect.getsource(condition).strip()}; last: {value!r}")
        await asyncio.sleep(0.03)


async def subscribed(simulator: Simulator, *streams: str) -> None:
    """Wait until somebody listens to the streams: from then on it misses nothing."""
    await until(lambda: all(map(simulator.has_subscriber, streams or ("btcusdt@trade",))))


def demo(simulator: Simulator, **changes: Any) -> Settings:
    """The section of an exchange that is the simulator."""
    urls = {"ws_url": simulator.ws_url, "rest_url": simulator.rest_url}
    return {"protocol": "binance", "instruments": ["BTC/USDT"], "channels": ["trades"]} | urls | changes


def configuration(dsn: str, simulator: Simulator, **changes: Any) -> Settings:
    """One daemon on one simulated exchange, with the queues and patience of a test; `changes` replace whole sections."""
    return {
        "name": "one",
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "exchanges": {"demo": demo(simulator)},
        "server": {"port": 0},
        "log": {"format": "json"},
        "shutdown_timeout": "5s",
        "heal": {"enabled": False},  # what is missing is to be seen; test_daemon_heal.py heals
    } | changes


def to_toml(settings: Settings, path: str = "") -> str:
    """Nested tables, lists and scalars; JSON's spelling of the latter two is TOML's as well."""
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if name not in tables]
    for name, table in tables.items():
        lines += [f"[{path}{name}]", to_toml(table, f"{path}{name}.")]
    return "\n".join(lines)


class Scrape:
    """One answer of /metrics: a moment of the daemon, because it is rendered without giving way."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of `ingest_<name>` that have these labels; 0 where there is none."""
        samples = self._samples.get(f"ingest_{name}", [])
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def rows(self, table: str) -> dict[str, int]:
        """Every term of the identity of `table`."""
        terms = {term: int(self.value(f"rows_{term}_total", table=table)) for term in ("decoded", "recovered", *FATES)}
        depths = {term: int(self.value(f"{name}_rows", table=table)) for term, name in (("queued", "queue"), ("spooled", "spool"))}
        return terms | depths

    def assert_identity(self) -> None:
        """Each row is in exactly one term, in every table that there is yet."""
        for sample in self._samples.get("ingest_rows_decoded_total", []):
            assert_balanced(sample.labels["table"], self.rows(sample.labels["table"]))


def assert_balanced(table: str, rows: dict[str, int]) -> None:
    """The identity, of one table."""
    came = rows["decoded"] + rows["recovered"]
    assert came == sum(rows[fate] for fate in (*FATES, "queued", "spooled")), f"{table}: {rows}"


class Daemon:
    """One `ingest run`. `start` returns when it listens; whether it is ready is another question."""

    def __init__(self, folder: Path, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self.url = ""
        self._config = folder / "ingest.toml"
        self._log = folder / "ingest.log"
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process
        self._client: aiohttp.ClientSession

    # --- its life -----------------------------------------------------------------------------------------------------------

    async def spawn(self) -> None:
        """Start the process and wait for nothing."""
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
        """Start it and wait until it listens."""
        await self.spawn()
        said = await until(lambda: self.said(ADDRESS) or self.exit_code)
        assert isinstance(said, list), f"it ended with {said}: {self.log}"
        self.url = said[0].removeprefix(ADDRESS)
        return self

    def configure(self, settings: Settings) -> None:
        """Write the configuration file; a running daemon reads it on SIGHUP."""
        self.settings = settings
        self._config.write_text(to_toml(settings))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def terminate(self, seconds: float = SECONDS) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait(seconds)

    async def wait(self, seconds: float = SECONDS) -> int:
        """The exit code, when it has ended by itself."""
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL: nothing is drained."""
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

    # --- what it says -------------------------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return self._log.read_text()

    def events(self) -> list[dict[str, Any]]:
        """The lines of its log, parsed; a last one that is not whole yet is left out."""
        return [json.loads(line) for line in self.log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]

    def said(self, text: str) -> list[str]:
        """The logged messages that hold `text`."""
        return [event["message"] for event in self.events() if text in event["message"]]

    def account(self, table: str) -> dict[str, int]:
        """The terms of the identity that it logged of `table` when it ended; they must balance."""
        (text,) = self.said(f"{table}: row totals: ")
        rows = {term: int(count) for term, count in re.findall(r"(\w+) (\d+)", text.partition("row totals: ")[2])}
        assert_balanced(table, rows)
        return rows

    async def readyz(self) -> str:
        """`ok`, or the reasons against it, a line each; empty where nobody answers."""
        try:
            async with self._client.get(f"{self.url}/readyz") as answer:
                text = (await answer.text()).strip()
                assert (answer.status == 200) == (text == "ok"), (answer.status, text)
                return text
        except aiohttp.ClientConnectionError:
            return ""

    async def livez(self) -> str:
        """`ok`, or what is stuck."""
        async with self._client.get(f"{self.url}/livez") as answer:
            return (await answer.text()).strip()

    async def ready(self, seconds: float = SECONDS) -> Daemon:
        """Wait until it is."""
        await until(self._is_ready, seconds)
        return self

    async def unready(self, reason: str, seconds: float = SECONDS) -> str:
        """Wait until it is not ready, with `reason` among the reasons; all of them."""

        async def unready() -> str:
            said = await self.readyz()
            return said if reason in said and said != "ok" else ""

        return await until(unready, seconds)

    async def scrape(self) -> Scrape:
        async with self._client.get(f"{self.url}/metrics") as answer:
            return Scrape(await answer.text())

    async def value(self, name: str, **labels: str) -> float:
        """One number of /metrics; see `Scrape.value`."""
        return (await self.scrape()).value(name, **labels)

    async def status(self) -> dict[str, Any]:
        async with self._client.get(f"{self.url}/status") as answer:
            return await answer.json()

    async def identity(self) -> Scrape:
        """Assert that no row is lost or counted twice; it holds at every moment."""
        scrape = await self.scrape()
        scrape.assert_identity()
        return scrape

    async def until(self, condition: Callable[[Scrape], object], seconds: float = SECONDS) -> Scrape:
        """Poll the metrics until `condition` holds of them; the identity must hold all the while."""

        async def met() -> Scrape | None:
            scrape = await self.identity()
            return scrape if condition(scrape) else None

        try:
            scrape = await until(met, seconds)
        except pytest.fail.Exception:
            now = await self.scrape()
            rows = {table: now.rows(table) for table in ("trades", "candles", "quotes", "order_books")}
            said = f"not within {seconds} s: {inspect.getsource(condition).strip()}; {rows}; readyz: {await self.readyz()}"
            raise pytest.fail.Exception(said) from None
        assert scrape is not None
        return scrape

    async def settled(self, table: str, rows: int, seconds: float = SECONDS) -> Scrape:
        """Wait until `rows` of `table` were decoded and none is queued."""
        return await self.until(lambda now: now.rows(table)["decoded"] >= rows and not now.rows(table)["queued"], seconds)

    async def _is_ready(self) -> bool:
        assert self.exit_code is None, f"it ended with {self.exit_code}"
        return await self.readyz() == "ok"


# --- fixtures -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """An exchange whose books move, and that trades only when a test says so."""
    made = Simulator(trades_per_second=0, ping_seconds=0.5)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Callable[..., Daemon]]:
    """Make daemons: `await daemon(settings).start()`. A defect that one logged fails the test."""
    made: list[Daemon] = []

    def make(settings: Settings, environment: Mapping[str, str] | None = None) -> Daemon:
        folder = tmp_path / f"daemon{len(made)}"
        folder.mkdir()
        made.append(Daemon(folder, settings, environment))
        return made[-1]

    yield make
    for one in made:
        await one.close()
        print(one.log)
    defects = [event for one in made for event in one.events() if "exception" in event]
    assert not defects, defects
