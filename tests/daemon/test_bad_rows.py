"""Rows that do not fit: bad ones are rejected alone; where the table is what is wrong, all are kept until somebody mends it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ingest.simulator import wire
from ingest.simulator.market import UNIT, Deal
from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, configuration, on_apache, subscribed, until

Daemons = Callable[..., Daemon]
REJECTS = "SELECT table_name, stage, reason, sqlstate, payload FROM rejects ORDER BY id"
BAD_ID = 7  # below the market's own ids: to the session a trade that is told again


def tell(simulator: Simulator, *, price: int, time_ms: int) -> None:
    """A trade that the market did not make."""
    deal = Deal(id=BAD_ID, time=time_ms, price=price, size=UNIT, maker=False)
    simulator.send_raw(wire.combined("btcusdt@trade", wire.trade("BTCUSDT", deal)))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@on_apache
async def test_a_poison_row_among_five_thousand_is_rejected_alone(market: str, simulator: Simulator, daemon: Daemons):
    queue = {"batch_rows": 5001, "max_age": "10 s"}  # all of them in one batch
    one = await daemon(configuration(market, simulator, queue=queue)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 2500)
    tell(simulator, price=0, time_ms=now_ms())
    simulator.trade("BTCUSDT", 2500)
    scrape = await one.settled("trades", 5001)
    assert scrape.rows("trades") | {"decoded": 5001, "written": 5000, "rejected": 1} == scrape.rows("trades")
    assert scrape.value("write_batch_rows_count", table="trades") == 1
    await stored.assert_all_trades(market, simulator)
    ((table, stage, reason, sqlstate, payload),) = await stored.fetch(market, REJECTS)
    assert (table, stage, reason, sqlstate) == ("trades", "write", "check", "23514")
    assert payload.split("\t")[2:6] == [str(BAD_ID), "0.00000000", "1.00000000", "buy"]


@on_apache
async def test_a_column_whose_type_no_longer_fits_holds_the_table(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 500)
    await one.settled("trades", 500)
    await stored.execute(
        market,
        "ALTER TABLE trades RENAME COLUMN side TO side_was; ALTER TABLE trades ADD COLUMN side boolean",
    )
    simulator.trade("BTCUSDT", 500)
    said = await one.unready("column trades.side is boolean; expected text")
    assert said.startswith("trades: held: ")
    scrape = await one.balanced_scrape()
    assert scrape.rows("trades") | {"written": 500, "rejected": 0, "queued": 500} == scrape.rows("trades")
    assert scrape.value("write_held", table="trades") == 1
    await stored.execute(
        market,
        "ALTER TABLE trades DROP COLUMN side; ALTER TABLE trades RENAME COLUMN side_was TO side",
    )
    scrape = await one.settled("trades", 1000)
    assert scrape.rows("trades") | {"written": 1000, "rejected": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    assert await stored.fetch(market, REJECTS) == []
    await one.ready()


async def test_a_table_is_altered_under_a_live_writer(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(configuration(market, simulator, queue={"batch_rows": 50, "max_age": "20 ms"})).start()
    await subscribed(simulator)
    statements = [
        "ALTER TABLE trades ADD COLUMN note text",
        "ALTER TABLE trades ALTER COLUMN note SET DEFAULT 'new'",
        "CREATE INDEX trades_by_price ON trades (instrument_id, price)",
        "ALTER TABLE trades DROP COLUMN note",
        "ALTER TABLE trades RENAME COLUMN native_id TO foreign_id",
        "ALTER TABLE trades RENAME COLUMN foreign_id TO native_id",
        "DROP INDEX trades_by_price",
    ]
    for statement in statements:
        simulator.trade("BTCUSDT", 500)
        await stored.execute(market, statement)
    rows = 500 * len(statements)
    scrape = await one.settled("trades", rows)
    assert scrape.rows("trades") | {"written": rows, "rejected": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    await one.ready()


@on_apache
async def test_rows_older_than_retention_are_counted_and_not_stored(market: str, simulator: Simulator, daemon: Daemons):
    one = await daemon(configuration(market, simulator, retention={"trades": "2 days"})).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    tell(simulator, price=UNIT, time_ms=now_ms() - 2 * 86_400_000 - 60_000)
    scrape = await one.settled("trades", 101)
    assert scrape.rows("trades") | {"decoded": 101, "written": 100, "expired": 1} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_a_row_of_a_broken_clock_is_refused_by_the_parser_and_makes_no_chunk(
    market: str, simulator: Simulator, daemon: Daemons
):
    one = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    tell(simulator, price=UNIT, time_ms=now_ms() * 1000)  # microseconds, as if they were milliseconds
    scrape = await one.settled("trades", 100)
    assert scrape.rows("trades") | {"decoded": 100, "written": 100} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    rejects = await until(lambda: stored.fetch(market, REJECTS))
    assert [(row["table_name"], row["stage"], row["reason"]) for row in rejects] == [(None, "decode", "value")]
