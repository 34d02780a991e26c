"""`ingest backfill`: its arguments, and the work for each thing that has a past: candles and trades of an exchange, indicators of
stored candles, and what providers say of prices, chains, moods and indices.

https://docs.python.org/3/library/argparse.html
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from ingest.config.settings import Settings
from ingest.daemon.db_readiness import admin
from ingest.daemon.maintenance_spec import indicator_selection
from ingest.errors import Stop
from ingest.sources import provider_backfill
from ingest.sources.exchange_backfill import Backfill, BackfillRequest, ended, origin_of
from ingest.store.indicator_dirty_ranges import mark_stored
from ingest.store.indicators import compute
from ingest.store.pool import committed, open_pool, rolled_back


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may be said on the command line."""
    add = parser.add_argument
    add(
        "channel",
        choices=["candles", "trades", "indicators", *provider_backfill.KINDS],
        help="indicators: of candles that are stored",
    )
    add("--exchange", metavar="NAME", help="of candles, trades and indicators: a section of the configuration")
    add("--instrument", action="append", default=[], metavar="BTC/USDT", help="default: those of the configuration")
    add("--source", metavar="NAME", help="of the others: a provider; default: all that are enabled")
    add("--symbol", action="append", default=[], metavar="BTC", help="of a provider's coins; default: those of the configuration")
    add("--from", "--since", dest="since", type=_time, required=True, metavar="DATE", help="UTC, inclusive")
    until = "UTC, exclusive; default: a minute ago, of a provider the last midnight"
    add("--to", "--until", dest="until", type=_time, metavar="DATE", help=until)
    add("--interval", metavar="1m", type=_interval, help="of candles: 1m, from which all others are rolled up")
    add("--via", help="rest or archive; default: the archive, where the exchange has one")
    add("--again", action="store_true", help="fetch also what was done before")
    add("--dry-run", action="store_true", help="say what would be fetched; changes nothing")


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """The exit code. Raises Stop for what cannot be had, Retry where the same command is to be given again."""
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
    wanted = BackfillRequest(
        channel=options.channel,
        exchange=options.exchange,
        instruments=tuple(options.instrument),
        since=options.since,
        until=min(filter(None, (options.until, ended(datetime.now(UTC))))),
        via=options.via,
        again=options.again,
    )
    backfill = Backfill(settings, wanted, origin_of(settings, options.exchange, section), section)
    pool = await open_pool(settings.database.dsn.get_secret_value(), settings.database.pool_size)
    try:
        async with admin(settings.database) as connection:
            print(await (backfill.dry_run(connection) if options.dry_run else backfill.run(connection, pool)))
    finally:
        pool.terminate()
    return 0


async def _of_providers(settings: Settings, options: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    sought = provider_backfill.ProviderBackfillRequest(
        kind=options.channel,
        source=options.source,
        symbols=tuple(options.symbol),
        since=options.since,
        until=min(options.until or provider_backfill.midnight(now), ended(now)),
        again=options.again,
    )
    asked = provider_backfill.provider_backfills(settings, sought)
    pool = await open_pool(settings.database.dsn.get_secret_value(), settings.database.pool_size)
    try:
        async with admin(settings.database) as connection:
            return await provider_backfill.fill(asked, connection, pool, dry_run=options.dry_run)
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


def _interval(text: str) -> str:
    if text != "1m":
        raise argparse.ArgumentTypeError(f"'{text}' is rolled up from 1m by itself; right would be 1m")
    return text


def _time(text: str) -> datetime:
    """A date or a time, UTC unless it says otherwise."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no date; right would be 2026-11-20 or 2026-11-20T12:00") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
