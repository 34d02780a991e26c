"""A capture: what one source received, as lines of text in a gzip file, for people (`zcat`) and for `ingest replay`.

    1763688260.123456 3 frame {"stream":"btcusdt@trade","data":{...}}

Time (seconds, by our clock), connection, kind, payload. The payload of a frame is the exchange's bytes. Kinds: `file` (the header,
first line of each file), `open` (a connection and its subscriptions), `start`, `frame`, `tick`, `request` and its `answer`, or
`failed`: every input of a session, in that order. A payload with a line break is base64, and its kind ends in 64. `resume` repeats
the open connections at the head of a file, because older files may have been deleted. `check` is the CRC-32 of the text since the
last check; lines without a check behind them are not read.

https://www.rfc-editor.org/rfc/rfc1952. gzip at level 6 packs the recorded traffic of four exchanges to a sixth, at 36-52 MB per CPU
second. zstandard packs as small at nine times the speed, but 10,000 frames a second cost 6 % of a CPU, in a thread: no reason for a
dependency or for giving up `zcat`. A file that is cut off can be read as far as its compressed stream was flushed.
"""

from __future__ import annotations

import logging
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ingest.errors import Stop
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Connection
from ingest.records import SECOND

FORMAT = 1
SUFFIX = ".capture.gz"
LEVEL = 6
CHUNK = 1 << 10  # bytes that are unpacked at once; a chunk with an error yields nothing
MAGIC = b"\x1f"
GZIP = 31  # zlib's code for a gzip container with the largest window

_CHECK = re.compile(rb"0\.000000 0 check ([0-9a-f]{8})")

log = logging.getLogger(__name__)


Entry = tuple[int, int, str, bytes]  # a `Line` to be written: a plain tuple costs a tenth


class Line(NamedTuple):
    """One event; `at` in microseconds, `connection` 0 for the file itself."""

    at: int
    connection: int
    kind: str
    payload: bytes


class Header(Struct, frozen=True):
    """Which file this is. A `run` (the microsecond at which it began) has the parts 1, 2, ...; where a number is missing, lines
    were lost, and a session must not be continued across it.
    """

    source: str
    protocol: str
    run: int
    part: int
    format: int = FORMAT

    @property
    def name(self) -> str:
        """The file's name. Sorted by name, the files of a source are in the order of time."""
        began = datetime.fromtimestamp(self.run // SECOND, UTC).strftime("%Y%m%dT%H%M%S")
        return f"{self.source}-{began}.{self.run % SECOND:06d}-{self.part:06d}{SUFFIX}"


class Opening(Struct, frozen=True):
    """What a session was made with. The ids of its instruments are 0, because they belong to one database."""

    connection: Connection
    options: ExchangeOptions


class Part:
    """One file that is being written."""

    def __init__(self, folder: Path, header: Header, at: int) -> None:
        self.began = at
        self.bytes = 0
        self.path = folder / header.name
        self._pack = zlib.compressobj(LEVEL, wbits=GZIP)
        self._file = self.path.open("xb")
        self._first = to_bytes((at, 0, "file", msgspec.json.encode(header)))

    def write(self, lines: Iterable[Entry]) -> None:
        """Write and hand over to the operating system, so that killing the process loses nothing. Raises OSError."""
        data, self._first = self._first + b"".join(map(to_bytes, lines)), b""
        data += b"0.000000 0 check %08x\n" % zlib.crc32(data)
        self._put(self._pack.compress(data) + self._pack.flush(zlib.Z_SYNC_FLUSH))

    def close(self) -> None:
        """End the file. Raises OSError."""
        try:
            self._put(self._pack.flush())
        finally:
            self._file.close()

    def abandon(self) -> None:
        """The disk failed: leave the file as it is, cut off; delete it where it is empty."""
        with suppress(OSError):
            self._file.close()
        if not self.bytes:
            self.path.unlink(missing_ok=True)

    def _put(self, packed: bytes) -> None:
        self._file.write(packed)
        self._file.flush()
        self.bytes += len(packed)


def to_bytes(entry: Entry) -> bytes:
    """The line as in a file."""
    at, connection, kind, payload = entry
    if b"\n" in payload:
        kind, payload = f"{kind}64", b64encode(payload)
    return b"%d.%06d %d %s %s\n" % (at // SECOND, at % SECOND, connection, kind.encode(), payload)


def read(path: Path) -> Generator[Line, None, None]:
    """Every line of a file except the checks. A file that is cut off is read as far as it can be; its last line is then `torn`.

    Raises Stop where the file cannot be opened or is no capture.
    """
    try:
        with path.open("rb") as file:
            yield from (_parse(path, raw) for raw in _checked(_unpacked(path, iter(lambda: file.read(CHUNK), b""))))
    except _Torn as tear:
        log.warning("capture %s is cut off (%s): the lines before that are used", path, tear)
        yield Line(0, 0, "torn", b"")
    except OSError as error:
        raise Stop(f"capture {path}: {error.strerror}") from error


def header(path: Path) -> Header | None:
    """The first line of a file, None where it is cut off before that. Raises Stop where it is no capture of this format."""
    with closing(read(path)) as lines:
        first = next(lines, None)
    if first is None:
        raise Stop(f"capture {path}: no capture, it is empty")
    return None if first.kind == "torn" else msgspec.json.decode(first.payload, type=Header)


class _Torn(Exception):
    """The rest of a file cannot be read."""


def _unpacked(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of the text, each without its line break. Raises Stop where the first one is no header."""
    unpack = zlib.decompressobj(wbits=GZIP)
    rest, begun = b"", False
    for number, chunk in enumerate(chunks):
        if number == 0 and not chunk.startswith(MAGIC):
            raise Stop(f"capture {path}: no capture, it is not gzip")
        try:
            *lines, rest = (rest + unpack.decompress(chunk)).split(b"\n")
        except zlib.error as error:
            raise _Torn(str(error)) from error
        if lines and not begun:
            _check_header(path, lines[0])
            begun = True
        yield from lines
    if not unpack.eof or rest:
        raise _Torn("it ends in the middle")


def _checked(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines whose check is right: gzip has one checksum, at its end, and a file after a power cut may unpack to anything."""
    held: list[bytes] = []
    crc = 0
    for line in lines:
        if (check := _CHECK.fullmatch(line)) is None:
            held.append(line)
            crc = zlib.crc32(line + b"\n", crc)
        elif int(check[1], 16) != crc:
            raise _Torn("a check is wrong")
        else:
            yield from held
            held, crc = [], 0
    if held:
        raise _Torn("the last check is missing")


def _parse(path: Path, raw: bytes) -> Line:
    try:
        at, connection, kind, payload = raw.split(b" ", 3)
        seconds, micros = at.split(b".")
        line = Line(int(seconds) * SECOND + int(micros), int(connection), kind.decode(), payload)
    except ValueError as error:
        raise Stop(f"capture {path}: not a line of a capture: {raw[:80]!r}") from error
    if line.kind.endswith("64"):
        return line._replace(kind=line.kind.removesuffix("64"), payload=b64decode(payload))
    return line


def _check_header(path: Path, raw: bytes) -> None:
    """The first line must be a header of this format. Raises Stop."""
    line = _parse(path, raw)
    try:
        found = msgspec.json.decode(line.payload, type=Header) if line.kind == "file" else None
    except msgspec.DecodeError:
        found = None
    if found is None:
        raise Stop(f"capture {path}: no capture, it does not begin with a header")
    if found.format != FORMAT:
        raise Stop(f"capture {path}: its format is {found.format}, this version reads {FORMAT}")
