"""Real payloads that other projects recorded: websocket traffic, REST answers, archive files. They are read from ../shared/real.

The recordings are those of bmoscon/cryptofeed, `sample_data`: one record a line, in order of time.

    URL <-> 1633998511.15            a websocket was opened
    URL <- 1650929749.33: TEXT       a frame that the client sent
    1633998512.06: TEXT              a frame that it received
    URL -> 1633998512.32: BODY       a REST answer, sometimes followed by ` header: {...}`
    configuration: {...}             the subscriptions

The payloads are not part of the project. Where one is absent, a test that needs it is skipped with the reason.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import pytest

from tests.support.paths import REAL

_WITH_URL = re.compile(r"(?P<url>\S+) (?P<arrow><->|<-|->) (?P<time>\d+(?:\.\d+)?)(?:: (?P<text>.*))?", re.DOTALL)
_RECEIVED = re.compile(r"(?P<time>\d+(?:\.\d+)?): (?P<text>.*)", re.DOTALL)
_HEADER = re.compile(r" header: \{[^\n]*\}$")
_KINDS: dict[str, Literal["opened", "sent", "answer"]] = {"<->": "opened", "<-": "sent", "->": "answer"}


class Line(NamedTuple):
    """One record. `time` is the recorder's receive time in microseconds; `url` is empty for a received frame."""

    kind: Literal["opened", "sent", "received", "answer", "configuration"]
    time: int
    url: str
    text: str

    @property
    def frame(self) -> bytes:
        return self.text.encode()


def real(name: str) -> Path:
    """The path of the real payload `name`. Skips the test if it is absent."""
    path = REAL / name
    if not path.exists():
        pytest.skip(f"needs ../shared/real/{name}, which is absent")
    return path


def read(name: str) -> bytes:
    """The content of a real payload, unpacked if it is gzip."""
    path = real(name)
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def load(name: str) -> object:
    """A real JSON payload as plain Python objects; numbers that are not integers become floats."""
    return msgspec.json.decode(read(name))


def recording(name: str) -> list[Line]:
    """Every record of one recorded file, such as `BINANCE.ws.1.0`."""
    return list(_lines(read(f"cryptofeed/{name}.gz").decode()))


def received(name: str) -> list[Line]:
    """Only the frames that the client received."""
    return [line for line in recording(name) if line.kind == "received"]


def _lines(text: str) -> Iterator[Line]:
    for raw in text.split("\n"):
        if raw.strip():
            yield _line(raw)


def _line(raw: str) -> Line:
    if match := _RECEIVED.fullmatch(raw):
        return Line("received", _micros(match["time"]), "", match["text"])
    if match := _WITH_URL.fullmatch(raw):
        return Line(_KINDS[match["arrow"]], _micros(match["time"]), match["url"], _HEADER.sub("", match["text"] or ""))
    name, _, text = raw.partition(": ")
    if name != "configuration":
        raise ValueError(f"not a record of a recording: {raw[:80]!r}")
    return Line("configuration", 0, "", text)


def _micros(seconds: str) -> int:
    return int(Decimal(seconds) * 1_000_000)
