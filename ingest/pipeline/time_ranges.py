"""The range of event time that encoded rows cover, read back from their COPY text. Rows that are lost become a gap of that range.

The times are in the format of `copy_encoder`. Texts of equal length sort as the times do, so only the ends of a range are parsed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from ingest.protocol.session import ChannelName
from ingest.tables import Table

# by table, the channel that fills it; a polled table is absent and leaves no gap, because the next turn requests its rows again
CHANNELS: dict[str, ChannelName] = {"trades": "trades", "candles": "candles", "quotes": "quotes", "order_books": "book"}

Span = tuple[int, int, int]  # (instrument_id, first, last) event time in microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTH = len("2026-01-31 23:59:59.123456+00")  # another length is beyond the calendar: such a row is rejected


def spans(table: Table, data: bytes) -> tuple[Span, ...]:
    """One span per instrument that has rows in `data`, which is COPY text with the columns of `table`. Empty for a polled table."""
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


def readable_spans(table: Table, damaged: bytes, since: int, until: int) -> tuple[Span, ...]:
    """As `spans`, of the lines of a damaged record that can still be read, limited to the times in [since, until]."""
    lines = damaged.split(b"\n")[:-1]
    if lines:
        lines[0] = lines[0].rpartition(b"}")[2]  # the record's head precedes its first row
    fields = len(table.columns) - 1
    found = spans(table, b"".join(line + b"\n" for line in lines if line.count(b"\t") == fields))
    # any digit of a damaged line may be wrong: the gap must neither fail in the database nor span a thousand years
    return tuple(
        (instrument_id, max(first, since), min(last, until))
        for instrument_id, first, last in found
        if 0 < instrument_id < 1 << 31 and first <= until
    )


def merged(parts: Iterable[Span]) -> tuple[Span, ...]:
    """One span per instrument, from its earliest to its latest part."""
    ends: dict[int, tuple[int, int]] = {}
    for instrument_id, first, last in parts:
        before = ends.get(instrument_id, (first, last))
        ends[instrument_id] = min(before[0], first), max(before[1], last)
    return tuple((instrument_id, *span) for instrument_id, span in ends.items())


def newer(columns: tuple[str, ...], data: bytes, cutoff: int) -> bytes:
    """The rows whose event time is `cutoff` (microseconds) or later."""
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
