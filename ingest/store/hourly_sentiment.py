"""The mood of each hour, made of the posts: a row of `sentiment_scores` for each platform, and one, `all`, of them together.

A writer of posts marks the hours that its batch changed, in the transaction that writes them; `sum_up` takes the marks of hours
that are over. So an hour that a late post reaches, or a post whose text was corrected, is made again, and nothing else is.
https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
The rule one would get wrong: a mark that is there already must still be locked by the next writer, as in `ingest/store/rollup.py`.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ingest.pipeline.batch import Batch
from ingest.store.pool import Connection, transaction
from ingest.text.sentiment_label import MOOD

ALL = "all"  # the platform of a row that sums up every platform
INFLUENCER = 10_000  # followers that make a post a mention by an influencer
LIMIT = 1000  # hours in one transaction
GRACE_SECONDS = 60  # how long after its end an hour waits for posts that are on their way


class Summed(Struct, frozen=True):
    """How many marks were taken, rows written, and rows given other values."""

    taken: int = 0
    written: int = 0
    revised: int = 0


async def mark_posts(connection: Connection, _batch: Batch) -> None:
    """Mark the hours of the posts that were just stored, or stored with another value, in the transaction that did it.

    Posts always come through the temporary table `stage`, where their times are those that stand; a row that was there already has
    another `received_at`. Sorted: two writers that mark in different orders would deadlock.
    """
    await connection.execute(_MARK)


# The first and last time are said apart from the keys, so that other chunks are not read: of compressed ones all of it would be.
_MARK = """
    INSERT INTO sentiment_dirty (symbol, time)
    SELECT DISTINCT t.symbol, date_trunc('hour', t.time, 'UTC')
      FROM stage s JOIN sentiment_posts t USING (platform, post_id, symbol, time)
     WHERE t.received_at = s.received_at AND t.time >= (SELECT min(time) FROM stage) AND t.time <= (SELECT max(time) FROM stage)
     ORDER BY 1, 2
    ON CONFLICT (symbol, time) DO UPDATE SET marked_at = now()
"""


async def sum_up(connection: Connection, now: datetime | None = None) -> Summed:
    """Make the rows of marked hours that are over at `now` (the database's clock, if None), at most LIMIT of them, oldest first.

    More may be due while `taken` is not 0. Needs the owner's rights. Raises asyncpg's errors as they are; nothing is then taken.
    """
    # Two statements: the second must see what the last writer of a mark committed before the first could lock it.
    async with transaction(connection, isolation="read_committed"):
        await connection.execute("SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0; SET LOCAL jit = off")
        taken = await connection.fetch(_TAKE, now)
        if not taken:
            return Summed()
        symbols, times = zip(*taken, strict=True)
        made = await connection.fetch(_MAKE, symbols, times, min(times), max(times))
    written = sum(row["written"] for row in made)
    return Summed(len(taken), written, len(made) - written)


_TAKE = f"""
    WITH due AS MATERIALIZED (
        SELECT symbol, time FROM sentiment_dirty
         WHERE time + interval '1 hour {GRACE_SECONDS} seconds' <= coalesce($1, clock_timestamp())
         ORDER BY time, symbol LIMIT {LIMIT} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM sentiment_dirty d USING due WHERE (d.symbol, d.time) = (due.symbol, due.time) RETURNING d.symbol, d.time
"""


def _share(label: str) -> str:
    return f"round(100.0 * count(*) FILTER (WHERE label = '{label}') / count(*), 2) AS {label}"


# The first and last hour are said apart from the list of hours, so that chunks without any of them are not read.
_VALUES = ("social_score", "label", "mentions", "positive", "neutral", "negative", "influencer_mentions")
_MAKE = f"""
    WITH posts AS (
        SELECT h.symbol, h.time, p.platform, p.score, p.label, p.followers, p.received_at
          FROM sentiment_posts p
          JOIN unnest($1::text[], $2::timestamptz[]) AS h (symbol, time)
            ON h.symbol = p.symbol AND h.time = date_trunc('hour', p.time, 'UTC')
         WHERE p.time >= $3 AND p.time < $4::timestamptz + interval '1 hour'
    ), hours AS (
        SELECT symbol, coalesce(platform, '{ALL}') AS platform, time, count(*) AS mentions, avg(score) AS score,
               {_share("positive")}, {_share("neutral")}, {_share("negative")},
               CASE WHEN count(followers) > 0 THEN count(*) FILTER (WHERE followers >= {INFLUENCER}) END AS influencer_mentions,
               max(received_at) AS received_at
          FROM posts GROUP BY GROUPING SETS ((symbol, time, platform), (symbol, time))
    )
    INSERT INTO sentiment_scores AS t (symbol, platform, interval, time, {", ".join(_VALUES)}, received_at)
    SELECT symbol, platform, '1h', time, round(50 * (1 + score), 2),
           CASE WHEN score >= {MOOD} THEN 'positive' WHEN score <= -{MOOD} THEN 'negative' ELSE 'neutral' END,
           mentions, positive, neutral, negative, influencer_mentions, received_at
      FROM hours ORDER BY symbol, platform, time
    ON CONFLICT (symbol, platform, interval, time) DO UPDATE
       SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _VALUES)}, received_at = EXCLUDED.received_at
     WHERE ({", ".join(f"t.{name}" for name in _VALUES)}) IS DISTINCT FROM ({", ".join(f"EXCLUDED.{name}" for name in _VALUES)})
    RETURNING t.xmax = 0 AS written
"""
