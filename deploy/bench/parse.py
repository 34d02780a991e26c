"""The CPU time of a frame in this checkout and in another, for each exchange and channel: the time of `session.feed`.

Two processes, which take turns, parse the same recorded frames; `ratio` is the median of the ratios of all turns. If there are few
recorded trades, they are repeated with other ids, so that none is a duplicate. Channels without recordings are not measured.
https://docs.python.org/3/library/time.html#time.process_time
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from msgspec import Struct

from bench.result import Result
from ingest import registry
from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.session import Connection, Subscription
from tests.support.recordings.files import Line
from tests.support.recordings.frames import RECORDED, frames, instruments, snapshots

ROUNDS = 31
LEAST, MOST = 300, 5000  # frames of a case; a book may have fewer, because its recording cannot be repeated
SIDE = Path(__file__).with_name("parse_side.py")
TRADE_ID = re.compile(r'("(?:trade_id|trade_seq|tradeId|id_market|id|a)" ?: ?"?)\d+')


class Case(Struct, frozen=True):
    """The input of both processes. `markets` are (symbol, price step, size step)."""

    exchange: str
    channel: str
    trade_kind: str
    markets: list[tuple[str, str | None, str | None]]
    frames: list[tuple[str, int]]  # text, time of receipt in microseconds
    answers: dict[str, str]  # symbol -> response of the REST API


def parse(old: Path, rounds: int | None = None, only: str | None = None) -> Iterator[Result]:
    """One result for each channel of each exchange, or of exchange `only`."""
    with Side(old) as other_side, Side(Path.cwd()) as own_side:
        for case in cases(only):
            values = compare(case, other_side, own_side, rounds or ROUNDS)
            value, reference = median(now for now, _ in values), median(before for _, before in values)
            yield Result(
                name=f"parse_{case.exchange}_{case.channel}",
                value=round(value),
                unit="ns/frame",
                reference=round(reference),
                ratio=round(median(now / before for now, before in values), 3),
                better="lower",
                rows=len(case.frames),
                seconds=round(value * len(case.frames) / 1e9, 4),
                reference_command=f"the same frames in {old}",
                settings={"python": platform.python_version(), "cpus": os.cpu_count(), "rounds": rounds},
            )


def compare(case: Case, before: Side, now: Side, rounds: int) -> list[tuple[float, float]]:
    """Nanoseconds per frame of each round: (this checkout, the other). The processes take turns at being first."""
    for side in (before, now):
        side.take(case)
        side.run()  # warm-up
    values = []
    for number in range(rounds):
        sides = (now, before) if number % 2 else (before, now)
        taken = {side: side.run() for side in sides}
        values.append((taken[now], taken[before]))
    return values


class Side:
    """The process of one checkout."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout.resolve()

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": str(self._checkout), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-P", str(SIDE)]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()

    def take(self, case: Case) -> None:
        self._send(json.dumps({name: getattr(case, name) for name in Case.__struct_fields__}))

    def run(self) -> float:
        self._send("run")
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self._checkout}: the process ended; its error is above")
        return float(line)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


# --- the cases ---------------------------------------------------------------------------------------------------------------


def cases(only: str | None = None) -> Iterator[Case]:
    """The cases of every exchange (or the named one) and channel with recorded frames."""
    for name, exchange in sorted(registry.exchanges().items()):
        if only not in (None, name):
            continue
        lines, answers, markets = frames(name), snapshots(name), instruments(name, exchange)
        for channel in exchange.CHANNELS:
            kind = RECORDED[name].trade_kind or exchange.TRADE_KINDS[0]
            own = list(routed(exchange, [Subscription(one, channel) for one in markets], kind, lines))
            if own:
                used = {symbol for _, symbol in own}
                steps = [(one.symbol, one.price_step, one.size_step) for one in markets if one.symbol in used]
                yield Case(name, channel, kind, steps, frames_of(own, channel), answers if channel == "book" else {})


def routed(exchange: Exchange, subscriptions: list[Subscription], kind: str, lines: list[Line]) -> Iterator[tuple[Line, str]]:
    """The lines for a session with these subscriptions, each with its symbol."""
    options = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind=kind)
    session = exchange.session(Connection("wss://test", tuple(subscriptions)), options)
    list(session.start(lines[0].time))
    for line in lines:
        session.last_message_at[:] = [0] * len(subscriptions)
        session.feed(line.frame, line.time)
        for index, at in enumerate(session.last_message_at):
            if at:
                yield line, subscriptions[index].instrument.symbol
                break


def frames_of(own: list[tuple[Line, str]], channel: str) -> list[tuple[str, int]]:
    """At most MOST frames. Fewer than LEAST frames are repeated, except those of a book; repeated trades get new ids."""
    if channel == "book" or len(own) >= MOST:
        return [(line.text, line.time) for line, _ in own[:MOST]]
    ids: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(1))
    out = []
    for line, symbol in islice(cycle(own), max(LEAST, len(own))):
        text = line.text
        if channel == "trades":
            text = TRADE_ID.sub(lambda found, symbol=symbol: f"{found[1]}{next(ids[symbol])}", text)
        out.append((text, line.time))
    return out
