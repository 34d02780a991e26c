"""The content of the tables: emptied before a round, and compared with the sent rows after it.

The checksum is the number of rows and the sum of a hash of each row's values. A wrong digit changes it, the order of rows does not.
https://www.postgresql.org/docs/current/functions-string.html: concat_ws joins the text of the values, which for a numeric without a
scale has the digits that were sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from msgspec import Struct

from bench.result import Connection

TRADE = (
    "i.symbol",
    "t.trade_id",
    "(extract(epoch FROM t.time) * 1000)::bigint",
    "t.price",
    "t.size",
    "t.side",
)
OURS = "public.trades t JOIN public.instruments i ON i.id = t.instrument_id"
_HASH = "('x' || left(md5(concat_ws(' ', {})), 15))::bit(60)::bigint"


class Checksum(Struct, frozen=True):
    """The number of rows and the sum of their hashes."""

    rows: int
    total: int


class Wrong(RuntimeError):
    """The stored rows differ from the sent rows, so the figure is invalid."""


def checksum(rows: Iterable[tuple[object, ...]]) -> Checksum:
    """The checksum that `stored` returns for the same values."""
    count = total = 0
    for row in rows:
        count += 1
        total += int(hashlib.md5(" ".join(map(str, row)).encode(), usedforsecurity=False).hexdigest()[:15], 16)
    return Checksum(count, total)


async def stored(connection: Connection, relation: str, values: Iterable[str]) -> Checksum:
    """The checksum of a table. `values` are SQL expressions that are not null."""
    row = await connection.fetchrow(f"SELECT count(*), coalesce(sum({_HASH.format(', '.join(values))}), 0) FROM {relation}")
    return Checksum(row[0], int(row[1]))


def require(found: Checksum, sent: Checksum, what: str) -> None:
    """Raises Wrong unless the checksums are equal. `what` names the round in the message."""
    if found != sent:
        difference = f"{found.rows:,} rows are stored and {sent.rows:,} were sent" if found.rows != sent.rows else "a value differs"
        raise Wrong(f"{what}: {difference}")


async def empty(connection: Connection, *tables: str) -> None:
    """Prepare a turn: no rows, current statistics, no dirty pages."""
    await connection.execute(f"TRUNCATE {', '.join(tables)}")
    await connection.execute(f"ANALYZE {', '.join(tables)}")
    await connection.execute("CHECKPOINT")
