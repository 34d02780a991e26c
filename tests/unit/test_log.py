"""The log in both formats: one line for each event."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from ingest import log

MESSAGE = "kraken: 'Currency\npair' é 日"


@pytest.fixture(autouse=True)
def root_as_before() -> Iterator[None]:
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    handlers, levels = root.handlers[:], (root.level, access.level)
    root.handlers = []  # keep the handlers of pytest: `set_up` closes those that it replaces
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    access.setLevel(levels[1])


def failure() -> logging.Logger:
    logger = logging.getLogger("ingest.sources.feed")
    try:
        raise ValueError("the cause")
    except ValueError:
        logger.exception("a %s", "defect")
    return logger


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("json", "info")
    failure().warning("%s", MESSAGE)
    captured = capsys.readouterr()
    first, second = map(json.loads, captured.err.splitlines())
    assert second | {"time": ""} == {"time": "", "level": "warning", "logger": "ingest.sources.feed", "message": MESSAGE}
    assert datetime.fromisoformat(second["time"]).utcoffset() is not None
    assert (first["message"], first["exception"].splitlines()[-1]) == ("a defect", "ValueError: the cause")
    assert captured.out == ""


def test_console_is_one_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("console", "info")
    logging.getLogger("ingest.sources.feed").warning("%s", MESSAGE)
    (line,) = capsys.readouterr().err.splitlines()
    time, _, rest = line.partition(" ")
    assert rest == "warning sources.feed: kraken: 'Currency | pair' é 日"
    assert datetime.strptime(time, "%H:%M:%S.%f").microsecond % 1000 == 0


def test_console_shows_the_traceback_of_a_defect(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("console", "info")
    failure()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("error   sources.feed: a defect")
    assert lines[-1] == "ValueError: the cause"


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level(level: Any, shown: int, capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("console", level)
    logger = logging.getLogger("ingest")
    for write in (logger.debug, logger.info, logger.warning, logger.error):
        write("x")
    assert len(capsys.readouterr().err.splitlines()) == shown


def test_requests_are_not_logged_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("console", "info")
    logging.getLogger("aiohttp.access").info("GET /metrics")
    assert capsys.readouterr().err == ""
