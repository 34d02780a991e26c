"""Health: stuck writers, the status of a queue, and notifications of systemd over a real socket."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from ingest.counters import Tally
from ingest.daemon import health
from ingest.errors import Hold, IngestError, Retry
from ingest.pipeline.batch import Batch, Outcome
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.pipeline.writer import Writer
from ingest.records import SECOND, Trade
from ingest.sources.run_state import State
from ingest.tables import TRADES
from tests.support.daemon import until

LONG = health.STUCK_SECONDS + 10


async def must_not_write(_batch: Batch) -> Outcome:
    raise AssertionError("nothing is written here")


def writer_of(*received_seconds_ago: float) -> Writer:
    queue = TableQueue(TRADES, Tally(TRADES.name), Limits(max_age=3600), on_gap=lambda gap: None)
    for ago in received_seconds_ago:
        at = int((time.time() - ago) * SECOND)
        assert queue.put(Trade(1, at, 1, "1", "1", "buy", at)) is None
    return Writer(queue, must_not_write)


@pytest.mark.parametrize(
    ("waiting", "beat_ago", "expected"),
    [
        ([LONG], LONG, [f"trades: the writer has done nothing for {LONG:.0f} s"]),
        ([LONG], 1, []),  # active a second ago
        ([], LONG, []),  # its queue is empty
        ([1], LONG, []),  # the first row after a long time without rows
        ([LONG + 1, 1], LONG, [f"trades: the writer has done nothing for {LONG:.0f} s"]),  # the oldest row counts
    ],
)
async def test_a_writer_with_old_rows_and_no_activity_is_stuck(waiting: list[int], beat_ago: int, expected: list[str]) -> None:
    writer = writer_of(*waiting)
    writer.last_active_at = time.monotonic() - beat_ago
    assert health.stuck({"trades": writer}) == expected


async def test_the_status_of_a_queue_shows_its_row_totals() -> None:
    writer = writer_of(5)
    tally = writer.queue.tally
    tally.decoded, tally.written, tally.revised, tally.duplicate, tally.expired = 21, 6, 5, 4, 3
    tally.shed["full"], tally.rejected["check"] = 1, 1
    writer.committed_time = 1_790_000_000 * SECOND
    writer.lag_seconds = 0.25
    shown = health.queue_status(writer)
    assert shown.pop("oldest_seconds") == pytest.approx(5, abs=1)
    assert shown == {
        "decoded": 21,
        "written": 6,
        "revised": 5,
        "duplicate": 4,
        "shed": {"full": 1},
        "rejected": {"check": 1},
        "expired": 3,
        "queued": 1,
        "spooled": 0,
        "recovered": 0,
        "lag_seconds": 0.25,
        "committed_time": "2026-09-21T14:13:20+00:00",
        "state": "ok",
        "detail": "",
    }
    assert (health.queue_status(writer_of())["oldest_seconds"], health.queue_status(writer_of())["committed_time"]) == (0.0, None)


@pytest.mark.parametrize(
    ("error", "state", "shown"),
    [(Retry("the database is away"), "failing", "the database is away"), (Hold("no such column"), "held", "no such column")],
)
async def test_a_failing_writer_has_a_state_and_a_detail(error: IngestError, state: str, shown: str) -> None:
    async def failing(_batch: Batch) -> Outcome:
        raise error

    queue = TableQueue(TRADES, Tally(TRADES.name), Limits(batch_rows=1), on_gap=lambda gap: None)
    writer = Writer(queue, failing)
    running = asyncio.create_task(writer.run())
    assert queue.put(Trade(1, 1, 1, "1", "1", "buy", 1)) is None
    await until(lambda: health.writer_state(writer).state != State.OK)
    assert health.queue_status(writer).items() >= {"state": state, "detail": shown}.items()
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_notified_at_its_socket(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"ingest-test-{tmp_path.name}" if kind == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name if kind == "abstract" else name)
        receiver.settimeout(1)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if kind == "abstract" else name)
        health.notify("READY=1")
        assert receiver.recv(100) == b"READY=1"


def test_a_missing_notify_socket_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    health.notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    health.notify("READY=1")


def test_a_service_manager_that_does_not_read_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for _ in range(2000):  # more than the socket queues
            health.notify("WATCHDOG=1")
        assert receiver.recv(100) == b"WATCHDOG=1"
