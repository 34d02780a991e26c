"""Marks the ranges of new or changed candles whose indicators have to be computed, and takes the marks.

A writer of candles marks their ranges in the transaction that writes them and sends a NOTIFY, so that the maintenance task need not
poll. The notification arrives after the commit, through a pooler as well (https://www.postgresql.org/docs/current/sql-notify.html).
A writer locks a mark that exists already, for the reason in `ingest/store/rollup.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from ingest.records import INTERVALS, MINUTE
from ingest.store.pool import Connection

CHANNEL = "indicators_dirty"  # of NOTIFY
BLOCK = 1_440  # candles that share one mark
LENGTHS = {interval: length // MINUTE for interval, length in INTERVALS.items()}  # in minutes, as all times of this module


class DirtyRange(Struct, frozen=True, order=True):
    """Candles of one series from `since` to `until` inclusive, in minutes since the epoch."""

    instrument_id: int
    interval: str
    since: int
    until: int


def ranges_of_candles(interval: str, candles: Collection[tuple[int, int]]) -> list[DirtyRange]:
    """The ranges that contain these candles (instrument_id, minute), each within one block."""
    width = BLOCK * LENGTHS[interval]
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for instrument_id, minute in candles:
        block = instrument_id, minute // width
        since, until = found.get(block, (minute, minute))
        found[block] = min(since, minute), max(until, minute)
    return [DirtyRange(instrument_id, interval, *bounds) for (instrument_id, _), bounds in found.items()]


async def mark(connection: Connection, ranges: Iterable[DirtyRange]) -> None:
    """Mark the ranges in the caller's transaction, which writes the candles before. Each range must be within one block.

    Two writers of one block wait for each other. The marks are sorted: in different orders the writers would deadlock.
    """
    if rows := sorted(ranges):
        columns = zip(*((row.instrument_id, row.interval, _block(row), row.since, row.until) for row in rows), strict=True)
        await connection.execute(_MARK, *columns, CHANNEL)


def _block(dirty_range: DirtyRange) -> int:
    return dirty_range.since - dirty_range.since % (BLOCK * LENGTHS[dirty_range.interval])


_MARK = """
    WITH marked AS (
        INSERT INTO indicators_dirty AS d (instrument_id, interval, block, since, until)
        SELECT instrument_id, interval, to_timestamp(block * 60.0), to_timestamp(since * 60.0), to_timestamp(until * 60.0)
          FROM unnest($1::int[], $2::text[], $3::int[], $4::int[], $5::int[]) AS new (instrument_id, interval, block, since, until)
        ON CONFLICT (instrument_id, interval, block) DO UPDATE
           SET since = least(d.since, EXCLUDED.since), until = greatest(d.until, EXCLUDED.until), marked_at = now()
    )
    SELECT pg_notify($6, '')
"""


async def mark_stored(
    connection: Connection,
    intervals: Sequence[str],
    *,
    exchange: str,
    instruments: Sequence[str],
    since: datetime,
    until: datetime,
) -> int:
    """Mark the stored candles of [since, until) of an exchange; without `instruments`, of all. Returns the number of candles."""
    count = 0
    for interval in intervals:
        rows = await connection.fetch(_STORED, exchange, list(instruments), interval, since, until, BLOCK * LENGTHS[interval])
        await mark(connection, [DirtyRange(row["instrument_id"], interval, row["since"], row["until"]) for row in rows])
        count += sum(row["candles"] for row in rows)
    return count


_STORED = """
    SELECT c.instrument_id, count(*) AS candles,
           (min(extract(epoch FROM c.time)) / 60)::int AS since, (max(extract(epoch FROM c.time)) / 60)::int AS until
      FROM candles c
     WHERE c.instrument_id IN (
           SELECT id FROM instruments i WHERE i.exchange = $1 AND (i.instrument = ANY ($2::text[]) OR $2::text[] = '{}')
           )
       AND c.interval = $3 AND c.time >= $4 AND c.time < $5
     GROUP BY c.instrument_id, div(extract(epoch FROM c.time), 60 * $6::int)
"""


async def take(
    connection: Connection, *, budget: int, reach: dict[str, int], exchanges: Sequence[str], instruments: Sequence[str]
) -> tuple[int, list[DirtyRange]]:
    """Take marks in the caller's transaction, the newest first: (number of marks, the ranges of wanted series).

    `budget` is about how many candles may have to be computed for them. `reach`, by interval, is the number of later candles whose
    values depend on a candle. A mark that a writer has locked is skipped; it is taken after that writer commits.
    """
    lengths = [LENGTHS[interval] for interval in reach]
    rows = await connection.fetch(
        _TAKE, list(reach), lengths, list(reach.values()), MARKS_LIMIT, budget, list(exchanges), list(instruments)
    )
    wanted = [row for row in rows if row["wanted"]]
    return len(rows), [DirtyRange(row["instrument_id"], row["interval"], row["since"], row["until"]) for row in wanted]


MARKS_LIMIT = 500  # in one transaction
_TAKE = """
    WITH due AS MATERIALIZED (
        SELECT d.* FROM indicators_dirty d ORDER BY d.until DESC, d.instrument_id, d.interval LIMIT $4 FOR UPDATE SKIP LOCKED
    ), weighed AS (
        SELECT due.instrument_id, due.interval, due.block, sum(candles) OVER newest_first - candles AS before
          FROM due
          LEFT JOIN unnest($1::text[], $2::int[], $3::int[]) AS w (interval, length, reach) USING (interval)
         CROSS JOIN LATERAL (
               SELECT coalesce(
                   extract(epoch FROM due.until - due.since) / 60 / length + 1
                   + greatest(least(reach, extract(epoch FROM now() - due.until) / 60 / length), 0), 0
               ) AS candles) one
        WINDOW newest_first AS (ORDER BY due.until DESC, due.instrument_id, due.interval)
    )
    DELETE FROM indicators_dirty d USING weighed w
     WHERE (d.instrument_id, d.interval, d.block) = (w.instrument_id, w.interval, w.block) AND w.before < $5
    RETURNING d.instrument_id, d.interval,
              (extract(epoch FROM d.since) / 60)::int AS since, (extract(epoch FROM d.until) / 60)::int AS until,
              d.interval = ANY ($1) AND ($6::text[] = '{}' AND $7::text[] = '{}' OR EXISTS (
                  SELECT FROM instruments i
                   WHERE i.id = d.instrument_id
                     AND (i.exchange = ANY ($6::text[]) OR $6::text[] = '{}')
                     AND (i.instrument = ANY ($7::text[]) OR $7::text[] = '{}')
              )) AS wanted
"""
