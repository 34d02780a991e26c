"""The supervisor and the source manager, run in the test's process, with a part that raises an exception."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ingest.config import settings as config
from ingest.config.sections import Database
from ingest.config.settings import Settings
from ingest.daemon import supervisor
from ingest.daemon.http_server import listen
from ingest.daemon.source_manager import SourceManager
from ingest.daemon.supervisor import Supervisor
from ingest.metrics import Metrics
from ingest.simulator.server import Simulator
from ingest.sources.run_state import RunState
from ingest.store.coverage_buffer import CoverageBuffer
from ingest.store.instruments import store_instruments
from ingest.store.pool import open_pool
from tests.support import stored
from tests.support.daemon import configuration, on_apache, subscribed, to_toml, until


def supervisor_of(settings: dict[str, Any], folder: Path) -> Supervisor:
    path = folder / "ingest.toml"
    path.write_text(to_toml(settings))
    return Supervisor(config.load(path), lambda: config.load(path), listen("127.0.0.1", 0))


@on_apache
async def test_a_defect_in_a_part_that_is_not_restarted_ends_the_daemon_and_queued_rows_become_a_gap(
    market: str, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = asyncio.Event()

    async def watch(*_: object) -> None:
        await fails.wait()
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(supervisor, "watch_database", watch)
    one = supervisor_of(configuration(market, simulator), tmp_path)
    running = asyncio.create_task(one.run())
    await subscribed(simulator)
    async with stored.locked(market, "trades"):
        simulator.trade("BTCUSDT", 300)
        await until(lambda: one.writers["trades"].queue.rows == 300)
        fails.set()
        with pytest.raises(ExceptionGroup) as group:
            async with asyncio.timeout(15):
                await running
    assert group.group_contains(ZeroDivisionError, match="a defect", depth=1)
    tally = one.writers["trades"].queue.tally
    assert (tally.decoded, tally.shed, tally.queued, tally.balance()) == (300, {"shutdown": 300}, 0, 0)
    (gap,) = await stored.gaps(market)
    assert (gap["symbol"], gap["channel"], gap["reason"]) == ("BTCUSDT", "trades", "shed")
    assert await stored.trades(market) == []


class Stubborn:
    """A source that fails while it is cancelled."""

    def __init__(self) -> None:
        self.runs = 0

    def report(self, state: RunState) -> None:
        pytest.fail(f"reported while it was cancelled: {state}")

    async def run(self) -> None:
        self.runs += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fail_when_cancelled())

    async def _fail_when_cancelled(self) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise OSError("the line broke just now")


async def test_a_source_that_fails_while_it_is_cancelled_is_not_restarted() -> None:
    settings, metrics = Settings(database=Database(dsn=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"))), Metrics()
    pool = await open_pool("postgresql://nobody@127.0.0.1:1/nothing", 1)  # it would connect at its first use, which never comes
    coverage, store = CoverageBuffer(pool, metrics.counters, "one"), partial(store_instruments, pool)
    one = SourceManager(settings, "one", metrics, group=asyncio.TaskGroup(), queues={}, coverage=coverage, store_instruments=store)
    source = Stubborn()
    keeping = asyncio.create_task(one._keep("stubborn", source, None))
    await until(lambda: source.runs == 1)
    keeping.cancel()
    await asyncio.wait([keeping], timeout=5)
    assert (keeping.done(), source.runs) == (True, 1)
