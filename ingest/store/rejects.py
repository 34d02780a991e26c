"""The table `rejects`: frames that could not be read and rows that could not be stored, kept for a person to inspect."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ingest.protocol.decode import Malformed
from ingest.store.pool import Connection

MAX_PAYLOAD = 10_000  # characters of a payload that are kept

_INSERT = """
    INSERT INTO rejects (source, table_name, stage, reason, sqlstate, message, payload)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])"""


class Rejected(Struct, frozen=True):
    """One bad frame (`stage` decode) or row (`stage` write; `payload` is the row as COPY text)."""

    source: str
    table_name: str | None
    stage: str
    reason: str
    sqlstate: str | None
    message: str
    payload: str


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


def _storable(row: Rejected) -> Rejected:
    return Rejected(
        row.source,
        row.table_name,
        row.stage,
        row.reason,
        row.sqlstate,
        _clean(row.message),
        _clean(row.payload[:MAX_PAYLOAD]),
    )


def _clean(text: str) -> str:
    """Text that PostgreSQL accepts: no NUL, no lone surrogate."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
