"""The writer keeps a batch until it has an outcome, whatever error a write raises."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ingest.errors import Hold, IngestError, Retry
from ingest.metrics import Metrics
from ingest.pipeline import writer
from ingest.pipeline.batch import Batch, Outcome
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.pipeline.writer import HOLD_SECONDS, RETRY_SECONDS, Writer
from ingest.records import SECOND, Trade
from ingest.tables import TRADES

NOW = 1_790_000_000 * SECOND
TABLE = {"table": "trades"}


def trade(number: int) -> Trade:
    return Trade(1, NOW + number, number, "1", "1", "buy", NOW + number)


class Bench:
    """A writer whose database is the test: `begun` returns the next batch to be written, `answer` ends its write."""

    def __init__(self, workers: int = 1) -> None:
        self.metrics = Metrics()
        self.queue = TableQueue(
            TRADES,
            self.metrics.counters.tallies["trades"],
            Limits(batch_rows=2, max_age=3600),
            on_gap=lambda gap: None,
            clock=lambda: NOW,
        )
        self.slept: list[float] = []
        self.writes: asyncio.Queue[tuple[Batch, asyncio.Future[Outcome]]] = asyncio.Queue()
        self.writer = Writer(self.queue, self._write, workers=workers, sleep=self._sleep)

    async def _write(self, batch: Batch) -> Outcome:
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.writes.put_nowait((batch, answer))
        return await answer

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def put(self, *numbers: int) -> None:
        for number in numbers:
            assert self.queue.put(trade(number)) is None

    async def begun(self) -> tuple[Batch, Callable[[Outcome | IngestError], None]]:
        """The next batch to be written, and a function that ends its write with an outcome or an error."""
        async with asyncio.timeout(1):
            batch, answer = await self.writes.get()
        return batch, lambda result: answer.set_exception(result) if isinstance(result, IngestError) else answer.set_result(result)

    async def answer(self, result: Outcome | IngestError) -> Batch:
        batch, answer = await self.begun()
        answer(result)
        for _ in range(5):
            await asyncio.sleep(0)
        assert self.queue.tally.balance() == 0
        return batch

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"ingest_{name}", labels or TABLE)


@asynccontextmanager
async def running(workers: int = 1) -> AsyncIterator[Bench]:
    bench = Bench(workers)
    task = asyncio.create_task(bench.writer.run())
    yield bench
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running() as bench:
        yield bench


async def test_an_outcome_settles_the_batch(bench: Bench) -> None:
    bench.put(1, 2)
    outcome = Outcome(written=0, revised=1, duplicate=0, rejected={"check": 1}, method="reject")
    await bench.answer(outcome)
    tally = bench.queue.tally
    assert (tally.written, tally.revised, tally.duplicate, tally.rejected) == (0, 1, 0, {"check": 1})
    assert (bench.queue.rows, bench.queue.waiting_bytes) == (0, 0)
    assert bench.writer.committed_time == NOW + 2
    assert bench.value("write_duration_seconds_count", table="trades", method="reject") == 1
    assert (bench.value("write_batch_rows_sum"), bench.value("commit_lag_seconds_count")) == (2, 2)


async def test_a_retry_keeps_the_batch_and_backs_off(bench: Bench) -> None:
    bench.put(1, 2)
    first, longest = RETRY_SECONDS
    seen = [await bench.answer(Retry("the line is lost", code="08006")) for _ in range(12)]
    assert (bench.writer.retrying, bench.writer.held) == ("the line is lost", None)
    assert bench.queue.rows == 2
    seen.append(await bench.answer(Outcome(written=2)))
    assert all(batch is seen[0] for batch in seen)
    assert bench.writer.retrying is None
    ceilings = [min(first * 2**attempt, longest) for attempt in range(12)]
    assert all(ceiling / 2 <= slept <= ceiling for slept, ceiling in zip(bench.slept, ceilings, strict=True))
    assert bench.value("write_retries_total", sqlstate="08006") == 12


async def test_the_next_batch_begins_with_the_short_pause(bench: Bench) -> None:
    bench.put(1, 2, 3, 4)
    for _ in range(5):
        await bench.answer(Retry("away"))
    await bench.answer(Outcome(written=2))
    await bench.answer(Retry("away"))
    assert bench.slept[-1] <= RETRY_SECONDS[0]
    assert bench.value("write_retries_total", sqlstate="connection") == 6


async def test_a_retry_waits_for_the_given_time(bench: Bench) -> None:
    bench.put(1, 2)
    await bench.answer(Retry("later", after=7.0))
    assert bench.slept == [7.0]


async def test_a_hold_marks_the_table_until_it_passes(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench.put(1, 2)
    held = [await bench.answer(Hold("column trades.price is integer")) for _ in range(3)]
    assert bench.slept == [HOLD_SECONDS] * 3
    assert (bench.writer.held, bench.value("write_held")) == ("column trades.price is integer", 1)
    assert await bench.answer(Outcome(written=2)) is held[0]
    assert (bench.writer.held, bench.value("write_held")) == (None, 0)
    assert [record.message for record in caplog.records] == [
        "trades: held: column trades.price is integer",
        "trades: writing again",
    ]


async def test_a_hold_ends_when_the_batch_fails_with_a_retry(bench: Bench) -> None:
    bench.put(1, 2)
    await bench.answer(Hold("no such column"))
    await bench.answer(Retry("the server is away"))
    assert (bench.writer.held, bench.writer.retrying) == (None, "the server is away")
    assert bench.value("write_held") == 0


async def test_a_batch_stays_held_while_others_pass(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(workers=2) as bench:
        bench.put(1, 2, 3, 4, 5, 6)
        (first, answer_first), (second, answer_second) = await bench.begun(), await bench.begun()
        answer_first(Hold("too many bad rows"))
        answer_second(Outcome(written=2))
        again = {id(batch): answer for batch, answer in [await bench.begun(), await bench.begun()]}
        assert (bench.writer.held, bench.value("write_held")) == ("too many bad rows", 1)
        assert id(first) in again
        assert id(second) not in again
        again[id(first)](Outcome(written=2))
        for _ in range(5):
            await asyncio.sleep(0)
        assert (bench.writer.held, bench.queue.tally.written) == (None, 4)
    assert [record.message for record in caplog.records] == ["trades: held: too many bad rows", "trades: writing again"]


async def test_a_write_without_an_answer_is_logged_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "STALL_SECONDS", 0.05)
    caplog.set_level(logging.INFO)
    async with running() as bench:
        bench.put(1, 2)
        _, answer = await bench.begun()
        await asyncio.sleep(0.15)
        assert [record.message for record in caplog.records] == [
            "trades: 2 rows wait: the database has not answered a write for 0 s"
        ]
        answer(Outcome(written=2))
        await asyncio.sleep(0.05)
    assert [record.message for record in caplog.records][1:] == ["trades: writing again"]


async def test_as_many_batches_are_in_flight_as_there_are_workers() -> None:
    async with running(workers=2) as bench:
        bench.put(1, 2, 3, 4, 5, 6)
        (first, answer), _ = await bench.begun(), await bench.begun()
        await asyncio.sleep(0)
        assert bench.writes.empty()
        answer(Outcome(written=first.rows))
        third, _ = await bench.begun()
        assert third.last_time == NOW + 6


async def test_drain_returns_when_nothing_is_left(bench: Bench) -> None:
    bench.put(1, 2, 3)
    draining = asyncio.create_task(bench.writer.drain())
    await bench.answer(Outcome(written=2))
    assert not draining.done()
    assert (await bench.answer(Outcome(written=1))).rows == 1  # the open rows, too
    async with asyncio.timeout(1):
        await draining
    assert bench.queue.rows == 0


async def test_every_attempt_counts_as_activity(bench: Bench) -> None:
    times = [bench.writer.last_active_at]
    bench.put(1, 2)
    for result in (Retry("away"), Hold("no"), Outcome(written=2)):
        await bench.answer(result)
        times.append(bench.writer.last_active_at)
    assert times[0] < times[1] < times[2]


async def test_a_batch_that_is_cancelled_in_flight_stays_queued() -> None:
    async with running() as bench:
        bench.put(1, 2)
        await bench.begun()
    assert bench.queue.rows == 2
    assert bench.queue.tally.balance() == 0
