"""`ingest gaps`: lists the gaps of stored data; `--heal` fills them first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import msgspec

from ingest import registry
from ingest.cli.configuration import configured
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.daemon.db_readiness import admin
from ingest.errors import Retry
from ingest.sources.gap_filler import GapFiller
from ingest.store.gap_report import ReportedGap, gaps
from ingest.store.pool import open_pool
from ingest.store.ts_edition import Edition, detect


async def run(options: argparse.Namespace) -> int:
    """Returns 1 if a gap is open or unwatched, else 0."""
    settings = configured(options)
    async with admin(settings.database) as connection:
        if options.heal:
            await _heal(settings, (await detect(connection)).edition)
        found = await gaps(connection, all_states=options.all)
    if options.json:
        print(msgspec.json.encode(found).decode())
    else:
        _show(found)
    return 1 if any(gap.state in {"open", "unwatched"} for gap in found) else 0


def _show(found: Sequence[ReportedGap]) -> None:
    for gap in found:
        until = f"{gap.until:%Y-%m-%d %H:%M:%S}" if gap.until else "now"
        stream = f"{gap.source} {gap.instrument or '-'} {gap.channel}"
        print(f"{gap.state:<13} {stream:<32} {gap.since:%Y-%m-%d %H:%M:%S} to {until:<19} {gap.seconds:>12,.1f} s  {gap.reason}")
    if all(gap.state == "unverifiable" for gap in found):
        print("nothing is known to be missing" if found else "nothing is missing")


async def _heal(settings: Settings, edition: Edition) -> None:
    """Fill the gaps of every configured exchange in turn. Skips an exchange whose lease a daemon holds, and prints that."""
    pool = await open_pool(settings.database.dsn.get_secret_value(), settings.database.pool_size)
    try:
        for name, section in settings.exchanges.items():
            exchange = registry.exchanges().get(section.protocol or name)
            if exchange is None:  # backfilled through ccxt: it is not streamed, so it has no gaps
                continue
            filler = GapFiller(name, exchange, section, settings, pool=pool, edition=edition, counters=Counters())
            try:
                await filler.until_done()
            except Retry as error:
                print(error, file=sys.stderr)
    finally:
        pool.terminate()
