"""Writes one batch. The strategies are tried in order of cost until every row of the batch has an outcome.

1. COPY straight into the table, one commit.
2. On a duplicate (23505): COPY into a temporary table and a sorted INSERT ... ON CONFLICT. The table stays on this strategy until
   `CLEAN_BATCHES` without a duplicate have passed: trying COPY first each time is slower and bloats the table (at 1 % duplicates
   100k rows/s against 124k). A table with native ids always uses it, because it gives a row the time that was stored first, and so
   does a batch with a row that contradicts itself, which is flagged in `rejects`.
3. On a data error: if the table's columns, types or privileges are not those that its record needs, Hold, and nothing is rejected.
   Else the bad rows, whatever their number, go into `rejects` in the transaction of the good rows, or a sample of them.
4. On 53400 (too many tuples to decompress in one transaction): each half of the batch in a commit of its own.
"""

from __future__ import annotations

import time
from collections import Counter

import asyncpg
from msgspec.structs import replace

from ingest.errors import Hold
from ingest.pipeline.batch import Batch, Outcome
from ingest.store import sqlstate
from ingest.store.bad_rows import RowError, find_bad_rows
from ingest.store.copy import Statements, copy_in, has_odd_row, stage_in
from ingest.store.hourly_sentiment import mark_posts
from ingest.store.pool import Connection, Pool, committed, rolled_back
from ingest.store.rejects import Rejected, RejectSampler, insert_rejects, sources_of
from ingest.store.rollup import mark_batch
from ingest.store.schema_check import verify
from ingest.store.ts_edition import Edition
from ingest.tables import SENTIMENT_POSTS, Table

CLEAN_BATCHES = 16
VERIFY_SECONDS = 30.0  # between two checks of the table's columns
BISECT_SECONDS = 5.0  # for rows that only the table itself refuses


