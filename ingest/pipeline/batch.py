"""A batch: rows of one table as COPY text, and the outcome of writing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

SAMPLES = 64  # rows of a batch whose lag is measured


class Refusal(Struct, frozen=True):
    """A row that must not reach COPY: its line as COPY text, the reason as a metric label, and a message for people."""

    line: str
    reason: str
    message: str


class Batch(Struct, frozen=True):
    """Encoded rows of one table. Times are microseconds since the epoch."""

    data: bytes
    rows: int
    last_time: int  # the latest event time
    received_at: int  # of the oldest row
    samples: tuple[tuple[int, int], ...]  # (time, received_at) of at most SAMPLES rows
    minutes: frozenset[tuple[int, int]] = frozenset()  # the (instrument_id, minute) that changed, of a table that is rolled up
    refused: tuple[Refusal, ...] = ()  # not in `data`, but counted in `rows`
    columns: tuple[str, ...] = ()  # the columns of `data` if it comes from a spool; empty means those of the table
    source: str = ""  # the segment of the spool from which it was read


class Outcome(Struct, frozen=True):
    """The number of written, revised, duplicate and rejected (by reason) rows of a batch. The sum is the batch's `rows`."""

    written: int = 0
    revised: int = 0
    duplicate: int = 0
    rejected: dict[str, int] = {}
    method: str = "copy"


# Stores a batch; the only interface of the pipeline to the database. Raises Retry (write the same batch again later) or Hold.
Write = Callable[[Batch], Awaitable[Outcome]]
