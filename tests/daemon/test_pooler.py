"""The daemon writes through PgBouncer in transaction mode, where each transaction may run on another backend.

https://www.pgbouncer.org/config.html. Maintenance connects to the server directly, by `admin_dsn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pooler import PGBOUNCER, Pooler

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, configuration, on_apache, subscribed, until

Daemons = Callable[..., Daemon]


async def started(pooler: Pooler) -> None:
    async def answers() -> bool:
        try:
            return bool(await stored.fetch(pooler.dsn, "SELECT 1"))
        except OSError:
            assert pooler.running, pooler.log
            return False

    await until(answers)


@pytest.fixture
def pooler(market: str, tmp_path: Path) -> Iterator[Pooler]:
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian's package pgbouncer)")
    pooler = Pooler(market, tmp_path)
    pooler.start()
    yield pooler
    pooler.kill()


@on_apache
async def test_rows_pass_a_pooler_by_every_strategy(market: str, pooler: Pooler, simulator: Simulator, daemon: Daemons):
    await started(pooler)
    database = {"dsn": pooler.dsn, "admin_dsn": market}
    instance = await daemon(configuration(market, simulator, database=database, queue={"batch_rows": 100})).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 1000)
    simulator.faults.repeat("btcusdt@trade", 50)  # duplicates: the writer changes to the temporary table
    simulator.trade("BTCUSDT", 1000)
    scrape = await instance.settled("trades", 2050)
    assert scrape.rows("trades") | {"written": 2000, "duplicate": 50} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_a_pooler_that_is_killed_and_comes_back_costs_no_row(
    market: str, pooler: Pooler, simulator: Simulator, daemon: Daemons
):
    await started(pooler)
    instance = await daemon(configuration(market, simulator, database={"dsn": pooler.dsn, "admin_dsn": market})).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 500)
    await instance.settled("trades", 500)
    pooler.kill()
    simulator.trade("BTCUSDT", 500)
    await instance.until(lambda now: now.value("write_retries_total"))
    await instance.unready("querying the database")
    pooler.start()
    scrape = await instance.settled("trades", 1000)
    rows = scrape.rows("trades")
    assert rows["written"] + rows["duplicate"] == 1000
    await stored.assert_all_trades(market, simulator)
    await instance.ready()
