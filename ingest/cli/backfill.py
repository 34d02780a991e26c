"""`ingest backfill`: loads a historical range.

Candles and trades come from an exchange, indicators are computed from stored candles, all other kinds come from providers.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from ingest.cli.configuration import collect_seldom, configured
from ingest.config.settings import Settings
from ingest.daemon.db_readiness import admin
from ingest.daemon.maintenance_spec import indicator_selection
from ingest.errors import Stop
from ingest.sources import provider_backfill
from ingest.sources.exchange_backfill import Backfill, BackfillRequest, latest_end, origin_of
from ingest.store.indicator_dirty_ranges import mark_stored
from ingest.store.indicators import compute
from ingest.store.pool import committed, open_pool, rolled_back


async def run(options: argparse.Namespace) -> int:
    """Returns the exit code. Raises Stop for a wrong request, Retry if a chunk failed: the same command tries it again."""
    collect_seldom()
    settings = configured(options)
    if options.channel in provider_backfill.KINDS:
        return await _of_providers(settings, options)
    if options.exchange not in settings.exchanges:
        known = ", ".join(settings.exchanges) or "none"
        raise Stop(f"--exchange: '{options.exchange or ''}' has no section in the configuration; known: {known}")
    if options.channel == "indicators":
        return await _of_indicators(settings, options)
    return await _of_exchange(settings, options)


async def _of_exchange(settings: Settings, options: argparse.Namespace) -> int:
    section = settings.exchanges[options.exchange]
    request = BackfillRequest(
        channel=options.channel,
        exchange=options.exchange,
        instruments=tuple(options.instrument),
        since=options.since,
        until=min(filter(None, (options.until, latest_end(datetime.now(UTC))))),
        via=options.via,
        again=options.again,
    )
    backfill = Backfill(settings, request, origin_of(settings, options.exchange, section), section)
    pool = await open_pool(settings.database.dsn.get_secret_value(), settings.database.pool_size)
    try:
        async with admin(settings.database) as connection:
            print(await (backfill.dry_run(connection) if options.dry_run else backfill.run(connection, pool)))
    finally:
        pool.terminate()
    return 0


async def _of_providers(settings: Settings, options: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    request = provider_backfill.ProviderBackfillRequest(
        kind=options.channel,
        source=options.source,
        symbols=tuple(options.symbol),
        since=options.since,
        until=min(options.until or provider_backfill.midnight(now), latest_end(now)),
        again=options.again,
    )
    backfills = provider_backfill.provider_backfills(settings, request)
    pool = await open_pool(settings.database.dsn.get_secret_value(), settings.database.pool_size)
    try:
        async with admin(settings.database) as connection:
            return await provider_backfill.fill(backfills, connection, pool, dry_run=options.dry_run)
    finally:
        pool.terminate()


async def _of_indicators(settings: Settings, options: argparse.Namespace) -> int:
    selection = indicator_selection(settings)
    async with admin(settings.database) as connection:
        async with rolled_back(connection) if options.dry_run else committed(connection):
            candles = await mark_stored(
                connection,
                selection.intervals,
                exchange=options.exchange,
                instruments=options.instrument,
                since=options.since,
                until=options.until or datetime.now(UTC),
            )
        if options.dry_run:
            print(f"{len(selection.specs)} indicators of {candles:,} candles")
            return 0
        done = step = await compute(connection, selection)
        while step.taken:
            done += (step := await compute(connection, selection))
    same = done.values - done.written - done.revised
    print(f"{candles:,} candles: {done.written:,} written, {done.revised:,} revised, {same:,} were there already")
    return 0
