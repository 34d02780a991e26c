"""The queue of a table: its rows, when a batch closes, and a full queue. The row totals balance at every step."""

from __future__ import annotations

import asyncio

import pytest

from ingest.pipeline.batch import SAMPLES, Batch
from ingest.pipeline.table_queue import FUTURE
from ingest.protocol.session import Gap
from ingest.records import MINUTE
from tests.support.table_queues import NOW, Bench, lines, trade, turn


async def full() -> Bench:
    bench = Bench()
    bench.put(*map(trade, range(4)))
    return bench


# --- batches ------------------------------------------------------------------------------------------------------------


async def test_a_batch_closes_when_it_has_batch_rows() -> None:
    bench = Bench()
    bench.put(trade(1))
    bench.check(queued=1)
    bench.put(trade(2), trade(3))
    batch = await bench.take()
    expected = Batch(
        data=lines(trade(1), trade(2)),
        rows=2,
        last_time=NOW + 2,
        received_at=NOW + 101,
        samples=((NOW + 1, NOW + 101), (NOW + 2, NOW + 102)),
    )
    assert batch == expected
    bench.check(queued=3)
    bench.write(batch)
    bench.check(queued=1)


async def test_a_batch_closes_after_max_age() -> None:
    bench = Bench(max_age=0.01)
    bench.put(trade(1))
    assert (await bench.take()).data == lines(trade(1))
    bench.put(trade(2))
    assert (await bench.take()).data == lines(trade(2))


async def test_age_counts_from_the_first_row_of_a_batch() -> None:
    """The timer of a batch that closed because of its rows must not close the next batch early."""
    bench = Bench(max_age=0.05)
    bench.put(trade(1), trade(2))
    await bench.take()
    await asyncio.sleep(0.03)
    bench.put(trade(3))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.035):
            await bench.queue.take()
    assert (await bench.take()).data == lines(trade(3))


async def test_the_samples_of_a_long_batch_cover_all_of_it() -> None:
    bench = Bench(batch_rows=1000, max_rows=10_000)
    bench.put(*map(trade, range(1000)))
    samples = (await bench.take()).samples
    assert len(samples) <= SAMPLES
    assert samples == tuple((NOW + at, NOW + at + 100) for at in range(0, 1000, 16))


