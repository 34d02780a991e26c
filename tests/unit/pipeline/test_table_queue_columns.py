"""A queue that gets rows as columns, as files have them, makes the same batches as from rows."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ingest.pipeline.batch import SAMPLES
from ingest.pipeline.table_queue import FUTURE
from ingest.protocol.history import Columns
from ingest.records import MINUTE, SECOND, Trade
from tests.support.table_queues import NOW, Bench, lines, trade


def columns(*trades: Trade) -> Columns:
    """The rows as columns; they have one instrument and one time of receipt."""
    lists = {name: [str(getattr(row, name)) for row in trades] for name in ("trade_id", "price", "size", "side")}
    same = {"instrument_id": trades[0].instrument_id, "received_at": trades[0].received_at}
    return Columns(Trade, [row.time for row in trades], {**same, **lists})


def file_trade(number: int, **changes: Any) -> Trade:
    return trade(number, **({"instrument_id": 1, "time": NOW - 3 * MINUTE + number * SECOND, "received_at": NOW} | changes))


async def test_columns_make_the_batch_that_their_rows_make() -> None:
    rows = [file_trade(number) for number in range(3 * SAMPLES)]
    by_rows, by_columns = (Bench(batch_rows=1000, max_rows=1000, mark_minutes=True) for _ in range(2))
    by_rows.put(*rows)
    by_rows.queue.seal()
    assert by_columns.queue.put_columns(columns(*rows)) is None
    by_columns.check(queued=len(rows))
    last = (rows[-1].time, rows[-1].received_at)
    assert await by_columns.take() == replace(await by_rows.take(), samples=(last,))


async def test_columns_close_the_open_batch_and_wait_for_room() -> None:
    bench = Bench()
    bench.put(file_trade(0))
    assert bench.queue.put_columns(columns(file_trade(1), file_trade(2), file_trade(3))) is None
    first, last = await bench.take(), await bench.take()
    assert first.data == lines(file_trade(0))
    assert last.data == lines(file_trade(1), file_trade(2), file_trade(3))
    wait = bench.queue.put_columns(columns(file_trade(4)))
    assert wait is not None
    bench.check(queued=5)
    bench.write(last)
    await wait


@pytest.mark.parametrize(
    ("odd", "outcome"),
    [({"time": NOW + FUTURE + 1}, {"queued": 3}), ({"time": NOW - 11 * MINUTE}, {"queued": 2, "expired": 1})],
)
async def test_columns_with_rows_that_are_not_stored_are_put_row_by_row(odd: dict[str, int], outcome: dict[str, int]) -> None:
    bench = Bench(batch_rows=3, retention_seconds=600)
    rows = sorted([file_trade(0), file_trade(1), file_trade(2, **odd)], key=lambda row: row.time)
    wait = bench.queue.put_columns(columns(*rows))
    assert wait is not None
    await wait
    bench.check(queued=outcome["queued"])
    assert bench.tally.expired == outcome.get("expired", 0)
    batch = await bench.take()
    assert batch.data == lines(file_trade(0), file_trade(1))
    assert [row.reason for row in batch.refused] == ["future"] * (outcome["queued"] - 2)
