"""A table queue with a fixed clock, and the gaps that it reports."""

from __future__ import annotations

import asyncio
from typing import Any

from ingest.counters import Tally
from ingest.pipeline.batch import Batch
from ingest.pipeline.copy_encoder import encoder
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.protocol.session import Gap
from ingest.records import SECOND, Trade
from ingest.tables import TRADES

NOW = 1_790_000_000 * SECOND


FOREVER = 3600.0


def trade(number: int, **changes: Any) -> Trade:
    values: dict[str, Any] = {
        "instrument_id": 1 + number % 2,
        "time": NOW + number,
        "trade_id": number,
        "price": "1.50",
        "size": "2",
        "side": "buy",
        "received_at": NOW + number + 100,
    }
    return Trade(**(values | changes))


def lines(*trades: Trade) -> bytes:
    return "".join(map(encoder(TRADES), trades)).encode()


class Bench:
    """A queue whose clock stands still, and the gaps that it reports. Each call asserts that the row totals balance."""

    def __init__(self, **changes: Any) -> None:
        queue = {name: changes.pop(name) for name in ("retention_seconds", "mark_minutes") if name in changes}
        self.gaps: list[Gap] = []
        limits = Limits(**({"batch_rows": 2, "max_age": FOREVER, "max_rows": 4, "max_wait": FOREVER} | changes))
        self.queue = TableQueue(TRADES, Tally(TRADES.name), limits, on_gap=self.gaps.append, clock=lambda: NOW, **queue)
        self.tally = self.queue.tally

    def put(self, *trades: Trade) -> None:
        for record in trades:
            assert self.queue.put(record) is None
            self.check()

    def check(self, queued: int | None = None) -> None:
        assert self.tally.balance() == 0
        if queued is not None:
            assert self.queue.rows == self.tally.queued == queued

    async def take(self) -> Batch:
        async with asyncio.timeout(1):
            return await self.queue.take()

    def write(self, batch: Batch) -> None:
        """Settle a batch as the writer does when all of its rows are stored."""
        self.tally.written += batch.rows
        self.queue.settle(batch)
        self.check()

    async def begin_wait(self, record: Trade) -> asyncio.Task[None]:
        """Start a reader that puts `record` and waits for room."""

        async def read() -> None:
            wait = self.queue.put(record)
            assert wait is not None
            self.check()
            await wait

        task = asyncio.create_task(read())
        await turn()
        assert not task.done()
        return task


async def turn() -> None:
    """Let all other tasks run."""
    for _ in range(5):
        await asyncio.sleep(0)
