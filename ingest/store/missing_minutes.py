"""Minutes without a candle that a backfill found, as gaps of the ledger. Needs the owner's rights (`admin_dsn`).

The gap filler of a daemon requests them again, and closes them as healed or unrecoverable. They do not make their channel a watched
one: nothing outside them becomes a gap.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.store.coverage import to_datetime
from ingest.store.jobs import Chunk
from ingest.store.pool import Connection, transaction

# a gap that lasts keeps its state and its number of attempts
_FORGET = """
    DELETE FROM coverage c USING jobs j
     WHERE j.id = $1 AND (c.source, c.instrument_id, c.channel) = (j.source, j.instrument_id, j.channel)
       AND c.writer = 'backfill' AND c.reason = 'incomplete' AND c.since >= $2 AND c.until <= $3
       AND (c.since, c.until) NOT IN (SELECT * FROM unnest($4::timestamptz[], $5::timestamptz[]))"""

_NOTE = """
    INSERT INTO coverage (source, writer, instrument_id, channel, interval, state, reason, since, until, verdict)
    SELECT j.source, 'backfill', j.instrument_id, j.channel, '1m', 'open', 'incomplete', m.since, m.until, $4
      FROM jobs j, unnest($2::timestamptz[], $3::timestamptz[]) AS m (since, until)
     WHERE j.id = $1
       AND NOT EXISTS (
           SELECT FROM coverage c
            WHERE (c.source, c.instrument_id, c.channel) = (j.source, j.instrument_id, j.channel) AND c.writer = 'backfill'
              AND c.reason = 'incomplete' AND c.state IN ('open', 'unrecoverable') AND c.since <= m.since AND c.until >= m.until)"""


async def note_missing(connection: Connection, chunk: Chunk, missing: Sequence[tuple[int, int]], verdict: str | None) -> None:
    """Replace what an earlier attempt at the chunk found missing by these ranges, [since, until) in microseconds."""
    edges = [to_datetime(since) for since, _ in missing], [to_datetime(until) for _, until in missing]
    async with transaction(connection):
        await connection.execute(_FORGET, chunk.job_id, to_datetime(chunk.since), to_datetime(chunk.until), *edges)
        await connection.execute(_NOTE, chunk.job_id, *edges, verdict)
