"""The sentiment of each hour, computed from posts: a row of `sentiment_scores` for each platform, and a row for `all` platforms.

A writer of posts marks the hours that its batch changed, in the transaction that writes them. `roll_up_sentiment` takes the marks
of hours that are over. So a late or corrected post recomputes its hour and nothing else. A writer locks a mark that exists
already, for the reason in `ingest/store/rollup.py`.
https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
"""

from __future__ import annotations

from datetime import datetime

from ingest.store.pool import Connection, transaction
from ingest.store.rollup import RollupResult
from ingest.text.sentiment_label import NEUTRAL_BELOW

ALL_PLATFORMS = "all"  # `platform` of the rows over all platforms
INFLUENCER_FOLLOWERS = 10_000  # a post whose author has so many followers counts as a mention by an influencer
HOURS_LIMIT = 1000  # in one transaction
GRACE_SECONDS = 60  # from the end of an hour, for posts that are still on their way


async def mark_posts(connection: Connection) -> None:
    """Mark the hours of the posts that this transaction has just inserted or changed.

    Posts always come through the temporary table `stage`, which has their stored times. A stored row that did not change keeps its
    earlier `received_at`, so it is not marked. The marks are sorted: in different orders two writers would deadlock.
    """
    await connection.execute(_MARK)


# The bounds on the time exclude the other chunks; without them compressed chunks would be read as a whole.
_MARK = """
    INSERT INTO sentiment_dirty (symbol, time)
    SELECT DISTINCT t.symbol, date_trunc('hour', t.time, 'UTC')
      FROM stage s JOIN sentiment_posts t USING (platform, post_id, symbol, time)
     WHERE t.received_at = s.received_at AND t.time >= (SELECT min(time) FROM stage) AND t.time <= (SELECT max(time) FROM stage)
     ORDER BY 1, 2
    ON CONFLICT (symbol, time) DO UPDATE SET marked_at = now()
"""


async def roll_up_sentiment(connection: Connection, now: datetime | None = None) -> RollupResult:
    """Compute the marked hours that are over at `now` (default: the database's clock), at most HOURS_LIMIT of them, oldest first.

    More may be due while `taken` is not 0. Needs the owner's rights. Raises asyncpg's errors unchanged; no mark is taken then.
    """
    # Two statements: the second must see what the last writer of a mark committed before the first could lock the mark.
    async with transaction(connection, isolation="read_committed"):
        await connection.execute("SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0; SET LOCAL jit = off")
        taken = await connection.fetch(_TAKE, now)
        if not taken:
            return RollupResult()
        symbols, times = zip(*taken, strict=True)
        made = await connection.fetch(_MAKE, symbols, times, min(times), max(times))
    written = sum(row["written"] for row in made)
    return RollupResult(len(taken), written, len(made) - written)


_TAKE = f"""
    WITH due AS MATERIALIZED (
        SELECT symbol, time FROM sentiment_dirty
         WHERE time + interval '1 hour {GRACE_SECONDS} seconds' <= coalesce($1, clock_timestamp())
         ORDER BY time, symbol LIMIT {HOURS_LIMIT} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM sentiment_dirty d USING due WHERE (d.symbol, d.time) = (due.symbol, due.time) RETURNING d.symbol, d.time
"""


def _share(label: str) -> str:
    return f"round(100.0 * count(*) FILTER (WHERE label = '{label}') / count(*), 2) AS {label}"


# The bounds on the time exclude the chunks that have none of the hours.
_VALUES = ("social_score", "label", "mentions", "positive", "neutral", "negative", "influencer_mentions")
_MAKE = f"""
    WITH posts AS (
        SELECT h.symbol, h.time, p.platform, p.score, p.label, p.followers, p.received_at
          FROM sentiment_posts p
          JOIN unnest($1::text[], $2::timestamptz[]) AS h (symbol, time)
            ON h.symbol = p.symbol AND h.time = date_trunc('hour', p.time, 'UTC')
         WHERE p.time >= $3 AND p.time < $4::timestamptz + interval '1 hour'
    ), hours AS (
        SELECT symbol, coalesce(platform, '{ALL_PLATFORMS}') AS platform, time, count(*) AS mentions, avg(score) AS score,
               {_share("positive")}, {_share("neutral")}, {_share("negative")}, CASE WHEN count(followers) > 0 THEN count(*) FILTER
               (WHERE followers >= {INFLUENCER_FOLLOWERS}) END AS influencer_mentions, max(received_at) AS received_at
          FROM posts GROUP BY GROUPING SETS ((symbol, time, platform), (symbol, time))
    )
    INSERT INTO sentiment_scores AS t (symbol, platform, interval, time, {", ".join(_VALUES)}, received_at)
    SELECT symbol, platform, '1h', time, round(50 * (1 + score), 2),
           CASE WHEN score >= {NEUTRAL_BELOW} THEN 'positive' WHEN score <= -{NEUTRAL_BELOW} THEN 'negative' ELSE 'neutral' END,
           mentions, positive, neutral, negative, influencer_mentions, received_at
      FROM hours ORDER BY symbol, platform, time
    ON CONFLICT (symbol, platform, interval, time) DO UPDATE
       SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _VALUES)}, received_at = EXCLUDED.received_at
     WHERE ({", ".join(f"t.{name}" for name in _VALUES)}) IS DISTINCT FROM ({", ".join(f"EXCLUDED.{name}" for name in _VALUES)})
    RETURNING t.xmax = 0 AS written
"""
