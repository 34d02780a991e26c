"""Backfill jobs: a past range of one channel, in chunks, each with a state and a verdict. Needs the owner's rights (`admin_dsn`).

A chunk is done when its rows are committed. The same job, or another one of the same channel that overlaps it, continues with the
chunks that are not done. Several processes can share a job: one process claims a chunk by an advisory lock, which ends with its
session (https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS). Keys are unique, so a chunk that is filled
twice, after a kill between commit and mark, adds no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct

from ingest.errors import Retry
from ingest.pipeline.batch import Outcome
from ingest.store.coverage import EPOCH, to_datetime
from ingest.store.lock_holders import holder_of_key
from ingest.store.pool import Connection, transaction

MICROSECOND = timedelta(microseconds=1)


class Job(Struct, frozen=True, kw_only=True):
    """The range [since, until) in microseconds of one channel. `trade_kind` is '' if the channel has none.

    For a polled provider `channel` is a table, `instrument_id` is 0, and `symbol` is the coin: '' if the provider has no coins.
    """

    source: str
    instrument_id: int
    channel: str
    trade_kind: str
    via: str
    since: int
    until: int
    symbol: str = ""


class Chunk(Struct, frozen=True):
    """A part of a job: [since, until) in microseconds."""

    job_id: int
    since: int
    until: int


_OPEN = """
    INSERT INTO jobs AS j (source, instrument_id, channel, trade_kind, via, symbol, since, until)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (source, instrument_id, channel, trade_kind, via, symbol, since, until) DO UPDATE SET via = j.via
    RETURNING id"""

_CUT = """
    INSERT INTO job_chunks (job_id, since, until) SELECT $1, * FROM unnest($2::timestamptz[], $3::timestamptz[])
    ON CONFLICT (job_id, since) DO UPDATE SET state = 'pending' WHERE job_chunks.state = 'done'"""

_DONE = """
    SELECT c.since, c.until FROM jobs j JOIN job_chunks c ON c.job_id = j.id
     WHERE (j.source, j.instrument_id, j.channel, j.trade_kind, j.via, j.symbol) = ($1, $2, $3, $4, $5, $6) AND c.state = 'done'"""

_IS_DONE = "SELECT state = 'done' FROM job_chunks WHERE job_id = $1 AND since = $2"

_FINISH = """
    UPDATE job_chunks
       SET state = $3, written = $4, revised = $5, duplicate = $6, rejected = $7, verdict = $8, finished_at = now()
     WHERE job_id = $1 AND since = $2"""


async def pending(connection: Connection, job: Job, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """The parts of the job that no job of the same channel has done, newest first.

    `cuts` are the edges of the parts: microseconds, ascending, with both ends of the job.
    """
    rows = await connection.fetch(_DONE, *_key(job))
    done = [(to_micros(row["since"]), to_micros(row["until"])) for row in rows]
    parts = list(pairwise(cuts))
    return [(a, b) for a, b in reversed(parts) if not any(since <= a and b <= until for since, until in done)]


async def open_job(connection: Connection, job: Job, parts: Sequence[tuple[int, int]]) -> list[Chunk]:
    """Store the job, and these parts of it as chunks to fill, whatever their earlier result was."""
    async with transaction(connection):
        job_id = await connection.fetchval(_OPEN, *_key(job), to_datetime(job.since), to_datetime(job.until))
        edges = [to_datetime(since) for since, _ in parts], [to_datetime(until) for _, until in parts]
        await connection.execute(_CUT, job_id, *edges)
    return [Chunk(job_id, since, until) for since, until in parts]


def _key(job: Job) -> tuple[object, ...]:
    return job.source, job.instrument_id, job.channel, job.trade_kind, job.via, job.symbol


async def claim(connection: Connection, chunk: Chunk) -> bool:
    """Claim the chunk for this connection, until `finish` or the end of the connection.

    False if another process has claimed it, or has finished it meanwhile. Raises Retry if a session of a role that may not run
    backfills holds the claim, because any role may take an advisory lock.
    """
    key = await connection.fetchval("SELECT hashtextextended($1, 0)", _name(chunk))
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
        holder = await holder_of_key(connection, key)
        if holder is not None and not holder.trusted:
            raise Retry(f"{_name(chunk)} is claimed by a session that runs no backfill ({holder}): end that session", code="55P03")
        return False
    if await connection.fetchval(_IS_DONE, chunk.job_id, to_datetime(chunk.since)):
        await _release(connection, chunk)
        return False
    return True


async def _release(connection: Connection, chunk: Chunk) -> None:
    await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", _name(chunk))


def _name(chunk: Chunk) -> str:
    return f"ingest chunk {chunk.job_id} {chunk.since}"


def to_micros(time: datetime) -> int:
    """Microseconds since the epoch."""
    return (time - EPOCH) // MICROSECOND


async def finish(connection: Connection, chunk: Chunk, outcome: Outcome, verdict: str | None) -> None:
    """Mark the chunk as done, or as failed if there is a `verdict`, and release the claim. Its rows must be committed."""
    await connection.execute(
        _FINISH,
        chunk.job_id,
        to_datetime(chunk.since),
        "failed" if verdict else "done",
        outcome.written,
        outcome.revised,
        outcome.duplicate,
        sum(outcome.rejected.values()),
        verdict,
    )
    await _release(connection, chunk)
