"""A capture: the input of one source's sessions as lines of text in a gzip file, for people (`zcat`) and for `ingest replay`.

    1763688260.123456 3 frame {"stream":"btcusdt@trade","data":{...}}

Time (seconds, by our clock), connection, kind, payload. The payload of a frame is the exchange's bytes. Kinds: `file` (the header,
first line of each file), `open` (a connection and its subscriptions), `start`, `frame`, `tick`, `request` and its `answer`, or
`failed`: every input of a session, in order. A payload with a line break is base64, and its kind ends in 64. `resume` repeats the
open connections at the head of a file, because older files may have been deleted. `check` is the CRC-32 of the text since the last
check; lines that no check follows are not read.

https://www.rfc-editor.org/rfc/rfc1952. gzip at level 6 takes 6 % of a CPU, in a thread, at 10,000 frames a second, so the faster
zstandard does not justify a dependency. A file that is cut off can be read as far as its compressed stream was flushed.
"""

from __future__ import annotations

import logging
import os
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
CHUNK = 1 << 10  # bytes that are decompressed at once; a chunk with an error yields nothing
MAGIC = b"\x1f"
GZIP = 31  # zlib's code for a gzip container with the largest window

_CHECK = re.compile(rb"0\.000000 0 check ([0-9a-f]{8})")

log = logging.getLogger(__name__)


Entry = tuple[int, int, str, bytes]  # a `Line` to write; a plain tuple is made in a tenth of the time


class Line(NamedTuple):
    """One event; `at` in microseconds, `connection` 0 for the file itself."""

    at: int
    connection: int
    kind: str
    payload: bytes


class Header(Struct, frozen=True):
    """The first line of a file. A `run`, named by the microsecond of its begin, has the parts 1, 2, ... Where a number is missing,
    lines were lost, and a replay must not continue a session.
    """

    source: str
    protocol: str
    run: int
    part: int
    format: int = FORMAT

    @property
    def name(self) -> str:
        """The file's name. The order of the names is the order of time."""
        began = datetime.fromtimestamp(self.run // SECOND, UTC).strftime("%Y%m%dT%H%M%S")
        return f"{self.source}-{began}.{self.run % SECOND:06d}-{self.part:06d}{SUFFIX}"


class Opening(Struct, frozen=True):
    """The arguments that a session was made with. Instruments have id 0, because their ids belong to one database."""

    connection: Connection
    options: ExchangeOptions


class Part:
    """One file that is being written."""

    def __init__(self, folder: Path, header: Header, at: int) -> None:
        self.began = at
        self.bytes = 0
        self.path = folder / header.name
        self._pack = zlib.compressobj(LEVEL, wbits=GZIP)
        self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb")
        self._first = to_bytes((at, 0, "file", msgspec.json.encode(header)))

    def write(self, lines: Iterable[Entry]) -> None:
        """Write the lines to the operating system, so that killing the process loses none. Raises OSError."""
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
        """After an error of the disk: close the file as it is, cut off; delete it if it is empty."""
        with suppress(OSError):
            self._file.close()
        if not self.bytes:
            self.path.unlink(missing_ok=True)

    def _put(self, compressed: bytes) -> None:
        self._file.write(compressed)
        self._file.flush()
        self.bytes += len(compressed)


def to_bytes(entry: Entry) -> bytes:
    """The line of a file for this entry."""
    at, connection, kind, payload = entry
    if b"\n" in payload:
        kind, payload = f"{kind}64", b64encode(payload)
    return b"%d.%06d %d %s %s\n" % (at // SECOND, at % SECOND, connection, kind.encode(), payload)


def read(path: Path) -> Generator[Line, None, None]:
    """Every line of a file except the checks. After the readable lines of a damaged file comes a line of kind `torn`.

    Raises Stop where the file cannot be opened or is not a capture.
    """
    try:
        with path.open("rb") as file:
            yield from (_parse(path, raw) for raw in _checked(_unpacked(path, iter(lambda: file.read(CHUNK), b""))))
    except _Torn as tear:
        log.warning("capture %s is damaged (%s): only the lines before that are read", path, tear)
        yield Line(0, 0, "torn", b"")
    except OSError as error:
        raise Stop(f"capture {path}: {error.strerror}") from error


def header(path: Path) -> Header | None:
    """The header of a file, None where the file is cut off before its end. Raises Stop where it is not a capture of this format."""
    with closing(read(path)) as lines:
        first = next(lines, None)
    if first is None:
        raise Stop(f"capture {path}: the file is empty; right would be a file of a capture")
    return None if first.kind == "torn" else msgspec.json.decode(first.payload, type=Header)


class _Torn(Exception):
    """The rest of a file cannot be read."""


def _unpacked(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The decompressed lines, without line breaks. Raises Stop where the first line is not a header."""
    unpack = zlib.decompressobj(wbits=GZIP)
    rest, begun = b"", False
    for number, chunk in enumerate(chunks):
        if number == 0 and not chunk.startswith(MAGIC):
            raise Stop(f"capture {path}: the file is not gzip; right would be a file of a capture")
        try:
            *lines, rest = (rest + unpack.decompress(chunk)).split(b"\n")
        except zlib.error as error:
            raise _Torn(str(error)) from error
        if lines and not begun:
            _check_header(path, lines[0])
            begun = True
        yield from lines
    if not unpack.eof or rest:
        raise _Torn("the compressed stream has no end")


def _checked(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines whose check is right. gzip has only one checksum, at its end; a file after a power failure may have any content."""
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
        raise Stop(f"capture {path}: line {raw[:80]!r} is not a line of a capture") from error
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
        raise Stop(f"capture {path}: the first line is not a header; right would be a file of a capture")
    if found.format != FORMAT:
        raise Stop(f"capture {path}: its format is {found.format}; right would be {FORMAT}")
