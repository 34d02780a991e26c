"""The progress of a command: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from ingest.sources.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_gets_a_bar_twice_a_second_and_at_the_end():
    clock, terminal = Clock(), Terminal()
    progress = Progress(4, terminal, clock)
    progress.add_rows(10)
    assert terminal.getvalue() == ""
    clock.now += 0.5
    progress.add_rows(990)
    clock.now += 1.5
    progress.add_step()
    assert terminal.getvalue().split("\r")[1:] == [
        f"[{' ' * 30}] 0/4 chunks, 1,000 rows, 2,000 rows/s",
        f"[{'#' * 7}{' ' * 23}] 1/4 chunks, 1,000 rows, 500 rows/s, 6 s left",
    ]
    for _ in range(3):
        progress.add_step()
    assert terminal.getvalue().endswith(f"\r[{'#' * 30}] 4/4 chunks, 1,000 rows, 500 rows/s, 0 s left\n")


def test_without_a_terminal_there_is_a_line_every_ten_seconds_and_at_the_end(caplog: pytest.LogCaptureFixture):
    clock, stream = Clock(), io.StringIO()
    progress = Progress(2, stream, clock)
    with caplog.at_level(logging.INFO):
        clock.now += 9.9
        progress.add_rows(1_000)
        assert caplog.messages == []
        clock.now += 0.1
        progress.add_step()
        progress.add_step()
    assert caplog.messages == [
        "1/2 chunks, 1,000 rows, 100 rows/s, 10 s left",
        "2/2 chunks, 1,000 rows, 100 rows/s, 0 s left",
    ]
    assert stream.getvalue() == ""
