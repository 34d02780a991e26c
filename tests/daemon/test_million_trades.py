"""A million trades from a websocket into the database, each compared with the trade that the simulated exchange sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import islice

import asyncpg

from ingest.simulator.oracle import OracleTrade
from ingest.simulator.server import Simulator
from tests.support.daemon import Daemon, configuration, until

TRADES = {"apache": 1_000_000, "community": 200_000}
AT_ONCE = 50_000  # trades that are prepared, or compared, at a time
STORED = """
    SELECT trade_id, (extract(epoch FROM time) * 1000000)::bigint, price::text, size::text, side, received_at >= time, native_id
      FROM trades ORDER BY instrument_id, trade_id"""


async def chunks(dsn: str) -> AsyncIterator[list[tuple[object, ...]]]:
    """Every stored trade by id, `AT_ONCE` at a time. There is one instrument."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            cursor = await connection.cursor(STORED)
            while rows := await cursor.fetch(AT_ONCE):
                yield [tuple(row) for row in rows]
    finally:
        await connection.close()


def as_stored(sent: OracleTrade) -> tuple[object, ...]:
    return (sent.id, sent.time * 1000, sent.price, sent.size, sent.side, True, None)


async def test_every_trade_is_stored_as_sent(
    market: str, edition: str, simulator: Simulator, daemon: Callable[..., Daemon]
) -> None:
    count = TRADES[edition]
    instance = await daemon(configuration(market, simulator)).start()
    await until(lambda: simulator.has_subscriber("btcusdt@trade"))
    for _ in range(count // AT_ONCE):
        await simulator.burst("BTCUSDT", simulator.prepare("BTCUSDT", AT_ONCE))
    await instance.settled("trades", count, seconds=60)
    assert await instance.terminate() == 0
    sent = map(as_stored, simulator.oracle.trades("BTCUSDT"))
    compared = 0
    async for rows in chunks(market):
        assert rows == list(islice(sent, len(rows)))
        compared += len(rows)
    assert (compared, list(sent)) == (count, [])
