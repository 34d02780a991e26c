"""The cost of the coverage ledger: the same rows through queue and writer, with the claims of 400 channels and without.

A claim is extended once a second, so a round must last several seconds: https://www.postgresql.org/docs/current/storage-hot.html
"""

from __future__ import annotations

import asyncio
import time

from bench.result import Place, Result, Round, compared, read_settings
from bench.stored import empty, require, stored
from bench.write import INSTRUMENTS, VALUES, by_ingest, sent_checksum, trades
from ingest.counters import Counters
from ingest.daemon.supervisor import CLAIM_SECONDS
from ingest.protocol.session import ChannelName
from ingest.records import Trade
from ingest.store.coverage import Claim
from ingest.store.coverage_buffer import CoverageBuffer
from ingest.store.pool import open_pool

ROWS = 1_000_000
ROUNDS = 5
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book", "quotes")


async def coverage(place: Place, rows: int | None) -> Result:
    """Rows per second with the ledger against rows per second without."""
    sent = list(trades(rows or ROWS))
    expected, rounds, claimed = sent_checksum(sent), [], 0
    for _ in range(ROUNDS):
        measured = []
        for ledger in (False, True):
            await empty(place.connection, "trades")
            await place.connection.execute("TRUNCATE coverage")
            measured.append(await (_claiming(place, sent) if ledger else by_ingest(place, sent)))
            require(await stored(place.connection, "trades", VALUES), expected, f"coverage, ledger {ledger}")
        claimed = await place.connection.fetchval("SELECT count(*) FROM coverage")
        without, with_ledger = measured
        rounds.append(Round(value=round(len(sent) / with_ledger), reference=round(len(sent) / without)))
    settings = await read_settings(place.connection) | {"claims": claimed}
    return compared("coverage", rounds, rows=len(sent), command="ingest: the same rows without the ledger", settings=settings)


async def _claiming(place: Place, sent: list[Trade]) -> float:
    """Seconds to write the rows, while 400 claims are extended every second as in the daemon."""
    pool = await open_pool(place.dsn, 1)
    since = time.time_ns() // 1000

    def claims() -> list[Claim]:
        now = time.time_ns() // 1000
        ids = range(1, INSTRUMENTS + 1)
        return [Claim("bench", "bench", instrument, channel, "trade", since, now) for instrument in ids for channel in CHANNELS]

    buffer = CoverageBuffer(pool, Counters(), "bench")

    async def extend() -> None:
        while True:
            buffer.claim(claims())
            await asyncio.sleep(CLAIM_SECONDS)

    tasks = [asyncio.create_task(extend()), asyncio.create_task(buffer.run())]
    try:
        seconds = await by_ingest(place, sent)
        buffer.claim(claims())  # so that a short round has claims as well
        await buffer.flush()
        return seconds
    finally:
        for task in tasks:
            task.cancel()
        pool.terminate()
