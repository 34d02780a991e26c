"""A batch: rows of one table as COPY text, with what must be known of them until they are settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

SAMPLES = 64  # rows of a batch whose lag is measured


class Refusal(Struct, frozen=True):
    """A row that must not reach COPY: its line, the reason (a metric label) and what is wrong with it."""

    line: str
    reason: str
    message: str


class Batch(Struct, frozen=True):
    """Encoded rows on their way. Times are microseconds."""

    data: bytes
    rows: int
    last_time: int
    received_at: int  # of the oldest row
    samples: tuple[tuple[int, int], ...]  # (time, received_at) of at most SAMPLES rows
    minutes: frozenset[tuple[int, int]] = frozenset()  # (instrument_id, minute) touched, where roll-ups want to know
    refused: tuple[Refusal, ...] = ()  # not in `data`, but counted in `rows`
    columns: tuple[str, ...] = ()  # what `data` holds, where a spool kept it; () is the columns of the table
    source: str = ""  # the spool's segment that kept it


class Outcome(Struct, frozen=True):
    """What became of a batch's rows. The sum is the batch's `rows`, except that expired rows never reach a batch."""

    written: int = 0
    revised: int = 0
    duplicate: int = 0
    rejected: dict[str, int] = {}
    method: str = "copy"


# How a batch is stored: all that the pipeline knows of the store. Raises Retry (the same batch again later) or Hold.
Write = Callable[[Batch], Awaitable[Outcome]]
