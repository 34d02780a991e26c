"""The ladder: one batch, tried in order of cost until every row of it has an outcome.

1. COPY straight in, one commit.
2. On a duplicate (23505): a temporary table and a sorted INSERT ... ON CONFLICT. The table stays on this step until `CLEAN_BATCHES`
   without a duplicate have passed: trying COPY first each time costs more and bloats (at 1 % duplicates 100k rows/s against 124k).
   A table of native ids always is on this step: only there a fact gets the time with which it was first stored.
3. On a data error: the line that COPY's context names is taken out, else the batch is halved until the bad rows stand alone. They
   go into `rejects` in the transaction of the good rows. When it is too many, it is the schema that is wrong: Hold, reject nothing.
4. On 53400 (too many tuples to decompress in one transaction): in halves, each its own commit.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import Hold
from ingest.pipeline.batch import Batch, Outcome
from ingest.store import sqlstate
from ingest.store.copy import Statements, copy_in, stage_in
from ingest.store.pool import Connection, Pool, committed, undone
from ingest.store.rejects import Rejected, insert_rejects
from ingest.store.schema_check import verify
from ingest.tables import Table

CLEAN_BATCHES = 16
VERIFY_SECONDS = 30.0
FEW = 10  # bad rows that a batch may have however small it is ...
SHARE = 0.01  # ... and the share of it that they may be
IN_A_ROW = 100  # rows that the server refused without a good one between them

After = Callable[[Connection, Batch], Awaitable[None]]

_LINE = re.compile(r"COPY \w+, line (\d+)")


class Bad(Struct, frozen=True):
    """Why one line cannot be stored."""

    reason: str
    sqlstate: str
    message: str


class BatchWriter:
    """The write path of one table; `after` runs in the transaction of each batch (it marks roll-ups)."""

    def __init__(self, table: Table, pool: Pool, *, after: After | None = None) -> None:
        self._table = table
        self._pool = pool
        self._after = after
        self._statements = Statements.of(table)
        self._clean = CLEAN_BATCHES
        self._verified_at = -VERIFY_SECONDS
        self._rejected_in_a_row = 0

    async def write(self, batch: Batch) -> Outcome:
        """Store a batch; see `ingest.pipeline.batch.Write`. Cancelled or failed, it has stored all of it or nothing that counts."""
        try:
            async with self._pool.acquire() as connection:
                if time.monotonic() - self._verified_at > VERIFY_SECONDS:
                    await self._verify(connection)
                return await self._climb(connection, batch)
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"writing {batch.rows} rows into {self._table.name}") from error

    async def _verify(self, connection: Connection) -> None:
        await verify(connection, self._table)
        self._verified_at = time.monotonic()

    def _statements_of(self, batch: Batch) -> Statements:
        """The statements for the columns that the batch has: a spool may have kept it over a migration."""
        own = self._statements
        if batch.columns in ((), own.columns):
            return own
        for name in batch.columns:
            if name not in own.columns:
                message = (
                    f"segment {batch.source} of the spool has rows with the column {self._table.name}.{name}, which is no more"
                )
                raise Hold(f"{message}: put the column back, or end the daemon and move the segment away", code="42703")
        return Statements.of(self._table, batch.columns)

    async def _climb(self, connection: Connection, batch: Batch) -> Outcome:
        if batch.refused:
            return await self._sift(connection, batch)
        try:
            if self._clean >= CLEAN_BATCHES and not self._table.native:
                try:
                    return await self._copy(connection, batch)
                except asyncpg.UniqueViolationError:
                    self._clean = 0
            return await self._stage(connection, batch)
        except asyncpg.PostgresError as error:
            if sqlstate.is_data(error):
                return await self._sift(connection, batch)
            if sqlstate.sqlstate(error) == sqlstate.SPLIT and batch.rows > 1:
                return await self._halve(connection, batch)
            raise

    async def _copy(self, connection: Connection, batch: Batch) -> Outcome:
        async with committed(connection):
            written = await copy_in(connection, self._table.name, self._statements_of(batch).columns, batch.data)
            if self._after:
                await self._after(connection, batch)
        self._rejected_in_a_row = 0
        return Outcome(written=written)

    async def _stage(self, connection: Connection, batch: Batch) -> Outcome:
        async with committed(connection):
            written, revised = await stage_in(connection, self._table, self._statements_of(batch), batch.data)
            if self._after:
                await self._after(connection, batch)
        duplicate = batch.rows - written - revised
        self._clean = 0 if duplicate or revised else self._clean + 1
        self._rejected_in_a_row = 0
        return Outcome(written=written, revised=revised, duplicate=duplicate, method="stage")

    async def _halve(self, connection: Connection, batch: Batch) -> Outcome:
        lines = _lines(batch)
        middle = len(lines) // 2
        first = await self._climb(connection, _part(batch, lines[:middle]))
        second = await self._climb(connection, _part(batch, lines[middle:]))
        return Outcome(
            written=first.written + second.written,
            revised=first.revised + second.revised,
            duplicate=first.duplicate + second.duplicate,
            rejected=Counter(first.rejected) + Counter(second.rejected),
            method="halve",
        )

    async def _sift(self, connection: Connection, batch: Batch) -> Outcome:
        """The good rows are stored, the bad ones rejected, in one transaction."""
        await self._verify(connection)  # if the schema is wrong, say so and reject nothing
        lines = _lines(batch)
        statements = self._statements_of(batch)
        bad = await self._find_bad(connection, statements, lines)
        good = [line for index, line in enumerate(lines) if index not in bad]
        rejected = [self._rejected(lines[index].decode("utf-8", "replace"), why) for index, why in bad.items()]
        rejected += [self._rejected(row.line, Bad(row.reason, "", row.message)) for row in batch.refused]
        # rows that the lane refused say nothing of the schema: a wrong clock must not hold the table for ever
        in_a_row = 0 if good else self._rejected_in_a_row + len(bad)
        if in_a_row > IN_A_ROW:
            raise self._too_many(in_a_row, in_a_row, rejected[0].message)
        async with committed(connection):
            written, revised = await stage_in(connection, self._table, statements, b"".join(good)) if good else (0, 0)
            await insert_rejects(connection, rejected)
            if self._after and good:
                await self._after(connection, batch)
        self._rejected_in_a_row = in_a_row  # only now: an attempt that is repeated counts once
        return Outcome(
            written=written,
            revised=revised,
            duplicate=len(good) - written - revised,
            rejected=Counter(row.reason for row in rejected),
            method="sift",
        )

    async def _find_bad(self, connection: Connection, statements: Statements, lines: list[bytes]) -> dict[int, Bad]:
        """Try parts of the batch, undone each time, until every bad line is known by its index."""
        limit = max(FEW, int(len(lines) * SHARE))
        bad: dict[int, Bad] = {}
        parts = [list(range(len(lines)))]
        while parts:
            part = parts.pop()
            try:
                async with undone(connection):
                    await stage_in(connection, self._table, statements, b"".join(lines[index] for index in part))
            except asyncpg.PostgresError as error:
                if not sqlstate.is_data(error):
                    raise
                parts += _narrow(part, error, bad)
            if len(bad) > limit:
                raise self._too_many(len(bad), len(lines), next(iter(bad.values())).message)
        return bad

    def _too_many(self, bad: int, rows: int, message: str) -> Hold:
        return Hold(
            f"{self._table.name}: at least {bad} of {rows} rows do not fit ({message}): so many are a wrong schema, not bad rows; "
            "nothing was rejected, look at the table's columns and constraints",
            code="22000",
        )

    def _rejected(self, line: str, why: Bad) -> Rejected:
        return Rejected("", self._table.name, "write", why.reason, why.sqlstate or None, why.message, line.rstrip("\n"))


def _narrow(part: list[int], error: asyncpg.PostgresError, bad: dict[int, Bad]) -> list[list[int]]:
    """What to try next after `part` failed: without the line that the server named, or each half."""
    why = Bad(_reason(error), sqlstate.sqlstate(error), str(error))
    named = _LINE.search(getattr(error, "context", None) or "")
    if named and 1 <= int(named[1]) <= len(part):
        at = int(named[1]) - 1
        bad[part[at]] = why
        rest = part[:at] + part[at + 1 :]
        return [rest] if rest else []
    if len(part) == 1:
        bad[part[0]] = why
        return []
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _reason(error: asyncpg.PostgresError) -> str:
    return {"23502": "null", "23514": "check", "23503": "reference"}.get(sqlstate.sqlstate(error), "value")


def _lines(batch: Batch) -> list[bytes]:
    return [line + b"\n" for line in batch.data.split(b"\n")[:-1]]


def _part(batch: Batch, lines: list[bytes]) -> Batch:
    return replace(batch, data=b"".join(lines), rows=len(lines), refused=())
