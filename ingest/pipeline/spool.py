"""The spool: encoded batches in append-only segments on disk, in a directory that belongs to one daemon.

There is no index of committed records. A segment is deleted when all of its records are committed; records that a crash leaves are
written again, and the unique keys find their rows as duplicates. A segment of an earlier run is never appended to, so only its last
record can be torn. The lock, https://man7.org/linux/man-pages/man2/flock.2.html, is on the directory itself: it needs no file, so
it works on a full or read-only disk, and it ends with the process.

Once the daemon runs, no error of the disk is fatal: an `OSError` becomes a Retry, and the rows stay where they were.

Gaps are not spooled. A claim never covers a row that waits, and it is written together with the gaps that were recorded before it.
Gaps that were recorded but not written before a kill are therefore later than the last claim, and the ledger finds them as
`unwatched`. The exception is messages lost on a channel that had been silent since before that claim; the audit finds those by the
trades' ids.

Every method but `remove` blocks: for 500 kB, 0.2 ms to append and 0.5 ms to fsync were measured on an SSD, but a busy disk takes 5
to 100 ms and a failing disk may never return. They are called in several threads at once.
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
from ingest.pipeline.time_ranges import Span, readable_spans
from ingest.tables import TABLES

DAY = 86_400_000_000  # microseconds
MAX_PAUSE = 60_000_000  # microseconds; how long before the record that follows it a record is assumed to have begun
QUARANTINE_PART = 16  # damaged records may use a sixteenth of `max_bytes`
SEGMENT_BYTES = 8 << 20  # a segment of this size is closed
KEPT_BYTES = 1 << 20  # a smaller segment stays open when all of it is committed, so that not every batch creates and deletes a file

_NAME = re.compile(r"(\w+)-(\d{8})(?:-\d+)?\.(?:spool|bad)")

_TABLES = {table.name: table for table in TABLES}

log = logging.getLogger(__name__)


class Segment:
    """One file of the spool. `pending` is the number of its records that are not committed."""

    def __init__(self, path: Path, size: int = 0, file: int | None = None) -> None:
        self.path = path
        self.size = size
        self.pending = 0
        self.file = file  # a descriptor while records are appended

    def append(self, parts: tuple[bytes, bytes]) -> None:
        """Append a record completely, or not at all: on an error the file is truncated to its former size."""
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
    """The position of a record, and the event times that it covers, in microseconds. An entry takes about 250 bytes of memory."""

    segment: Segment
    offset: int
    size: int
    rows: int  # 0 if the head is damaged
    since: int
    until: int
    format: int = FORMAT


class Damaged(Struct, frozen=True):
    """A record that cannot be read. `spans` are the ranges that it covered: by its head, else by the lines that can be read."""

    reason: str
    spans: tuple[Span, ...] = ()


def open_spool(
    path: Path, errors: Counter[tuple[str, str, str]], *, max_bytes: int, sync_seconds: float | None
) -> tuple[Spool, dict[str, list[Entry]]]:
    """Lock the directory and find the records of an earlier run: by table, oldest first. Blocks.

    Raises Stop if the directory cannot be used, or another daemon uses it.
    """
    directory, files = _lock_directory(path)
    spool = Spool(path, directory, errors, max_bytes=max_bytes, sync_seconds=sync_seconds)
    return spool, spool.recover(files)


def _lock_directory(path: Path) -> tuple[int, list[Path]]:
    """The descriptor that holds the lock, and the spool's files in order."""
    try:
        path.mkdir(0o750, parents=True, exist_ok=True)
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return directory, sorted(file for file in path.iterdir() if _NAME.fullmatch(file.name))
    except BlockingIOError as error:
        raise Stop(f"spool.path {path} is in use by another daemon: give each a directory of its own") from error
    except OSError as error:
        raise Stop(f"spool.path {path}: {error.strerror}; right would be a directory that this user may write to") from error