class BatchWriter:
    """The write path of one table.

    The transaction of each batch also marks the derived rows to compute again: roll-ups as `edition` needs them, indicators and
    hourly sentiment. If `edition` is None, nothing is marked. With `force` a row replaces the stored one whatever their ranks, if
    their values differ: a person asked for it. A row that contradicts itself still replaces no consistent one.
    """

    def __init__(self, table: Table, pool: Pool, edition: Edition | None = None, *, force: bool = False) -> None:
        self._table = table
        self._pool = pool
        self._edition: Edition | None = edition
        self._force = force
        self._statements = Statements.of(table, force=force)
        self._sampler = RejectSampler()
        self._clean_batches = CLEAN_BATCHES
        self._verified_at = -VERIFY_SECONDS

    async def write(self, batch: Batch) -> Outcome:
        """Store a batch; see `ingest.pipeline.batch.Write`. If it fails or is cancelled, the same batch can be written again."""
        try:
            async with self._pool.acquire() as connection:
                if time.monotonic() - self._verified_at > VERIFY_SECONDS:
                    await self._verify(connection)
                return await self._write_by_strategy(connection, batch)
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"writing {batch.rows} rows into {self._table.name}") from error

    async def _verify(self, connection: Connection) -> None:
        await verify(connection, self._table)
        self._verified_at = time.monotonic()

    def _statements_of(self, batch: Batch) -> Statements:
        """The statements for the columns of the batch, because a batch of the spool may be older than a migration."""
        own = self._statements
        if batch.columns in ((), own.columns):
            return own
        for name in batch.columns:
            if name not in own.columns:
                message = (
                    f"segment {batch.source} of the spool has rows with the column {self._table.name}.{name}, which does not exist"
                )
                raise Hold(f"{message}: restore the column, or stop the daemon and move the segment away", code="42703")
        return Statements.of(self._table, batch.columns, force=self._force)

    async def _write_by_strategy(self, connection: Connection, batch: Batch) -> Outcome:
        if batch.refused:
            return await self._reject_bad_rows(connection, batch)
        try:
            if self._clean_batches >= CLEAN_BATCHES and not self._must_be_staged(batch):
                try:
                    return await self._copy(connection, batch)
                except asyncpg.UniqueViolationError:
                    self._clean_batches = 0
            return await self._stage(connection, batch)
        except asyncpg.PostgresError as error:
            if sqlstate.is_data(error):
                return await self._reject_bad_rows(connection, batch)
            if sqlstate.sqlstate(error) == sqlstate.SPLIT and batch.rows > 1:
                return await self._split_batch(connection, batch)
            raise

    def _must_be_staged(self, batch: Batch) -> bool:
        """Whether the rows need the temporary table: it finds stored native ids, and flags rows that contradict themselves."""
        return self._table.native or has_odd_row(self._table, self._statements_of(batch).columns, batch.data)

    async def _copy(self, connection: Connection, batch: Batch) -> Outcome:
        async with committed(connection):
            written = await copy_in(connection, self._table.name, self._statements_of(batch).columns, batch.data)
            await self._mark(connection, batch)
        return Outcome(written=written)

    async def _stage(self, connection: Connection, batch: Batch) -> Outcome:
        async with committed(connection):
            written, revised = await stage_in(connection, self._table, self._statements_of(batch), batch.data)
            await self._mark(connection, batch)
        duplicate = batch.rows - written - revised
        self._clean_batches = 0 if duplicate or revised else self._clean_batches + 1
        return Outcome(written=written, revised=revised, duplicate=duplicate, method="stage")

    async def _split_batch(self, connection: Connection, batch: Batch) -> Outcome:
        lines = _lines(batch)
        middle = len(lines) // 2
        first = await self._write_by_strategy(connection, _slice(batch, lines[:middle]))
        second = await self._write_by_strategy(connection, _slice(batch, lines[middle:]))
        return Outcome(
            written=first.written + second.written,
            revised=first.revised + second.revised,
            duplicate=first.duplicate + second.duplicate,
            rejected=Counter(first.rejected) + Counter(second.rejected),
            method="split",
        )

    async def _reject_bad_rows(self, connection: Connection, batch: Batch) -> Outcome:
        """Store the good rows and reject the bad ones in one transaction."""
        await self._verify(connection)  # if the schema is wrong, this raises Hold and no row is rejected
        lines = _lines(batch)
        statements = self._statements_of(batch)
        bad = await find_bad_rows(connection, self._table, statements.columns, lines)
        try:
            return await self._store_good_rows(connection, batch, lines, bad)
        except asyncpg.PostgresError as error:
            if not sqlstate.is_data(error):
                raise
        bad |= await self._find_refused(connection, statements, {n: line for n, line in enumerate(lines) if n not in bad})
        return await self._store_good_rows(connection, batch, lines, bad)

    async def _store_good_rows(self, connection: Connection, batch: Batch, lines: list[bytes], bad: dict[int, RowError]) -> Outcome:
        statements = self._statements_of(batch)
        good = [line for index, line in enumerate(lines) if index not in bad]
        refused = [(lines[index].decode("utf-8", "replace"), error) for index, error in bad.items()]
        refused += [(row.line, RowError(row.reason, "", row.message)) for row in batch.refused]
        sources = await sources_of(connection, statements.columns, [line for line, _ in refused])
        rejected = [self._reject_of(source, *row) for source, row in zip(sources, refused, strict=True)]
        sample = self._sampler.sample(rejected)
        async with committed(connection):
            written, revised = await stage_in(connection, self._table, statements, b"".join(good)) if good else (0, 0)
            await insert_rejects(connection, sample)
            if good:
                await self._mark(connection, batch)
        self._sampler.count(sample)
        return Outcome(
            written=written,
            revised=revised,
            duplicate=len(good) - written - revised,
            rejected=Counter(row.reason for row in rejected),
            method="reject",
        )

    async def _mark(self, connection: Connection, batch: Batch) -> None:
        if self._edition is None:
            return
        if self._table is SENTIMENT_POSTS:
            await mark_posts(connection)
        else:
            await mark_batch(connection, self._table.name, self._edition, batch.minutes)

    async def _find_refused(self, connection: Connection, statements: Statements, lines: dict[int, bytes]) -> dict[int, RowError]:
        """The rows that fit the table's constraints and are refused all the same, for example by a constraint of one chunk.

        Parts of the rows are tried in the table, each rolled back. Raises Hold after BISECT_SECONDS: so many refusals that the
        constraints do not explain mean a wrong schema.
        """
        bad: dict[int, RowError] = {}
        parts = [list(lines)] if lines else []
        until = time.monotonic() + BISECT_SECONDS
        while parts:
            part = parts.pop()
            try:
                async with rolled_back(connection):
                    await stage_in(connection, self._table, statements, b"".join(lines[index] for index in part))
            except asyncpg.PostgresError as error:
                if not sqlstate.is_data(error):
                    raise
                parts += _remaining_parts(part, error, bad)
                if time.monotonic() > until:
                    message = f"{self._table.name}: the server refuses rows that fit every column and CHECK of the table ({error})"
                    raise Hold(f"{message}: look for a constraint or trigger that only a chunk has", code="22000") from error
        return bad

    def _reject_of(self, source: str, line: str, error: RowError) -> Rejected:
        return Rejected(source, self._table.name, "write", error.reason, error.sqlstate or None, error.message, line.rstrip("\n"))


def _remaining_parts(part: list[int], error: asyncpg.PostgresError, bad: dict[int, RowError]) -> list[list[int]]:
    """The parts to try after `part` failed: the rest of it without the line that the server named, or each half."""
    row_error = RowError.of(sqlstate.sqlstate(error), str(error))
    line = sqlstate.copied_line(error)
    if line is not None:
        bad[part[line - 1]] = row_error
        rest = part[: line - 1] + part[line:]
        return [rest] if rest else []
    if len(part) == 1:
        bad[part[0]] = row_error
        return []
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _lines(batch: Batch) -> list[bytes]:
    return [line + b"\n" for line in batch.data.split(b"\n")[:-1]]


def _slice(batch: Batch, lines: list[bytes]) -> Batch:
    return replace(batch, data=b"".join(lines), rows=len(lines), refused=())
