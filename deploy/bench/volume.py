"""The volumes that the platforms name, made by the server itself: deterministic, and as noisy as a market is.

A value is a function of its place and time alone: long waves, short waves and noise, rounded to the market's own steps, so that
what is compressed has as many digits as what exchanges send, no fewer and no more. Rows come in the order of time, all symbols of a
minute together, because that is how they lie in a chunk that is not compressed yet.
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

FILLERS = 2  # connections that fill at once
# without triggers: what they keep beside a hypertable is made at the end, at once
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
    """How much: candles are whole, the others in proportion where their full volume would take hours to make.

    In full, MasterTrade's indicators alone are 2.9 million rows a day: six days of them stand for ninety. Posts are 500 a day of
    each of `post_symbols` symbols. A chain has 20 figures every five minutes, for each of `chain_assets` coins.
    """

    symbols: int = 100
    days: int = 90
    indicator_days: int = 6
    indicators: int = 20
    chain_assets: int = 5
    post_symbols: int = 20
    posts: int = 500
    whales: int = 1_000  # a day, for four times `days`
    articles: int = 200  # the same
    fills: int = 250_000  # a day, for three days, of trades; books and quotes a tenth of it

    @property
    def parts(self) -> dict[str, float]:
        """Tables of which a part stands for the whole volume, and which part."""
        return {"indicators": self.indicator_days / self.days, "sentiment_posts": self.post_symbols / self.symbols}


SMALL = Size(
    symbols=2, days=9, indicator_days=3, indicators=1, chain_assets=1, post_symbols=1, posts=10, whales=5, articles=5, fills=1_000
)


def _read() -> dict[str, str]:
    """The parts of volume.sql by their names."""
    _, *parts = re.split(r"^--- (\w+)\n", (Path(__file__).parent / "volume.sql").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


SQL = _read()


async def fill(dsn: str, size: Size) -> datetime:
    """Fill an empty database of the daemon's schema; the minute up to which it is filled. Compresses what the policies would."""
    connection = await asyncpg.connect(dsn)
    now: datetime = await connection.fetchval("SELECT date_trunc('minute', now())")
    await connection.execute(SQL["functions"].format(**msgspec.structs.asdict(size)))
    await _work(dsn, list(_statements(size, now)))
    await _work(dsn, [[SQL["whale_totals"], SQL["catalysts"]], [SQL["newest_candles"]]])
    if (await detect(connection)).edition == "community":
        compress = [row[0] for table in TABLES for row in await connection.fetch(SQL["compress"], table.name, table.compress_after)]
        await _work(dsn, [[one] for one in compress])
        await connection.execute("CALL refresh_continuous_aggregate('prices_daily_cagg', NULL, date_trunc('day', now(), 'UTC'))")
    else:
        await roll_up_prices(connection)
    await rebuild_newest(connection)  # as the duty does once a day
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()
    return now


async def _work(dsn: str, work: list[list[str]]) -> None:
    """Do all of it, some at once."""
    await asyncio.gather(*[_fill(dsn, work) for _ in range(FILLERS)])


async def _fill(dsn: str, work: list[list[str]]) -> None:
    """Take the next of what is to be done until nothing is left; the newest comes last."""
    connection = await asyncpg.connect(dsn, server_settings=FILLING)
    try:
        while work:
            for statement in work.pop(0):
                await connection.execute(statement)
    finally:
        await connection.close()


def _statements(size: Size, now: datetime) -> Iterator[list[str]]:
    """What has to be done, in parts that can be done side by side; within a part one after the other."""
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
    """Stretches that end where chunks do, as text."""
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
