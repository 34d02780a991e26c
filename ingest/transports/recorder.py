"""Capture of raw input: every input of one source's sessions, written to compressed and rotated files (capture_format.py).

Only a recorded session is wrapped: recording costs one append per frame, and nothing while it is off. A thread compresses and
writes. A full or slow disk loses lines of the capture, never records: lost lines are counted and a new file begins, so that a
replay finds the gap.
https://docs.python.org/3/library/zlib.html#zlib.compressobj (it compresses without the interpreter's lock)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec
from msgspec.structs import replace
from yarl import URL

from ingest.metrics import Metrics
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Connection, Output, Session, Subscription
from ingest.records import SECOND
from ingest.transports.capture_format import SUFFIX, Entry, Header, Opening, Part
from ingest.transports.client import redacted_url
from ingest.transports.websocket import wall_clock

FLUSH_SECONDS = 0.5  # SIGKILL loses at most the lines of this time
WAITING_LINES = 200_000  # in memory while the disk is busy; more are lost
SLICE = 1000  # lines that are compressed at once; a new file begins only between two slices
PARTS = 16  # a file has about 1/16 of `max_bytes`, so that deleting the oldest file loses little

log = logging.getLogger(__name__)

Append = Callable[[Entry], None]


class Taken(NamedTuple):
    """Lines to write, and the open connections, with which a new file begins."""

    lines: list[Entry]
    open: list[Entry]
    after_gap: bool  # lines before these were lost


class Recorded:
    """A session whose inputs are recorded before they are passed on."""

    def __init__(self, session: Session, number: int, opening: bytes, append: Append, on_start: Callable[[Recorded], None]) -> None:
        self.last_message_at = session.last_message_at
        self.number = number
        self.opening = opening
        self._session = session
        self._append = append
        self._on_start = on_start

    @property
    def refused(self) -> Mapping[int, str]:
        return self._session.refused

    @property
    def heeded_at(self) -> int:
        return self._session.heeded_at

    def start(self, now: int) -> Iterable[Output]:
        self._on_start(self)
        self._append((now, self.number, "open", self.opening))
        self._append((now, self.number, "start", b""))
        return self._session.start(now)

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        self._append((received_at, self.number, "frame", frame))
        return self._session.feed(frame, received_at)

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        self._append_request(request, now)
        self._append((now, self.number, "answer", response.body))
        return self._session.answer(request, response, now)

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        self._append_request(request, now)
        self._append((now, self.number, "failed", b""))
        return self._session.failed(request, now)

    def _append_request(self, request: Request, now: int) -> None:
        shown = replace(request, url=public(request.url), headers={}, secret={})
        self._append((now, self.number, "request", msgspec.json.encode(shown)))

    def tick(self, now: int) -> Sequence[Output]:
        self._append((now, self.number, "tick", b""))
        return self._session.tick(now)


class Recorder:
    """The capture of one source, in a folder of its own. `max_bytes` bounds all its files, including those of earlier runs."""

    def __init__(
        self,
        folder: Path,
        source: str,
        protocol: str,
        *,
        max_bytes: int,
        rotate_seconds: float,
        metrics: Metrics,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._rotate = int(rotate_seconds * SECOND)
        self._clock = clock
        self._header = Header(source, protocol, run=clock(), part=0)
        self._lines: list[Entry] = []  # always the same list: sessions hold its `append`
        self._alive: WeakValueDictionary[int, Recorded] = WeakValueDictionary()
        self._begun: list[Recorded] = []  # since the last write; their `open` is among the lines to write
        self._connections = 0
        self._part: Part | None = None
        self._dropped = False  # set by the event loop: lines were lost since the last `_take`
        self._missed = False  # set by the thread: lines were lost since the last write
        self._failing = False
        self._thread = ThreadPoolExecutor(1, "recorder")  # one thread keeps the order, even where a waiting task is cancelled
        self._written = metrics.capture_bytes.labels(source)
        self._deleted = metrics.capture_files_deleted.labels(source)
        self._lost = metrics.capture_lines_lost.labels(source)

    def session(self, session: Session, connection: Connection, options: ExchangeOptions) -> Session:
        """`session`, wrapped so that its inputs are recorded."""
        self._connections += 1
        opening = Opening(
            _without_ids(connection), replace(options, ws_url=redacted_url(options.ws_url), rest_url=redacted_url(options.rest_url))
        )
        encoded = msgspec.json.encode(opening)
        return Recorded(session, self._connections, encoded, self._lines.append, on_start=self._begun.append)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write lines during the block, and the rest at its end."""
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self._run())
                yield
                task.cancel()
        finally:
            ending = asyncio.wrap_future(self._thread.submit(self._end, self._take()))
            self._thread.shutdown(wait=False)
            await asyncio.shield(ending)  # a second cancellation ends the wait, not the writing

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            writing = asyncio.wrap_future(self._thread.submit(self._write, self._take()))
            while not (await asyncio.wait({writing}, timeout=FLUSH_SECONDS))[0]:
                if len(self._lines) > WAITING_LINES:
                    self._lose(len(self._take().lines), f"{self._folder}: more than {WAITING_LINES} lines wait for the disk")
                    self._dropped = True
            writing.result()

    def _take(self) -> Taken:
        """The lines since the last call. Called on the event loop, so that no line is added meanwhile."""
        lines = self._lines[:]
        self._lines.clear()
        now = self._clock()
        open_now = [(now, session.number, "resume", session.opening) for session in self._alive.values()]
        self._alive.update((session.number, session) for session in self._begun)
        self._begun.clear()
        after_gap, self._dropped = self._dropped, False
        return Taken(lines, open_now, after_gap)

    # --- in a thread --------------------------------------------------------------------------------------------------------

    def _write(self, taken: Taken) -> None:
        self._missed = self._missed or taken.after_gap
        if taken.lines:
            self._put(taken)

    def _put(self, taken: Taken) -> None:
        kept = 0
        try:
            for lines in (taken.lines[start : start + SLICE] for start in range(0, len(taken.lines), SLICE)):
                part = self._part_for(taken.open)
                before = part.bytes
                part.write(lines)
                kept += len(lines)
                self._written.inc(part.bytes - before)
        except OSError as error:
            self._lose(len(taken.lines) - kept, f"{self._folder}: {error.strerror}")
            self._missed = True
            if self._part is not None:
                self._part.abandon()
                self._part = None
            return
        if self._failing:
            log.info("capture: %s: lines are written again", self._folder)
        self._failing = False

    def _end(self, taken: Taken) -> None:
        self._write(taken)
        if self._part is not None:
            try:
                self._part.close()
            except OSError as error:
                self._lose(0, f"{self._part.path}: {error.strerror}")

    def _part_for(self, open_now: list[Entry]) -> Part:
        """The file that takes the next lines. Raises OSError."""
        last, missed = self._part, self._missed
        if last is not None and not missed and not self._is_due(last):
            return last
        self._part, self._missed = None, False
        if last is not None:
            last.close()
        # a missing number shows that lines were lost
        self._header = replace(self._header, part=self._header.part + (2 if missed else 1))
        for folder in (self._folder.parent, self._folder):  # `parents` alone are made with the default mode
            folder.mkdir(0o750, parents=True, exist_ok=True)
        self._make_room()
        self._part = Part(self._folder, self._header, self._clock())
        if open_now:
            self._part.write(open_now)
        return self._part

    def _is_due(self, part: Part) -> bool:
        return part.bytes >= self._max_bytes // PARTS or self._clock() - part.began >= self._rotate

    def _make_room(self) -> None:
        files = sorted(self._folder.glob(f"*{SUFFIX}"))
        sizes = {path: path.stat().st_size for path in files}
        excess = sum(sizes.values()) + 2 * self._max_bytes // PARTS - self._max_bytes  # 2: a file may exceed its size by a slice
        for path in files:
            if excess <= 0:
                return
            path.unlink()
            excess -= sizes[path]
            self._deleted.inc()
            log.info("capture: %s was deleted to stay within %d bytes", path, self._max_bytes)

    def _lose(self, lines: int, why: str) -> None:
        self._lost.inc(lines)
        if not self._failing:
            log.error("capture: lines are lost: %s", why)
        self._failing = True


def public(url: str) -> str:
    """The URL without user and password."""
    return str(URL(url).with_user(None))


def _without_ids(connection: Connection) -> Connection:
    subscriptions = [Subscription(replace(each.instrument, id=0), each.channel) for each in connection.subscriptions]
    return Connection(redacted_url(connection.url), tuple(subscriptions))
