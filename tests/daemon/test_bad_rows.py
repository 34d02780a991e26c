"""A bad row is rejected alone; when the table does not fit, all rows are kept until a person corrects it."""

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
BAD_ID = 7  # below the ids of the simulated market, so that the session takes it for a resent trade


def send_trade(simulator: Simulator, *, price: int, time_ms: int) -> None:
    """Send a trade that is not in the oracle."""
    deal = Deal(id=BAD_ID, time=time_ms, price=price, size=UNIT, maker=False)
    simulator.send_raw(wire.combined("btcusdt@trade", wire.trade("BTCUSDT", deal)))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@on_apache
async def test_a_poison_row_among_five_thousand_is_rejected_alone(market: str, simulator: Simulator, daemon: Daemons):
    await stored.execute(
        market, f"ALTER TABLE trades ADD CONSTRAINT poison CHECK (trade_id <> {BAD_ID})"
    )  # the parser refuses others
    queue = {"batch_rows": 5001, "max_age": "10 s"}  # so that all rows are in one batch
    instance = await daemon(configuration(market, simulator, queue=queue)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 2500)
    send_trade(simulator, price=UNIT, time_ms=now_ms())
    simulator.trade("BTCUSDT", 2500)
    scrape = await instance.settled("trades", 5001)
    assert scrape.rows("trades") | {"decoded": 5001, "written": 5000, "rejected": 1} == scrape.rows("trades")
    assert scrape.value("write_batch_rows_count", table="trades") == 1
    await stored.assert_all_trades(market, simulator)
    ((table, stage, reason, sqlstate, payload),) = await stored.fetch(market, REJECTS)
    assert (table, stage, reason, sqlstate) == ("trades", "write", "check", "23514")
    assert payload.split("\t")[2:6] == [str(BAD_ID), "1.00000000", "1.00000000", "buy"]


@on_apache
async def test_a_column_whose_type_no_longer_fits_holds_the_table(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 500)
    await instance.settled("trades", 500)
    await stored.execute(
        market,
        "ALTER TABLE trades RENAME COLUMN side TO side_was; ALTER TABLE trades ADD COLUMN side boolean",
    )
    simulator.trade("BTCUSDT", 500)
    reason = await instance.unready("column trades.side is boolean; expected text")
    assert reason.startswith("trades: held: ")
    scrape = await instance.balanced_scrape()
    assert scrape.rows("trades") | {"written": 500, "rejected": 0, "queued": 500} == scrape.rows("trades")
    assert scrape.value("write_held", table="trades") == 1
    await stored.execute(
        market,
        "ALTER TABLE trades DROP COLUMN side; ALTER TABLE trades RENAME COLUMN side_was TO side",
    )
    scrape = await instance.settled("trades", 1000)
    assert scrape.rows("trades") | {"written": 1000, "rejected": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    assert await stored.fetch(market, REJECTS) == []
    await instance.ready()


async def test_a_table_is_altered_under_a_live_writer(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator, queue={"batch_rows": 50, "max_age": "20 ms"})).start()
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
    scrape = await instance.settled("trades", rows)
    assert scrape.rows("trades") | {"written": rows, "rejected": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    await instance.ready()


@on_apache
async def test_rows_older_than_retention_are_counted_and_not_stored(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator, retention={"trades": "2 days"})).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    send_trade(simulator, price=UNIT, time_ms=now_ms() - 2 * 86_400_000 - 60_000)
    scrape = await instance.settled("trades", 101)
    assert scrape.rows("trades") | {"decoded": 101, "written": 100, "expired": 1} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_a_time_in_the_far_future_is_refused_by_the_parser(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    send_trade(simulator, price=UNIT, time_ms=now_ms() * 1000)  # microseconds in a field of milliseconds
    scrape = await instance.settled("trades", 100)
    assert scrape.rows("trades") | {"decoded": 100, "written": 100} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    rejects = await until(lambda: stored.fetch(market, REJECTS))
    assert [(row["table_name"], row["stage"], row["reason"]) for row in rejects] == [(None, "decode", "value")]
