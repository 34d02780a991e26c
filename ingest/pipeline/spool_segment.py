"""The file format of the spool: a segment is a sequence of records, each of which is one encoded batch of one table.

    record   prefix, head, data
    prefix   magic (5 bytes), format (1), lengths of head and data (4, 4), CRC32 of all this and the head (4); big-endian
    head     a `Head` as JSON; it holds the CRC32 of the data
    data     the batch's rows as COPY text

If only the data is damaged, the head still describes the rows. If the head is damaged too, the next record is found by its
magic, because 0xff occurs neither in JSON nor in UTF-8. CRC32 is that of https://www.rfc-editor.org/rfc/rfc1952#section-8
The prefix is the same in every format, so a record of another format is recognised as complete and kept.
A record that ends too early is torn: a crash cut off the write, before its rows counted as on disk. A complete record with a wrong
checksum is damaged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

import msgspec
from msgspec import Struct

from ingest.pipeline.batch import Batch, Refusal
from ingest.pipeline.time_ranges import Span
from ingest.protocol.decode import UNREADABLE

MAGIC = b"\xffSPL\xff"
FORMAT = 1
_PREFIX = struct.Struct(">5sBIII")
_CRC = struct.Struct(">I")


class Head(Struct, frozen=True):
    """The description of a record. Times are microseconds; `spans` are those of `time_ranges.spans`."""

    table: str
    columns: tuple[str, ...]
    rows: int
    last_time: int
    received_at: int
    samples: tuple[tuple[int, int], ...]
    minutes: tuple[tuple[int, int], ...]
    refused: tuple[tuple[bytes, str, str], ...]  # the line is bytes, because it may be no valid Unicode
    spans: tuple[Span, ...]
    crc: int  # of the data


class ForeignHead(Struct, frozen=True):
    """The part of a head that every format is expected to have."""

    table: str
    rows: int


class Piece(Struct, frozen=True):
    """The bytes [offset, end) of a segment. `head` is None if it cannot be read; the data begins at `body`."""

    state: Literal["record", "damaged", "torn", "foreign"]
    offset: int
    end: int
    head: Head | None = None
    body: int = 0
    format: int = FORMAT
    foreign_head: ForeignHead | None = None  # of a record of another format, if its head can be read


def pack(table: str, columns: tuple[str, ...], batch: Batch, spans: tuple[Span, ...]) -> tuple[bytes, bytes]:
    """Returns the record of a batch in two parts: prefix with head, and data."""
    head = msgspec.json.encode(
        Head(
            table=table,
            columns=columns,
            rows=batch.rows,
            last_time=batch.last_time,
            received_at=batch.received_at,
            samples=batch.samples,
            minutes=tuple(batch.minutes),
            refused=tuple((row.line.encode("utf-8", "surrogatepass"), row.reason, row.message) for row in batch.refused),
            spans=spans,
            crc=zlib.crc32(batch.data),
        )
    )
    prefix = _PREFIX.pack(MAGIC, FORMAT, len(head), len(batch.data), 0)[: -_CRC.size]
    return prefix + _CRC.pack(zlib.crc32(head, zlib.crc32(prefix))) + head, batch.data


def unpack(head: Head, data: bytes, source: str) -> Batch:
    """Returns the batch of an intact record; `source` names its segment."""
    return Batch(
        data=data,
        rows=head.rows,
        last_time=head.last_time,
        received_at=head.received_at,
        samples=head.samples,
        minutes=frozenset(head.minutes),
        refused=tuple(Refusal(line.decode("utf-8", "surrogatepass"), reason, message) for line, reason, message in head.refused),
        columns=head.columns,
        source=source,
    )


def parse(segment: bytes) -> Iterator[Piece]:
    """Yields the pieces of a segment in order. Together they cover all of its bytes."""
    offset = 0
    while offset < len(segment):
        piece = _piece(segment, offset)
        yield piece
        offset = piece.end


def _piece(segment: bytes, offset: int) -> Piece:
    if len(segment) - offset < _PREFIX.size:
        return Piece("torn", offset, len(segment))
    magic, format_, head_length, data_length, crc = _PREFIX.unpack_from(segment, offset)
    body = offset + _PREFIX.size + head_length
    end = body + data_length
    head = segment[offset + _PREFIX.size : body]
    crc_found = zlib.crc32(head, zlib.crc32(segment[offset : offset + _PREFIX.size - _CRC.size]))
    if (magic, crc) != (MAGIC, crc_found):
        following = segment.find(MAGIC, offset + 1)
        return Piece("damaged", offset, following if following >= 0 else len(segment))
    if end > len(segment):
        return Piece("torn", offset, len(segment))
    if format_ != FORMAT:
        return Piece("foreign", offset, end, format=format_, foreign_head=_foreign_head(head))
    decoded = msgspec.json.decode(head, type=Head)
    intact = zlib.crc32(segment[body:end]) == decoded.crc
    return Piece("record" if intact else "damaged", offset, end, decoded, body)


def _foreign_head(head: bytes) -> ForeignHead | None:
    with suppress(*UNREADABLE):
        return msgspec.json.decode(head, type=ForeignHead)
    return None
