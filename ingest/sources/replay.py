"""Replays captures: sends their lines through the same sessions into the same queues.

A session receives the inputs that it received live, with the times of the capture: frames, ticks, answers. It has no clock and does
no I/O, so its outputs are the same, `received_at` included. Its requests are not made, because the answers are in the capture.
Instruments are found by exchange and symbol. The coverage of the capture may be claimed when all rows are committed. The format:
ingest/transports/capture_format.py, https://www.rfc-editor.org/rfc/rfc1952

A session continues from one file into the next only where no file is missing between them: after a gap, a book without sequence
numbers would be wrong without any sign of it.
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
from ingest.sources.replay_coverage import ReplayedConnection
from ingest.store.coverage import Claim
from ingest.transports.capture_format import SUFFIX, Header, Line, Opening, header, read

YIELD_LINES = 200  # lines after which the writers run, which share the event loop

log = logging.getLogger(__name__)


class Replay:
    """Replays captures. `counts` has the lines by kind, and those of connections whose beginning is missing (`orphan`).

    `claims` are valid once all rows are committed. `names` has the names of their instruments, by id.
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
        self._connections: dict[int, ReplayedConnection] = {}

    async def run(self, paths: Iterable[Path]) -> None:
        """Replay the files, those of one source in order of time. Raises Stop for a file that is not a capture."""
        headers = ((header(path), path) for path in paths)
        files = sorted(
            ((found, path) for found, path in headers if found is not None),
            key=lambda file: (file[0].source, file[0].run, file[0].part),
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
        """End all connections: the next file does not continue this one."""
        for replayed in self._connections.values():
            for gap in replayed.open_gaps():
                self._on_gap(replayed.source, gap, replayed.options.trade_kind)
            self.claims += replayed.claims()
        self._connections.clear()

    async def _send(self, path: Path) -> None:
        log.info("replaying %s", path)
        for number, line in enumerate(read(path)):
            self.counts[line.kind] += 1
            if line.kind in ("open", "resume"):
                await self._open(line)
            elif line.kind == "torn":
                self._file = Header("", "", 0, 0)  # the next file does not continue it
            elif line.kind != "file":
                await self._feed(line)
            if number % YIELD_LINES == 0:
                await asyncio.sleep(0)

    async def _open(self, line: Line) -> None:
        if line.kind == "resume" and line.connection in self._connections:
            return
        try:
            opening = msgspec.json.decode(line.payload, type=Opening)
        except msgspec.DecodeError as error:
            raise Stop(f"capture of {self._file.source}: connection {line.connection} is not readable: {error}") from error
        connection = await self._with_ids(opening)
        exchange = self._exchanges[self._file.protocol]
        session = exchange.session(connection, opening.options)
        replayed = self._connections[line.connection] = ReplayedConnection(
            self._file.source, connection, opening.options, session, exchange.COMPLETENESS
        )
        if line.kind == "resume":  # its `start` line is in a file that is missing
            await self._deliver(replayed, replayed.session.start(line.at))

    async def _with_ids(self, opening: Opening) -> Connection:
        """The connection of the capture, with the instruments of this database."""
        subscriptions = opening.connection.subscriptions
        rows = {one.instrument.symbol: one.instrument for one in subscriptions}
        kind = opening.options.trade_kind if any(one.channel == "trades" for one in subscriptions) else None
        stored: dict[str, Instrument] = {row.symbol: row for row in await self._store_instruments(list(rows.values()), kind)}
        self.names |= {row.id: row.instrument for row in stored.values()}
        return replace(
            opening.connection,
            subscriptions=tuple(replace(one, instrument=stored[one.instrument.symbol]) for one in subscriptions),
        )

    async def _feed(self, line: Line) -> None:
        replayed = self._connections.get(line.connection)
        if replayed is None:
            self.counts["orphan"] += 1
            return
        await self._deliver(replayed, self._outputs(replayed, line))
        if line.kind in ("frame", "answer"):
            replayed.add_message(line.at)

    def _outputs(self, replayed: ReplayedConnection, line: Line) -> Iterable[Output]:
        """The session's outputs for this line."""
        match line.kind:
            case "frame":
                return replayed.session.feed(line.payload, line.at)
            case "tick":
                return replayed.session.tick(line.at)
            case "start":
                return replayed.session.start(line.at)
            case "request":
                replayed.request = msgspec.json.decode(line.payload, type=Request)
            case "answer" if replayed.request is not None:
                return replayed.session.answer(replayed.request, Response(200, line.payload), line.at)
            case "failed" if replayed.request is not None:
                return replayed.session.failed(replayed.request, line.at)
        return ()

    async def _deliver(self, replayed: ReplayedConnection, outputs: Iterable[Output]) -> None:
        for output in outputs:
            put = self._puts.get(type(output))
            if put is not None:
                replayed.add_row(output)  # type: ignore[arg-type] # an output with a queue is a Record
                wait = put(output)  # type: ignore[arg-type]
                if wait is not None:
                    await wait
            elif isinstance(output, Gap):
                replayed.add_gap(output)
                self._on_gap(self._file.source, output, replayed.options.trade_kind)
            elif isinstance(output, Malformed):
                self._on_malformed(self._file.source, output)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The capture files of these paths, of a folder all below it. Raises Stop where there are none."""
    files = [found for path in paths for found in (sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    if not files:
        raise Stop(f"no capture (*{SUFFIX}) below {', '.join(map(str, paths))}")
    return files
