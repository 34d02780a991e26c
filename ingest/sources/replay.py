"""Captures (transports/capture.py), sent again through the same sessions into the same lanes.

A session is told what it was told when it lived, by the clock of that time: frames, ticks, answers. It has no clock and does no
I/O of its own, so it says the same again, `received_at` included. What it asks for is not done: the answer is in the capture.
Instruments are found by exchange and symbol. What the capture vouches for may be claimed when all is committed.
The format: ingest/transports/capture_format.py, https://www.rfc-editor.org/rfc/rfc1952
The rule one would get wrong: a session lives on from one file into the next only if nothing is missing between them. After a
hole, a book without sequence numbers would go on wrong and nobody would notice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ingest.errors import Stop
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Exchange
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Connection, Gap, Output
from ingest.records import Instrument
from ingest.sources.exchange_feed import Put, StoreInstruments
from ingest.sources.replay_coverage import Heard
from ingest.store.coverage import Claim
from ingest.transports.capture_format import SUFFIX, Header, Line, Opening, header, read

BREATH_LINES = 200  # so many without giving way: the writers share the loop

log = logging.getLogger(__name__)


class Replay:
    """`counts` says how many lines of each kind were sent, and how many of connections whose beginning is missing (`orphan`).

    `claims` are what may be claimed once all rows are committed; `names` are those of the instruments in them.
    """

    def __init__(
        self,
        exchanges: Mapping[str, Exchange],
        *,
        puts: Mapping[type, Put],
        store_instruments: StoreInstruments,
        on_gap: Callable[[str, Gap, str], None],
        on_malformed: Callable[[str, Malformed], None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.claims: list[Claim] = []
        self.names: dict[int, str] = {}
        self._exchanges = exchanges
        self._puts = puts
        self._store_instruments = store_instruments
        self._on_gap = on_gap
        self._on_malformed = on_malformed
        self._file = Header("", "", 0, 0)
        self._heard: dict[int, Heard] = {}

    async def run(self, paths: Iterable[Path]) -> None:
        """Send the files, each source's in the order of time, however they were named. Raises Stop where one is no capture."""
        headers = ((header(path), path) for path in paths)
        files = sorted(
            ((found, path) for found, path in headers if found is not None),
            key=lambda one: (one[0].source, one[0].run, one[0].part),
        )
        for found, path in files:
            if found.protocol not in self._exchanges:
                raise Stop(f"capture {path}: unknown protocol '{found.protocol}'; known: {', '.join(sorted(self._exchanges))}")
        for found, path in files:
            self._enter(found)
            await self._send(path)
        self._end()

    def _enter(self, file: Header) -> None:
        before, self._file = self._file, file
        if (file.source, file.run, file.part) != (before.source, before.run, before.part + 1):
            self._end()

    def _end(self) -> None:
        """What follows, if anything, does not follow without a hole."""
        for last_message_at in self._heard.values():
            for gap in last_message_at.left_open():
                self._on_gap(last_message_at.source, gap, last_message_at.options.trade_kind)
            self.claims += last_message_at.claims()
        self._heard.clear()

    async def _send(self, path: Path) -> None:
        log.info("replaying %s", path)
        for number, line in enumerate(read(path)):
            self.counts[line.kind] += 1
            if line.kind in ("open", "resume"):
                await self._open(line)
            elif line.kind == "torn":
                self._file = Header("", "", 0, 0)  # nothing follows it without a hole
            elif line.kind != "file":
                await self._tell(line)
            if number % BREATH_LINES == 0:
                await asyncio.sleep(0)

    async def _open(self, line: Line) -> None:
        if line.kind == "resume" and line.connection in self._heard:
            return
        try:
            opening = msgspec.json.decode(line.payload, type=Opening)
        except msgspec.DecodeError as error:
            raise Stop(f"capture of {self._file.source}: connection {line.connection} is not readable: {error}") from error
        connection = await self._with_ids(opening)
        exchange = self._exchanges[self._file.protocol]
        session = exchange.session(connection, opening.options)
        last_message_at = self._heard[line.connection] = Heard(self._file.source, connection, opening.options, session)
        if line.kind == "resume":  # its own start is in a file that we have not
            await self._deliver(last_message_at, last_message_at.session.start(line.at))

    async def _with_ids(self, opening: Opening) -> Connection:
        """The same subscriptions, on this database's instruments."""
        subscriptions = opening.connection.subscriptions
        rows = {one.instrument.symbol: one.instrument for one in subscriptions}
        kind = opening.options.trade_kind if any(one.channel == "trades" for one in subscriptions) else None
        stored: dict[str, Instrument] = {row.symbol: row for row in await self._store_instruments(list(rows.values()), kind)}
        self.names |= {row.id: row.instrument for row in stored.values()}
        return replace(
            opening.connection,
            subscriptions=tuple(replace(one, instrument=stored[one.instrument.symbol]) for one in subscriptions),
        )

    async def _tell(self, line: Line) -> None:
        last_message_at = self._heard.get(line.connection)
        if last_message_at is None:
            self.counts["orphan"] += 1
            return
        await self._deliver(last_message_at, self._said(last_message_at, line))
        if line.kind in ("frame", "answer"):
            last_message_at.spoke(line.at)

    def _said(self, last_message_at: Heard, line: Line) -> Iterable[Output]:
        """What the session says to this line."""
        match line.kind:
            case "frame":
                return last_message_at.session.feed(line.payload, line.at)
            case "tick":
                return last_message_at.session.tick(line.at)
            case "start":
                return last_message_at.session.start(line.at)
            case "request":
                last_message_at.asked = msgspec.json.decode(line.payload, type=Request)
            case "answer" if last_message_at.asked is not None:
                return last_message_at.session.answer(last_message_at.asked, Response(200, line.payload), line.at)
            case "failed" if last_message_at.asked is not None:
                return last_message_at.session.failed(last_message_at.asked, line.at)
        return ()

    async def _deliver(self, last_message_at: Heard, outputs: Iterable[Output]) -> None:
        for output in outputs:
            put = self._puts.get(type(output))
            if put is not None:
                last_message_at.brought(output)  # type: ignore[arg-type] # it has a lane: a Record
                wait = put(output)  # type: ignore[arg-type]
                if wait is not None:
                    await wait
            elif isinstance(output, Gap):
                last_message_at.missed(output)
                self._on_gap(self._file.source, output, last_message_at.options.trade_kind)
            elif isinstance(output, Malformed):
                self._on_malformed(self._file.source, output)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The captures that are meant: a folder stands for all captures below it. Raises Stop where there are none."""
    files = [found for path in paths for found in (sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    if not files:
        raise Stop(f"no capture (*{SUFFIX}) below {', '.join(map(str, paths))}")
    return files