class Spool:
    """An open spool. `sync_seconds` is 0 to fsync each record, None for never, else the longest time between calls of `tidy`.

    `errors` counts by ("spool", kind). `instruments` are, by table, the instruments whose rows may be in the spool.
    """

    def __init__(
        self, path: Path, directory: int, errors: Counter[tuple[str, str, str]], *, max_bytes: int, sync_seconds: float | None
    ) -> None:
        self.max_bytes = max_bytes
        self.sync_seconds = sync_seconds
        self.instruments: defaultdict[str, set[int]] = defaultdict(set)
        self._path = path
        self._directory = directory
        self._bytes = 0  # of all segments
        self._quarantine = Quarantine(max_bytes // QUARANTINE_PART)
        self._errors = errors
        self._guard = RLock()
        self._number = 0  # of the newest segment
        self._open: dict[str, Segment] = {}  # by table: the segment that is appended to
        self._removed: deque[Entry] = deque()

    @property
    def used_bytes(self) -> int:
        """Bytes on disk: segments and quarantine."""
        return self._bytes + self._quarantine.bytes

    def recover(self, files: Sequence[Path]) -> dict[str, list[Entry]]:
        """Find the records in the files of an earlier run: by table, oldest first."""
        with self._guard:
            found: defaultdict[str, list[Entry]] = defaultdict(list)
            for path in files:
                self._number = max(self._number, int(path.stem.split("-")[1]))
                if path.suffix == ".spool":
                    self._recover(path, found)
                else:
                    self._quarantine.add(path)
            return found

    def close(self) -> None:
        """Unlock the directory. Segments that are committed are deleted; the others are on disk when this returns."""
        with self._guard:
            self.tidy()
            for table in list(self._open):
                self._retire(table)
            self.abandon()

    def abandon(self) -> None:
        """Unlock the directory as a kill would."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()
        if self._directory >= 0:
            os.close(self._directory)
        self._directory = -1

    def tidy(self) -> None:
        """Fsync the open segments, and delete those whose records are all removed. To be called every `sync_seconds`."""
        with self._guard:
            self._delete_removed()
            try:
                for segment in self._open.values():
                    self._fsync(segment)
            except OSError as error:
                log.error("%s", self._retry(error))

    # --- records ------------------------------------------------------------------------------------------------------------

    def append(self, table: str, columns: tuple[str, ...], batch: Batch, spans: tuple[Span, ...]) -> Entry | None:
        """Append a batch; None if it would exceed `max_bytes`. Raises Retry, with nothing appended, on an error of the disk."""
        parts = spool_segment.pack(table, columns, batch, spans)
        size = sum(map(len, parts))
        with self._guard:
            self._delete_removed()
            if self.used_bytes + size > self.max_bytes:
                return None
            try:
                segment = self._appendable(table)
                offset = segment.size
                segment.append(parts)
                self._bytes += size
                if self.sync_seconds == 0:
                    self._fsync(segment)
            except OSError as error:
                self._retire(table)  # after a failed fsync the content of the file is unknown, so no record may follow
                raise self._retry(error) from error
            segment.pending += 1
            self.instruments[table].update(span[0] for span in spans)
            return Entry(segment, offset, size, batch.rows, *_time_range(spans, batch.received_at))

    def read(self, entry: Entry) -> Batch | Damaged:
        """The batch of a record. A damaged record is copied to the quarantine; the caller removes it like others. Raises Retry."""
        name = entry.segment.path.name
        try:
            with entry.segment.path.open("rb") as file:
                file.seek(entry.offset)
                data = file.read(entry.size)
        except FileNotFoundError:
            return Damaged(f"segment {name} is missing, with {entry.rows} rows", self._readable_spans(entry, b""))
        except OSError as error:
            raise self._retry(error) from error
        piece = next(spool_segment.parse(data), None)
        head = piece.head if piece is not None else None
        if head is not None and piece is not None and piece.state == "record":
            return spool_segment.unpack(head, data[piece.body : piece.end], name)
        kept = self._keep_damaged(entry.segment.path, entry.offset, data)
        rows = f"{entry.rows} rows are damaged" if entry.rows else "not a record"
        return Damaged(
            f"segment {name}, byte {entry.offset}: {rows}, {kept}", head.spans if head else self._readable_spans(entry, data)
        )

    def _readable_spans(self, entry: Entry, data: bytes) -> tuple[Span, ...]:
        """The ranges of a record without a head: by the lines that can be read, else its time range for every instrument."""
        table = entry.segment.path.name.partition("-")[0]
        found = readable_spans(_TABLES[table], data, entry.until - DAY, entry.until + MAX_PAUSE)
        return found or tuple((instrument_id, entry.since, entry.until) for instrument_id in sorted(self.instruments[table]))

    def remove(self, entry: Entry) -> None:
        """Mark a record whose rows have an outcome. The next `append` or `tidy` deletes a segment of which no record is left."""
        self._removed.append(entry)

    # --- segments; the guard is held -----------------------------------------------------------------------------------------

    def _delete_removed(self) -> None:
        while self._removed:
            segment = self._removed.popleft().segment
            segment.pending -= 1
            if not segment.pending and (segment.file is None or segment.size >= KEPT_BYTES):
                self._delete(segment)

    def _appendable(self, table: str) -> Segment:
        segment = self._open.get(table)
        if segment is not None and segment.size < SEGMENT_BYTES:
            return segment
        if segment is not None:
            self._fsync(segment)
            self._retire(table)
        self._number += 1
        path = self._path / f"{table}-{self._number:08d}.spool"
        segment = Segment(path, file=os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o640))
        self._open[table] = segment
        if self.sync_seconds is not None:
            os.fsync(self._directory)  # the file's name must survive a power failure, too
        return segment

    def _retire(self, table: str) -> None:
        """Close the segment that is appended to; the next record begins a new segment."""
        segment = self._open.pop(table, None)
        if segment is not None:
            segment.close()
            if not segment.pending:
                self._delete(segment)

    def _fsync(self, segment: Segment) -> None:
        if self.sync_seconds is not None and segment.file is not None:
            os.fsync(segment.file)

    def _delete(self, segment: Segment) -> None:
        for table in [table for table, open_ in self._open.items() if open_ is segment]:
            del self._open[table]
        segment.close()
        self._bytes -= segment.size
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as error:  # the next run finds it and writes it as duplicates
            log.error("%s", self._retry(error))

    def _recover(self, path: Path, found: dict[str, list[Entry]]) -> None:
        """Find the records of a segment. A torn record is cut off, a damaged record goes to the quarantine when it is read."""
        try:
            data, written_at = path.read_bytes(), path.stat().st_mtime_ns // 1000
        except OSError as error:  # the file stays: another run may be able to read it
            log.error("%s", self._retry(error))
            return
        segment = Segment(path, len(data))
        self._bytes += segment.size
        table = path.name.partition("-")[0]
        pieces = list(spool_segment.parse(data))
        if pieces and pieces[-1].state == "torn":
            self._cut(segment, pieces.pop().offset)
        for index, piece in enumerate(pieces):
            if piece.head is None and piece.state == "damaged":
                since, until = _assumed_time_range(pieces, index, written_at)
                found[table].append(Entry(segment, piece.offset, piece.end - piece.offset, 0, since, until))
            else:
                found[table].append(self._entry(segment, piece))
            segment.pending += 1
        if not segment.pending:
            self._delete(segment)

    def _entry(self, segment: Segment, piece: Piece) -> Entry:
        """The entry of a record whose head is intact, or that has another format."""
        size = piece.end - piece.offset
        if piece.head is None:
            rows = piece.foreign_head.rows if piece.foreign_head is not None else 0
            return Entry(segment, piece.offset, size, rows, 0, 0, format=piece.format)
        self.instruments[piece.head.table].update(span[0] for span in piece.head.spans)
        return Entry(segment, piece.offset, size, piece.head.rows, *_time_range(piece.head.spans, piece.head.received_at))

    def _cut(self, segment: Segment, size: int) -> None:
        self._errors["", "spool", "torn"] += 1
        torn = segment.size - size
        log.error("spool: segment %s: the last %d bytes are a torn record and are cut off", segment.path.name, torn)
        try:
            os.truncate(segment.path, size)
        except OSError as error:
            log.error("%s", self._retry(error))
        else:
            self._bytes -= torn
            segment.size = size

    def _keep_damaged(self, path: Path, offset: int, data: bytes) -> str:
        """Copy damaged bytes to the quarantine, because their segment will be deleted. Returns the result, for a log line."""
        with self._guard:
            self._errors["", "spool", "damaged"] += 1
            return self._quarantine.keep(path.with_name(f"{path.stem}-{offset}.bad"), data, self.max_bytes - self._bytes)

    def _retry(self, error: OSError) -> Retry:
        with self._guard:  # several threads count
            self._errors["", "spool", "disk"] += 1
        return Retry(f"spool {self._path}: {error.strerror or error}", code="disk")


def _assumed_time_range(pieces: Sequence[Piece], at: int, written_at: int) -> tuple[int, int]:
    """The time range of a record without a head: between its neighbours, else before the file was last written."""
    until = next((piece.head.last_time for piece in pieces[at:] if piece.head is not None), written_at)
    since = next((piece.head.received_at for piece in reversed(pieces[:at]) if piece.head is not None), until - MAX_PAUSE)
    return min(since, until), max(since, until)


def _time_range(spans: tuple[Span, ...], otherwise: int) -> tuple[int, int]:
    """The first and the last event time of all spans; `otherwise` if there is none."""
    return min((span[1] for span in spans), default=otherwise), max((span[2] for span in spans), default=otherwise)
