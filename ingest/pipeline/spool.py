"""The spool: encoded batches in append-only segments on disk, in a directory that one daemon owns.

There is no index of what is committed: a segment is deleted when all of its records are, and what a crash leaves is written again,
found as duplicate by the unique keys. A segment that another run began is never appended to, so only a last record can be torn.
The lock is https://man7.org/linux/man-pages/man2/flock.2.html on the directory itself: it needs no file, so it works on a full or
read-only disk, and it ends with the process.
The rule one would get wrong: nothing of the disk is fatal once the daemon runs. An `OSError` becomes a Retry, and the rows stay
where they were.

Holes are not kept here. A claim never passes a row that waits, nor is it written without the holes noted before it; so after a kill
what was noted and not written lies behind the last claim, and the ledger finds it as `unwatched`. The one exception, lost messages
of a stream that had been silent since before that claim, is what the audit of the trades' ids is for (sources/claims.py).

All methods but `remove` block (measured for 500 kB: 0.2 ms to append, 0.5 ms to fsync here, but a real disk takes 5 to 100 ms and
a failing one for ever): they are called in a thread, and may be from several at once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from threading import RLock

from msgspec import Struct

from ingest.errors import Retry, Stop
from ingest.pipeline import spool_segment
from ingest.pipeline.batch import Batch
from ingest.pipeline.quarantine import Quarantine
from ingest.pipeline.spool_segment import FORMAT, Piece
from ingest.pipeline.time_ranges import Span, legible
from ingest.tables import TABLES

DAY = 86_400_000_000  # microseconds
LULL = 60_000_000  # microseconds; so long before its neighbour, at most, the rows of a record are taken to have come
ASIDE_PART = 16  # this part of the bound is for damaged records that are kept aside
SEGMENT_BYTES = 8 << 20  # a segment that has reached it is closed
KEPT_BYTES = 1 << 20  # a smaller one stays open though all in it is committed, so that not every batch makes and deletes a file

_NAME = re.compile(r"(\w+)-(\d{8})(?:-\d+)?\.(?:spool|bad)")

_TABLES = {table.name: table for table in TABLES}

log = logging.getLogger(__name__)


class Segment:
    """One file. `pending` are its records that are not committed yet."""

    def __init__(self, path: Path, size: int = 0, file: int | None = None) -> None:
        self.path = path
        self.size = size
        self.pending = 0
        self.file = file  # a descriptor while it is appended to

    def append(self, parts: tuple[bytes, bytes]) -> None:
        """Write a record behind the last, or nothing: what a full disk cut off is taken back."""
        assert self.file is not None
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[os.write(self.file, view) :]
        except OSError:
            os.ftruncate(self.file, self.size)
            raise
        self.size += sum(map(len, parts))

    def close(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None


class Entry(Struct, gc=False):
    """Where a record stands, and the event times that it covers: microseconds. It takes about 250 bytes of memory in its queue."""

    segment: Segment
    offset: int
    size: int
    rows: int  # 0 where the head is damaged
    since: int
    until: int
    format: int = FORMAT


class Damaged(Struct, frozen=True):
    """A record that cannot be read any more; `spans` are what its head, or else what is legible, says it covered."""

    reason: str
    spans: tuple[Span, ...] = ()


class Spool:
    """The spool in `path`; `sync_seconds` is 0 to fsync each record, None never, else the most between calls of `tidy`."""

    def __init__(self, path: Path, errors: Counter[tuple[str, str]], *, max_bytes: int, sync_seconds: float | None) -> None:
        self.max_bytes = max_bytes
        self.sync_seconds = sync_seconds
        self.streams: defaultdict[str, set[int]] = defaultdict(set)  # by table: the instruments of which rows were seen here
        self._path = path
        self._bytes = 0  # of all segments
        self._aside = Quarantine(max_bytes // ASIDE_PART)
        self._errors = errors
        self._guard = RLock()
        self._directory = -1
        self._number = 0
        self._open: dict[str, Segment] = {}  # by table: what is appended to
        self._removed: deque[Entry] = deque()

    @property
    def used_bytes(self) -> int:
        """What it takes of the disk, with what is kept aside."""
        return self._bytes + self._aside.bytes

    # --- its life -----------------------------------------------------------------------------------------------------------

    def open(self) -> dict[str, list[Entry]]:
        """Take the directory and find what another run left: by table, oldest first. Raises Stop where it cannot be had."""
        with self._guard:
            found: defaultdict[str, list[Entry]] = defaultdict(list)
            for path in self._take_directory():
                self._number = max(self._number, int(path.stem.split("-")[1]))
                if path.suffix == ".spool":
                    self._recover(path, found)
                else:
                    self._aside.add(path)
            return found

    def _take_directory(self) -> list[Path]:
        """Our files in it, in order."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return sorted(path for path in self._path.iterdir() if _NAME.fullmatch(path.name))
        except BlockingIOError as error:
            raise Stop(f"spool.path {self._path} is in use by another daemon: give each a directory of its own") from error
        except OSError as error:
            message = f"spool.path {self._path}: {error.strerror}; right would be a directory that this user may write to"
            raise Stop(message) from error

    def close(self) -> None:
        """Let go of the directory. Segments of which all is committed are deleted; the rest is on disk when this returns."""
        with self._guard:
            self.tidy()
            for table in list(self._open):
                self._retire(table)
            self.abandon()

    def abandon(self) -> None:
        """Let go of the directory as a kill would."""
        for one in self._open.values():
            one.close()
        self._open.clear()
        if self._directory >= 0:
            os.close(self._directory)
        self._directory = -1

    def tidy(self) -> None:
        """To be called every `sync_seconds`: what was appended is on disk then, and what was removed is gone."""
        with self._guard:
            self._clear()
            try:
                for one in self._open.values():
                    self._fsync(one)
            except OSError as error:
                log.error("%s", self._retry(error))

    # --- records ------------------------------------------------------------------------------------------------------------

    def append(self, table: str, columns: tuple[str, ...], batch: Batch, spans: tuple[Span, ...]) -> Entry | None:
        """Add a batch; None where `max_bytes` leaves no room. Raises Retry, with nothing added, where the disk does not take it."""
        parts = spool_segment.pack(table, columns, batch, spans)
        size = sum(map(len, parts))
        with self._guard:
            self._clear()
            if self.used_bytes + size > self.max_bytes:
                return None
            try:
                one = self._appendable(table)
                offset = one.size
                one.append(parts)
                self._bytes += size
                if self.sync_seconds == 0:
                    self._fsync(one)
            except OSError as error:
                self._retire(table)  # what a failed fsync left behind cannot be known: no record may follow it
                raise self._retry(error) from error
            one.pending += 1
            self.streams[table].update(span[0] for span in spans)
            return Entry(one, offset, size, batch.rows, *_ends(spans, batch.received_at))

    def read(self, entry: Entry) -> Batch | Damaged:
        """The batch of a record. One that is damaged is kept aside and must still be removed. Raises Retry."""
        name = entry.segment.path.name
        try:
            with entry.segment.path.open("rb") as file:
                file.seek(entry.offset)
                data = file.read(entry.size)
        except FileNotFoundError:
            return Damaged(f"segment {name} is gone with {entry.rows} rows", self._legible(entry, b""))
        except OSError as error:
            raise self._retry(error) from error
        piece = next(spool_segment.parse(data), None)
        head = piece.head if piece is not None else None
        if head is not None and piece is not None and piece.state == "record":
            return spool_segment.unpack(head, data[piece.body : piece.end], name)
        kept = self._keep_aside(entry.segment.path, entry.offset, data)
        rows = f"{entry.rows} rows are damaged" if entry.rows else "not a record"
        return Damaged(f"segment {name}, byte {entry.offset}: {rows}, {kept}", head.spans if head else self._legible(entry, data))

    def _legible(self, entry: Entry, data: bytes) -> tuple[Span, ...]:
        """What a record without a head covers: what its rows say, else the stretch in which they must be, of every stream."""
        table = entry.segment.path.name.partition("-")[0]
        found = legible(_TABLES[table], data, entry.until - DAY, entry.until + LULL)
        return found or tuple((one, entry.since, entry.until) for one in sorted(self.streams[table]))

    def remove(self, entry: Entry) -> None:
        """The record's rows have an outcome; its segment goes with the last of them, at the next `append` or `tidy`."""
        self._removed.append(entry)

    # --- segments, under the guard -------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        while self._removed:
            one = self._removed.popleft().segment
            one.pending -= 1
            if not one.pending and (one.file is None or one.size >= KEPT_BYTES):
                self._delete(one)

    def _appendable(self, table: str) -> Segment:
        one = self._open.get(table)
        if one is not None and one.size < SEGMENT_BYTES:
            return one
        if one is not None:
            self._fsync(one)
            self._retire(table)
        self._number += 1
        path = self._path / f"{table}-{self._number:08d}.spool"
        one = Segment(path, file=os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o640))
        self._open[table] = one
        if self.sync_seconds is not None:
            os.fsync(self._directory)  # the file's name is to outlive a power cut as well
        return one

    def _retire(self, table: str) -> None:
        one = self._open.pop(table, None)
        if one is not None:
            one.close()
            if not one.pending:
                self._delete(one)

    def _fsync(self, one: Segment) -> None:
        if self.sync_seconds is not None and one.file is not None:
            os.fsync(one.file)

    def _delete(self, one: Segment) -> None:
        for table in [table for table, open_ in self._open.items() if open_ is one]:
            del self._open[table]
        one.close()
        self._bytes -= one.size
        try:
            one.path.unlink(missing_ok=True)
        except OSError as error:  # it will be found and replayed by the next run, as duplicates
            log.error("%s", self._retry(error))

    def _recover(self, path: Path, found: dict[str, list[Entry]]) -> None:
        """Find the records of a segment; what is torn is cut off, what is damaged kept aside. Neither is fatal."""
        try:
            data, written_at = path.read_bytes(), path.stat().st_mtime_ns // 1000
        except OSError as error:  # it stays where it is: another run may be able to read it
            log.error("%s", self._retry(error))
            return
        one = Segment(path, len(data))
        self._bytes += one.size
        table = path.name.partition("-")[0]
        pieces = list(spool_segment.parse(data))
        if pieces and pieces[-1].state == "torn":
            self._cut(one, pieces.pop().offset)
        for index, piece in enumerate(pieces):
            if piece.head is None and piece.state == "damaged":
                since, until = _stretch(pieces, index, written_at)
                found[table].append(Entry(one, piece.offset, piece.end - piece.offset, 0, since, until))
            else:
                found[table].append(self._entry(one, piece))
            one.pending += 1
        if not one.pending:
            self._delete(one)

    def _entry(self, one: Segment, piece: Piece) -> Entry:
        """A record of which the head is intact, or of another format; of a damaged one `read` says what became of its rows."""
        size = piece.end - piece.offset
        if piece.head is None:
            rows = piece.counted.rows if piece.counted is not None else 0
            return Entry(one, piece.offset, size, rows, 0, 0, format=piece.format)
        self.streams[piece.head.table].update(span[0] for span in piece.head.spans)
        return Entry(one, piece.offset, size, piece.head.rows, *_ends(piece.head.spans, piece.head.received_at))

    def _cut(self, one: Segment, size: int) -> None:
        self._say("torn", f"segment {one.path.name}: the last {one.size - size} bytes are of a torn record and cut off")
        try:
            os.truncate(one.path, size)
        except OSError as error:
            log.error("%s", self._retry(error))
        else:
            self._bytes -= one.size - size
            one.size = size

    def _keep_aside(self, path: Path, offset: int, data: bytes) -> str:
        """Copy damaged bytes to where they do not go with their segment; what was done, in words."""
        with self._guard:
            self._errors["spool", "damaged"] += 1
            return self._aside.keep(path.with_name(f"{path.stem}-{offset}.bad"), data, self.max_bytes - self._bytes)

    def _say(self, kind: str, message: str) -> None:
        self._errors["spool", kind] += 1
        log.error("spool: %s", message)

    def _retry(self, error: OSError) -> Retry:
        with self._guard:  # several threads count
            self._errors["spool", "disk"] += 1
        return Retry(f"spool {self._path}: {error.strerror or error}", code="disk")


def _stretch(pieces: Sequence[Piece], at: int, written_at: int) -> tuple[int, int]:
    """Between which times the rows of a record without a head must have come: its neighbours', else those of the file."""
    until = next((one.head.last_time for one in pieces[at:] if one.head is not None), written_at)
    since = next((one.head.received_at for one in reversed(pieces[:at]) if one.head is not None), until - LULL)
    return min(since, until), max(since, until)


def _ends(spans: tuple[Span, ...], otherwise: int) -> tuple[int, int]:
    """The first and the last event time of all; `otherwise` where no row has a time that can be read."""
    return min((span[1] for span in spans), default=otherwise), max((span[2] for span in spans), default=otherwise)
