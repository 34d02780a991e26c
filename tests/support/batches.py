"""Batches of made-up trades for the tests of the spool, which test files on disk and no exchange's payload."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from ingest.pipeline import spool_segment
from ingest.pipeline.batch import Batch, Refusal
from ingest.pipeline.copy_encoder import encoder
from ingest.pipeline.time_ranges import spans
from ingest.records import MINUTE, SECOND, Trade
from ingest.tables import TRADES

NOW = 1_790_000_000 * SECOND
PREFIX = struct.Struct(">5sBIII")  # as the docstring of ingest/pipeline/spool_segment.py describes it
COLUMNS = tuple(column.name for column in TRADES.columns)


def trade(number: int, **changes: Any) -> Trade:
    values: dict[str, Any] = {
        "instrument_id": 1 + number % 2,
        "time": NOW + number,
        "trade_id": number,
        "price": "1.50",
        "size": "2",
        "side": "buy",
        "received_at": NOW + number + 100,
    }
    return Trade(**(values | changes))


def batch(first: int = 0, rows: int = 4, **changes: Any) -> Batch:
    trades = [trade(number) for number in range(first, first + rows)]
    values: dict[str, Any] = {
        "data": "".join(map(encoder(TRADES), trades)).encode(),
        "rows": rows,
        "last_time": trades[-1].time,
        "received_at": trades[0].received_at,
        "samples": tuple((record.time, record.received_at) for record in trades[:2]),
        "minutes": frozenset((record.instrument_id, record.time // MINUTE) for record in trades),
    }
    return Batch(**(values | changes))


def large(first: int, size: int) -> Batch:
    """A batch of one row whose native id has `size` characters."""
    line = encoder(TRADES)(trade(first, native_id="x" * size)).encode()
    return batch(first, 1, data=line)


def from_spool(batch: Batch, source: str) -> Batch:
    """The batch as the spool returns it from the segment `source`."""
    return Batch(**{name: getattr(batch, name) for name in batch.__struct_fields__} | {"columns": COLUMNS, "source": source})


def packed(*batches: Batch) -> bytes:
    """The bytes of a segment with these batches."""
    return b"".join(b"".join(spool_segment.pack("trades", COLUMNS, each, spans(TRADES, each.data))) for each in batches)


def in_format(number: int, record: bytes, head: bytes | None = None) -> bytes:
    """The record with the format number `number`, optionally with another `head`, and with a right checksum."""
    magic, _, head_length, data_length, _ = PREFIX.unpack_from(record)
    old_head, data = record[PREFIX.size : PREFIX.size + head_length], record[PREFIX.size + head_length :]
    head = old_head if head is None else head
    start = PREFIX.pack(magic, number, len(head), data_length, 0)[:-4]
    return start + struct.pack(">I", zlib.crc32(start + head)) + head + data


REFUSED = (Refusal("7\tlone \udc80 surrogate\n", "value", "a line break within a value"),)
THREE = (batch(0), batch(10, 2, minutes=frozenset(), refused=REFUSED), batch(20, 1))