async def test_minutes_are_marked_for_rollups_only() -> None:
    bench = Bench(mark_minutes=True)
    bench.put(trade(1), trade(2, time=NOW + MINUTE))
    assert (await bench.take()).minutes == {(2, NOW // MINUTE), (1, NOW // MINUTE + 1)}
    bench = Bench()
    bench.put(trade(1), trade(2))
    assert (await bench.take()).minutes == frozenset()


async def test_the_oldest_row_is_known() -> None:
    bench = Bench()
    assert bench.queue.oldest == NOW
    bench.put(trade(5))
    assert bench.queue.oldest == NOW + 105
    bench.put(trade(6), trade(7))
    assert bench.queue.oldest == NOW + 105
    bench.write(await bench.take())
    assert bench.queue.oldest == NOW + 107


# --- rows that must not be stored ---------------------------------------------------------------------------------------


async def test_rows_older_than_retention_expire() -> None:
    bench = Bench(retention_seconds=60)
    bench.put(trade(1, time=NOW - MINUTE), trade(2, time=NOW - MINUTE - 1))
    batch = await bench.take()
    assert (batch.rows, batch.data) == (1, lines(trade(1, time=NOW - MINUTE)))
    assert bench.tally.expired == 1
    bench.put(trade(3, time=0), trade(4, time=0))  # a batch without rows is not handed on
    bench.check(queued=1)
    assert bench.tally.expired == 3


async def test_a_row_of_the_future_is_refused_and_no_other() -> None:
    bench = Bench()
    bench.put(trade(1, time=NOW + FUTURE + 1), trade(2, time=NOW + FUTURE))
    batch = await bench.take()
    assert (batch.rows, batch.data) == (2, lines(trade(2, time=NOW + FUTURE)))
    assert [(row.line, row.reason) for row in batch.refused] == [(lines(trade(1, time=NOW + FUTURE + 1)).decode(), "future")]
    assert batch.last_time == NOW + FUTURE


async def test_a_line_break_in_a_value_does_not_make_two_rows() -> None:
    bench = Bench()
    bench.put(trade(1, size="1\n2"), trade(2))
    batch = await bench.take()
    assert (batch.rows, batch.data) == (2, lines(trade(2)))
    assert [row.reason for row in batch.refused] == ["value"]


@pytest.mark.parametrize("time", [10**30, -(10**30)])
async def test_a_time_that_no_calendar_has_does_not_affect_other_rows(time: int) -> None:
    bench = Bench()
    bench.put(trade(1, time=time), trade(2))
    batch = await bench.take()
    assert batch.rows == 2
    assert lines(trade(2)) in batch.data


# --- no room ------------------------------------------------------------------------------------------------------------


async def test_a_reader_waits_while_the_queue_is_full() -> None:
    bench = await full()
    task = await bench.begin_wait(trade(4))
    bench.check(queued=5)
    bench.write(await bench.take())
    await task
    bench.check(queued=3)
    bench.put(trade(5))
    bench.write(await bench.take())
    assert (await bench.take()).data == lines(trade(4), trade(5))  # in order of arrival
    assert bench.gaps == []


async def test_a_queue_is_bounded_in_bytes() -> None:
    bytes_ = len(lines(trade(1), trade(2)))
    bench = Bench(max_rows=1000, max_bytes=2 * bytes_)
    bench.put(*map(trade, range(1, 5)))
    assert bench.queue.waiting_bytes == 2 * bytes_
    task = await bench.begin_wait(trade(5))
    bench.write(await bench.take())
    await task


async def test_several_readers_wait_and_all_come_in() -> None:
    bench = await full()
    tasks = [await bench.begin_wait(trade(number)) for number in (4, 5, 6)]
    bench.check(queued=7)
    for _ in range(3):
        bench.write(await bench.take())
        await turn()
    await asyncio.gather(*tasks)
    bench.check(queued=1)
    assert bench.tally.shed == {}


async def test_a_reader_that_is_cancelled_while_it_waits_loses_nothing() -> None:
    bench = await full()
    task = await bench.begin_wait(trade(4))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.check(queued=5)
    for _ in range(2):
        bench.write(await bench.take())
    bench.queue.seal()
    assert (await bench.take()).data == lines(trade(4))


async def shedding() -> Bench:
    """A full queue whose reader, with trade 4, has waited for too long."""
    bench = Bench(max_wait=0.01)
    bench.put(*map(trade, range(4)))
    wait = bench.queue.put(trade(4))
    assert wait is not None
    await wait
    return bench


async def test_after_the_wait_the_table_sheds_with_one_gap_per_instrument() -> None:
    bench = await shedding()
    bench.put(trade(6), trade(8), trade(5), trade(9), trade(7))  # no reader waits any more
    assert bench.tally.shed == {"full": 5}
    assert bench.gaps == []
    bench.write(await bench.take())
    assert bench.gaps == [Gap(1, "trades", "shed", NOW + 6, NOW + 8), Gap(2, "trades", "shed", NOW + 5, NOW + 9)]
    bench.put(trade(10))
    bench.check(queued=4)
    assert bench.tally.shed == {"full": 5}


async def test_waiting_readers_continue_when_shedding_begins() -> None:
    bench = Bench(max_wait=0.02)
    bench.put(*map(trade, range(4)))
    tasks = [await bench.begin_wait(trade(number)) for number in (4, 5)]
    async with asyncio.timeout(1):
        await asyncio.gather(*tasks)
    bench.check(queued=6)
    assert bench.tally.shed == {}


async def test_shedding_without_a_row_is_no_gap() -> None:
    bench = await shedding()
    bench.write(await bench.take())
    assert bench.gaps == []
    bench.put(trade(10))
    task = await bench.begin_wait(trade(11))  # the queue is full again, and readers wait again
    bench.write(await bench.take())
    await task


async def test_the_wait_is_measured() -> None:
    bench = await shedding()
    assert bench.tally.put_wait.count == 1
    assert bench.tally.put_wait.sum >= 0.01


# --- the end ------------------------------------------------------------------------------------------------------------


async def test_abandon_sheds_waiting_rows_and_rows_in_flight() -> None:
    bench = await full()
    await bench.take()
    (await bench.begin_wait(trade(4))).cancel()
    gaps = bench.queue.abandon("shutdown")
    bench.check(queued=0)
    assert bench.tally.shed == {"shutdown": 5}
    assert gaps == [Gap(1, "trades", "shed", NOW, NOW + 4), Gap(2, "trades", "shed", NOW + 1, NOW + 3)]
    assert bench.queue.waiting_bytes == 0


async def test_abandon_while_shedding_reports_both_gaps() -> None:
    bench = await shedding()
    bench.put(trade(5), trade(6))
    gaps = bench.queue.abandon("shutdown")
    bench.check(queued=0)
    assert bench.tally.shed == {"full": 2, "shutdown": 5}
    assert bench.gaps == [Gap(2, "trades", "shed", NOW + 5, NOW + 5), Gap(1, "trades", "shed", NOW + 6, NOW + 6)]
    assert gaps == [Gap(1, "trades", "shed", NOW, NOW + 4), Gap(2, "trades", "shed", NOW + 1, NOW + 3)]


async def test_abandon_reads_unusual_rows() -> None:
    bench = Bench(batch_rows=100, max_rows=1000)
    odd = [
        trade(1, native_id="a\tb\\\n\r\x0b\x1c\u2028\x85"),
        trade(3, native_id="\ud800"),
        trade(5, size="1\n2"),  # refused: counted, but its time cannot be read
        trade(7, time=-(10**17)),  # before the calendar of Python begins
        trade(9, time=NOW + 123_457),
    ]
    bench.put(*odd)
    gaps = bench.queue.abandon("shutdown")
    bench.check(queued=0)
    assert bench.tally.shed == {"shutdown": 5}
    assert gaps == [Gap(2, "trades", "shed", NOW + 1, NOW + 123_457)]


async def test_an_empty_queue_has_nothing_to_abandon() -> None:
    assert Bench().queue.abandon("shutdown") == []
