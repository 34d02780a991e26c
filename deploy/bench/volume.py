"""Fills a database with the volumes that the platforms require. The server generates the rows, deterministic and with noise.

A value is a function of series and time: long waves, short waves and noise, rounded to the market's steps, so that compression sees
as many digits as exchanges send. Rows are inserted in the order of time, all symbols of a minute together, as in a chunk that is
not compressed yet.
https://www.postgresql.org/docs/current/functions-srf.html
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

from ingest.store.bar_views import roll_up_prices
from ingest.store.platforms import rebuild_newest
from ingest.store.ts_edition import detect
from ingest.tables import TABLES

FILLERS = 2  # connections that fill at the same time
# triggers are disabled; the tables that they maintain are filled at the end
FILLING = {"synchronous_commit": "off", "work_mem": "256MB", "jit": "off", "session_replication_role": "replica"}
DAY = timedelta(days=1)
STEPS = (
    ("5m", "5 minutes", "1m"),
    ("15m", "15 minutes", "5m"),
    ("1h", "1 hour", "15m"),
    ("4h", "4 hours", "1h"),
    ("1d", "1 day", "4h"),
)


class Size(Struct, frozen=True):
    """The volume. Candles are complete; tables whose full volume would take hours are filled in part.

    MasterTrade's indicators have 2.9 million rows per day, so six days of ninety are filled. There are `posts` posts per day for
    each of `post_symbols` symbols, and 20 on-chain figures every five minutes for each of `chain_assets` coins.
    """

    symbols: int = 100
    days: int = 90
    indicator_days: int = 6
    indicators: int = 20
    chain_assets: int = 5
    post_symbols: int = 20
    posts: int = 500
    whales: int = 1_000  # per day, for 4 * `days`, at most 364
    articles: int = 200  # per day, for as many days
    fills: int = 250_000  # trades per day, for three days; a tenth as many books and quotes

    @property
    def parts(self) -> dict[str, float]:
        """The filled fraction of each table that is filled in part."""
        return {"indicators": self.indicator_days / self.days, "sentiment_posts": self.post_symbols / self.symbols}


SMALL = Size(
    symbols=2, days=9, indicator_days=3, indicators=1, chain_assets=1, post_symbols=1, posts=10, whales=5, articles=5, fills=1_000
)


def _read() -> dict[str, str]:
    """The sections of volume.sql by name."""
    _, *parts = re.split(r"^--- (\w+)\n", (Path(__file__).parent / "volume.sql").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


SQL = _read()


async def fill(dsn: str, size: Size) -> datetime:
    """Fill a migrated, empty database, and compress chunks as the policies would. Returns the end of the filled range."""
    connection = await asyncpg.connect(dsn)
    now: datetime = await connection.fetchval("SELECT date_trunc('minute', now())")
    await connection.execute(SQL["functions"].format(**msgspec.structs.asdict(size)))
    await _work(dsn, list(_statements(size, now)))
    await _work(dsn, [[SQL["whale_totals"], SQL["catalysts"]], [SQL["newest_candles"]]])
    if (await detect(connection)).edition == "community":
        compress = [row[0] for table in TABLES for row in await connection.fetch(SQL["compress"], table.name, table.compress_after)]
        await _work(dsn, [[statement] for statement in compress])
        await connection.execute("CALL refresh_continuous_aggregate('prices_daily_cagg', NULL, date_trunc('day', now(), 'UTC'))")
    else:
        await roll_up_prices(connection)
    await rebuild_newest(connection)  # as the maintenance does
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()
    return now


async def _work(dsn: str, work: list[list[str]]) -> None:
    """Run all parts on FILLERS connections."""
    await asyncio.gather(*[_fill(dsn, work) for _ in range(FILLERS)])


async def _fill(dsn: str, work: list[list[str]]) -> None:
    """Run parts in order until none is left."""
    connection = await asyncpg.connect(dsn, server_settings=FILLING)
    try:
        while work:
            for statement in work.pop(0):
                await connection.execute(statement)
    finally:
        await connection.close()


def _statements(size: Size, now: datetime) -> Iterator[list[str]]:
    """Parts that can run concurrently. The statements of a part run in order."""
    for since, until in _spans(now - size.days * DAY, now, 7 * DAY):
        yield [SQL["candles"].format(since=since, until=until), *_rolled_up(since, until)]
    for days, length, names in (
        (size.indicator_days, 1, ("indicators",)),
        (3, 1, ("trades", "books", "quotes")),
        (size.days, 28, ("prices", "onchain", "posts", "scores")),
        (min(4 * size.days, 364), 28, ("whales", "news", "indices")),
    ):
        for since, until in _spans(now - days * DAY, now, length * DAY):
            yield [SQL[name].format(since=since, until=until) for name in names]


def _spans(since: datetime, until: datetime, length: timedelta) -> Iterator[tuple[str, str]]:
    """Time ranges as SQL literals, which end where chunks end."""
    epoch = datetime(1970, 1, 1, tzinfo=since.tzinfo)
    start = since.replace(second=0, microsecond=0)
    while start < until:
        end = min(until, epoch + ((start - epoch) // length + 1) * length)
        yield f"'{start.isoformat()}'::timestamptz", f"'{end.isoformat()}'::timestamptz"
        start = end


def _rolled_up(since: str, until: str) -> list[str]:
    return [
        SQL["rolled_up"].format(target=target, length=length, part=part, since=since, until=until) for target, length, part in STEPS
    ]
