"""Which stretch of event time encoded rows cover, read back from their text: what is lost with them is noted as a gap.

It is the inverse of what encode.py makes of a time; texts of one length sort as the times do, so only the ends are ever parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from ingest.protocol.session import ChannelName
from ingest.tables import Table

# the stream that fills a table; what is polled has none, and leaves no gap: it is asked for again
CHANNELS: dict[str, ChannelName] = {"trades": "trades", "candles": "candles", "quotes": "quotes", "order_books": "book"}

Span = tuple[int, int, int]  # (instrument_id, first, last) event time in microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTH = len("2026-01-31 23:59:59.123456+00")  # another length is a time that no calendar has: such a row is rejected


def spans(table: Table, data: bytes) -> tuple[Span, ...]:
    """One span for each instrument that has rows in `data`, COPY text with the columns of `table`.

    None for a table without a stream.
    """
    if table.name not in CHANNELS:
        return ()
    names = [column.name for column in table.columns]
    id_at, time_at = names.index("instrument_id"), names.index("time")
    ends: dict[bytes, list[bytes]] = {}
    for line in data.split(b"\n")[:-1]:
        fields = line.split(b"\t", time_at + 1)
        time = fields[time_at]
        if len(time) != _LENGTH:
            continue
        span = ends.setdefault(fields[id_at], [time, time])
        if time < span[0]:
            span[0] = time
        elif time > span[1]:
            span[1] = time
    found = []
    for instrument_id, (first, last) in ends.items():
        with suppress(ValueError):
            found.append((int(instrument_id), _to_micros(first), _to_micros(last)))
    return tuple(found)


def legible(table: Table, damaged: bytes, since: int, until: int) -> tuple[Span, ...]:
    """As `spans`, of the lines that can still be read in a damaged record; of their times what is within [since, until]."""
    lines = damaged.split(b"\n")[:-1]
    if lines:
        lines[0] = lines[0].rpartition(b"}")[2]  # a record's head, and what precedes it, stands before its first row
    fields = len(table.columns) - 1
    found = spans(table, b"".join(line + b"\n" for line in lines if line.count(b"\t") == fields))
    # of a damaged line any digit may be wrong: what follows must neither fail in the database nor ask for a thousand years
    return tuple((one, max(first, since), min(last, until)) for one, first, last in found if 0 < one < 1 << 31 and first <= until)


def joined(parts: Iterable[Span]) -> tuple[Span, ...]:
    """One span for each instrument, over all of its parts."""
    ends: dict[int, tuple[int, int]] = {}
    for instrument_id, first, last in parts:
        before = ends.get(instrument_id, (first, last))
        ends[instrument_id] = min(before[0], first), max(before[1], last)
    return tuple((instrument_id, *span) for instrument_id, span in ends.items())


def newer(columns: tuple[str, ...], data: bytes, cutoff: int) -> bytes:
    """The rows whose event time is not before `cutoff` (microseconds)."""
    time_at = columns.index("time")
    oldest = (_EPOCH + timedelta(microseconds=cutoff)).strftime("%Y-%m-%d %H:%M:%S.%f+00").encode()
    kept = []
    for line in data.split(b"\n")[:-1]:
        time = line.split(b"\t", time_at + 1)[time_at]
        if time >= oldest or len(time) != _LENGTH:
            kept.append(line + b"\n")
    return b"".join(kept)


def _to_micros(text: bytes) -> int:
    return (datetime.fromisoformat(text.decode()) - _EPOCH) // timedelta(microseconds=1)
