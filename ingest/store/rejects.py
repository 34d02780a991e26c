"""The table `rejects`: frames that could not be read and rows that could not be stored, kept for a person to inspect.

A source that sends only bad rows would fill the table. Of a reason of one source, SAMPLES rejects are stored per minute; one more
row of each batch stands for the rest of that batch. Rejects are kept for 90 days.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from ingest.protocol.decode import Malformed
from ingest.store.pool import Connection

MAX_PAYLOAD = 10_000  # characters of a payload that are kept
MAX_SOURCE = 100  # characters; a bad row may have anything in its place
PENDING = 20  # rejects of one source and reason that wait for the database, each with up to 10 kB
SAMPLES = 100  # rejects of one table, source and reason that are stored in one minute
SAMPLE_SECONDS = 60.0
KEPT = timedelta(days=90)

_INSERT = """
    INSERT INTO rejects (source, table_name, stage, reason, sqlstate, message, payload, rows)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[])"""


log = logging.getLogger(__name__)


class Rejected(Struct, frozen=True):
    """One bad frame (`stage` decode) or row (`stage` write; `payload` is the row as COPY text), or the first of `rows` such."""

    source: str
    table_name: str | None
    stage: str
    reason: str
    sqlstate: str | None
    message: str
    payload: str
    rows: int = 1

    @property
    def kind(self) -> tuple[str | None, str, str]:
        return self.table_name, self.source, self.reason


class RejectSampler:
    """Bounds the rejects of each table, source and reason that are stored in a minute. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._stored: Counter[tuple[str | None, str, str]] = Counter()

    def sample(self, rejected: Iterable[Rejected]) -> list[Rejected]:
        """The rejects to store: those within the bound, and one row per kind for all others, whose `rows` counts them."""
        if self._clock() - self._since >= SAMPLE_SECONDS:
            self._since = self._clock()
            self._stored.clear()
        stored = self._stored.copy()
        kept: list[Rejected] = []
        others: dict[tuple[str | None, str, str], Rejected] = {}
        for reject in rejected:
            if stored[reject.kind] < SAMPLES:
                stored[reject.kind] += 1
                kept.append(reject)
            elif first := others.get(reject.kind):
                others[reject.kind] = replace(first, rows=first.rows + reject.rows)
            else:
                others[reject.kind] = replace(reject, payload="")
        return [*kept, *others.values()]

    def count(self, sampled: Sequence[Rejected]) -> None:
        """Count the result of `sample` when it is committed, so that a repeated attempt counts once."""
        for kind, number in Counter(reject.kind for reject in sampled).items():
            if self._stored[kind] <= SAMPLES < self._stored[kind] + number:
                log.warning("%s: more than %d rejects of %s in a minute (%s): a sample is stored", kind[0], SAMPLES, *kind[1:])
            self._stored[kind] += number


class PendingRejects:
    """Frames that could not be decoded, until they are written. Of one source and reason the last kept one counts all others."""

    def __init__(self) -> None:
        self._rejects: list[Rejected] = []  # in the order of their arrival
        self._places: dict[tuple[str | None, str, str], list[int]] = {}  # of each kind

    def add(self, rejected: Rejected) -> None:
        places = self._places.setdefault(rejected.kind, [])
        if len(places) < PENDING:
            places.append(len(self._rejects))
            self._rejects.append(rejected)
        else:
            last = self._rejects[places[-1]]
            self._rejects[places[-1]] = replace(last, rows=last.rows + rejected.rows)

    def take(self) -> list[Rejected]:
        """All of them; what could not be written is added again."""
        taken, self._rejects, self._places = self._rejects, [], {}
        return taken


def undecoded(source: str, malformed: Malformed) -> Rejected:
    """The reject for a frame that could not be decoded."""
    payload = malformed.payload.decode("utf-8", "backslashreplace")
    return Rejected(source, None, "decode", malformed.reason, None, malformed.message, payload)


async def insert_rejects(connection: Connection, rejected: Iterable[Rejected]) -> None:
    """Insert the rejects, inside the caller's transaction if there is one."""
    rows = [_storable(row) for row in rejected]
    if rows:
        columns = [[getattr(row, name) for row in rows] for name in Rejected.__struct_fields__]
        await connection.execute(_INSERT, *columns)


async def delete_expired(connection: Connection) -> None:
    """Delete the rejects that are older than KEPT. Needs the owner's rights."""
    await connection.execute("DELETE FROM rejects WHERE rejected_at < now() - $1::interval", KEPT)


async def sources_of(connection: Connection, columns: Sequence[str], lines: Sequence[str]) -> list[str]:
    """The exchange or provider of each row, given as COPY text of `columns`; '' if the row does not say it."""
    name = next((name for name in ("source", "platform", "instrument_id") if name in columns), None)
    if name is None:
        return [""] * len(lines)
    at = columns.index(name)
    cells = ["".join(line.split("\t")[at : at + 1]) for line in lines]
    if name != "instrument_id":
        return cells
    ids = {int(cell) for cell in cells if cell.isascii() and cell.isdigit() and len(cell) < 10}
    rows = await connection.fetch("SELECT id, exchange FROM instruments WHERE id = ANY($1::int[])", ids)
    exchanges = {str(row["id"]): row["exchange"] for row in rows}
    return [exchanges.get(cell, "") for cell in cells]


def _storable(row: Rejected) -> Rejected:
    return replace(
        row, source=_clean(row.source[:MAX_SOURCE]), message=_clean(row.message), payload=_clean(row.payload[:MAX_PAYLOAD])
    )


def _clean(text: str) -> str:
    """Text that PostgreSQL accepts: no NUL, no lone surrogate."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
