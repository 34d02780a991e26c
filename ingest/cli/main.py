"""The command line: one short function each. Exit codes: 0 done, 1 something is not as it should be, 2 bad configuration."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop

from ingest import __version__, log, registry
from ingest.cli import backfill, demo
from ingest.config import settings as config
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.daemon.db_readiness import admin
from ingest.daemon.health import DaemonState
from ingest.daemon.http_server import listen
from ingest.daemon.maintenance_spec import maintenance_spec
from ingest.daemon.supervisor import Supervisor
from ingest.daemon.write_path import writing
from ingest.errors import Hold, IngestError, Retry, Stop
from ingest.pipeline.time_ranges import CHANNELS
from ingest.sources.gap_filler import GapFiller
from ingest.sources.poll_plan import outlook
from ingest.sources.replay import Replay, files_of
from ingest.sources.replay_coverage import WRITER, missing
from ingest.store.gap_report import gaps
from ingest.store.instruments import store_instruments
from ingest.store.migrate import check, migrate
from ingest.store.platforms import overflows
from ingest.store.pool import open_pool
from ingest.store.schema_check import verify
from ingest.store.ts_edition import DatabaseInfo, Edition, detect
from ingest.tables import TABLES

Command = Callable[[argparse.Namespace], Awaitable[int]]

EXAMPLE = """\
[database]
dsn = "postgresql://ingest_writer@localhost/market"
admin_dsn = "postgresql://ingest_migrate@localhost/market"

[exchanges.binance]
instruments = ["BTC/USDT", "ETH/USDT"]

[pollers.coingecko]
symbols = ["BTC", "ETH"]

[pollers.alternative_me]

[pollers.mempool_space]

[pollers.news_coindesk]

[pollers.cboe]
"""


def main(arguments: list[str] | None = None) -> int:
    """The entry point of `ingest` and `python -m ingest`."""
    options = parser().parse_args(arguments)
    try:
        code: int = uvloop.run(options.command(options))
    except (Stop, Hold) as error:
        print(f"ingest: {error}", file=sys.stderr)
        return 2
    except IngestError as error:
        print(f"ingest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="ingest", description="Keeps a TimescaleDB full of market data, exactly once.")
    made.add_argument("--version", action="version", version=f"ingest {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--config", type=Path, metavar="FILE", help="TOML; every key also as INGEST__SECTION__KEY")
        sub.set_defaults(command=command)
        return sub

    add("run", run, "the daemon: SIGTERM drains, SIGHUP reloads instruments and channels")
    sub = add("migrate", run_migrate, "bring the schema to this version, or back")
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="say what is pending; exit 1 if anything is")
    what.add_argument("--dry-run", action="store_true", help="say what would be done")
    what.add_argument("--to", type=int, metavar="V", help="apply up to version V")
    what.add_argument("--rollback", type=int, metavar="V", help="take back everything newer than version V")
    add("status", run_status, "what the daemon and the database are doing").add_argument("--json", action="store_true")
    sub = add("check", run_check, "validate the configuration and the database; changes nothing")
    sub.add_argument("--init", action="store_true", help="print a configuration to begin with")
    sub = add("backfill", run_backfill, "fill a historical range; the same command again goes on where it was")
    backfill.add_arguments(sub)
    sub = add("gaps", run_gaps, "what is missing, and what will never come; exit 1 if anything is open")
    sub.add_argument("--heal", action="store_true", help="close now what can be closed, also what was given up")
    sub.add_argument("--all", action="store_true", help="also what was healed")
    sub.add_argument("--json", action="store_true")
    sub = add("replay", run_replay, "send captures (of `capture = true`) through the same parsers into the database")
    sub.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a capture, or a folder of captures")
    sub = add("demo", run_demo, "a simulated exchange on loopback, with the daemon writing what it says")
    sub.add_argument("--seconds", type=float, metavar="N", help="end by itself")
    return made


def _settings(options: argparse.Namespace) -> Settings:
    settings = config.load(options.config)
    log.set_up(settings.log.format, settings.log.level)
    return settings


async def run(options: argparse.Namespace) -> int:
    settings = _live(_settings(options))
    if not settings.exchanges and not settings.pollers:
        raise Stop("nothing to do: no [exchanges.<name>] is configured; `ingest check --init` prints an example")
    _collect_seldom()
    listener = listen(settings.server.host, settings.server.port)
    return await Supervisor(settings, lambda: _live(config.load(options.config)), listener).run()


def _live(settings: Settings) -> Settings:
    """The same, if all of it can be run. Raises Stop."""
    known = registry.exchanges()
    for name, section in settings.exchanges.items():
        if (protocol := section.protocol or name) not in known:
            feeds = ", ".join(sorted(known))
            raise Stop(f"exchanges.{name}: '{protocol}' has no live feed here, only `ingest backfill` takes it; feeds: {feeds}")
    return settings


def _collect_seldom() -> None:
    """Records are no cyclic garbage, and what is imported never is: looking at them cost an eighth of the time a row."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


async def run_migrate(options: argparse.Namespace) -> int:
    settings = _settings(options)
    async with admin(settings.database) as connection:
        if options.check:
            report = await check(connection)
        else:
            report = await migrate(connection, to=options.to, rollback=options.rollback, dry_run=options.dry_run)
    pending = options.check or options.dry_run
    for step in report.steps:
        print(f"{'would ' if pending else ''}{step}")
    info = report.database
    print(f"{_shown(info)}, schema {info.schema_version or 'empty'}")
    if not report.steps:
        print("nothing is pending")
    return 1 if options.check and report.steps else 0


def _shown(info: DatabaseInfo) -> str:
    return f"TimescaleDB {info.timescaledb} ({info.edition} edition), PostgreSQL {info.postgres}"


async def run_status(options: argparse.Namespace) -> int:
    settings = _settings(options)
    status = await _ask_daemon(settings)
    code = 0 if status.get("daemon", {}).get("state") == DaemonState.READY else 1
    try:
        async with admin(settings.database) as connection:
            report = await check(connection)
            status["migrations"] = {"pending": [step.file.name for step in report.steps]}
            status["database"] = msgspec.structs.asdict(report.database)
    except IngestError as error:
        status["database"] = {"error": str(error)}
        code = 1
    if options.json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(_lines(status)))
    return code


async def _ask_daemon(settings: Settings) -> dict[str, Any]:
    host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    url = f"http://{host}:{settings.server.port}/status"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client, client.get(url) as answer:
            return msgspec.json.decode(await answer.read(), type=dict[str, Any])
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
        return {"daemon": {"state": "unreachable", "detail": f"no daemon answers at {url}: {error}"}}


def _lines(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, one in value.items():
        if name == "queues":
            yield from _table(one)
        elif isinstance(one, Mapping):
            yield f"{indent}{name}"
            yield from _lines(one, indent + "  ")
        else:
            yield f"{indent}{name:<16} {_cell(one)}"


def _table(queues: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each table, a column for each field of its status."""
    if not queues:
        return
    rows = [["queues", *next(iter(queues.values()))]]
    rows += [[f"  {name}", *map(_cell, queue.values())] for name, queue in queues.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items()) or "0"
    return "-" if value is None or value == "" else str(value)


async def run_check(options: argparse.Namespace) -> int:
    if options.init:
        print(EXAMPLE, end="")
        return 0
    settings = _settings(options)
    maintenance_spec(settings)
    print(f"configuration: ok, {len(settings.exchanges)} exchanges, {len(settings.pollers)} pollers")
    for line in outlook(settings.pollers):
        print(f"poller {line}")
    async with admin(settings.database) as connection:
        report = await check(connection)
        for step in report.steps:
            print(f"pending: {step}")
        if not report.steps:
            for table in TABLES:
                await verify(connection, table)
            for line in await overflows(connection):
                print(f"platforms: {line}")
    info = report.database
    print(f"database: {_shown(info)}, schema {info.schema_version}")
    if settings.database.admin_dsn is None:
        print("maintenance: disabled, database.admin_dsn is not set: no roll-ups, indicators, policies, retention or audit")
    return 1 if report.steps else 0


async def run_backfill(options: argparse.Namespace) -> int:
    _collect_seldom()
    return await backfill.run(_settings(options), options)


async def run_gaps(options: argparse.Namespace) -> int:
    settings = _settings(options)
    async with admin(settings.database) as connection:
        if options.heal:
            await _heal(settings, (await detect(connection)).edition)
        found = await gaps(connection, all_states=options.all)
    if options.json:
        print(msgspec.json.encode(found).decode())
    else:
        for gap in found:
            until = f"{gap.until:%Y-%m-%d %H:%M:%S}" if gap.until else "now"
            stream = f"{gap.source} {gap.instrument or '-'} {gap.channel}"
            print(
                f"{gap.state:<13} {stream:<32} {gap.since:%Y-%m-%d %H:%M:%S} to {until:<19} {gap.seconds:>12,.1f} s  {gap.reason}"
            )
        if not found:
            print("nothing is missing")
    return 1 if any(gap.state in {"open", "unwatched"} for gap in found) else 0


async def _heal(settings: Settings, edition: Edition) -> None:
    """Every exchange of the configuration, one after the other; what a daemon heals is left to it."""
    pool = await open_pool(settings.database.dsn.get_secret_value(), settings.database.pool_size)
    try:
        for name, section in settings.exchanges.items():
            exchange = registry.exchanges().get(section.protocol or name)
            if exchange is None:  # ccxt's: nothing watches it, so it has no holes
                continue
            healer = GapFiller(name, exchange, section, settings, pool=pool, edition=edition, counters=Counters())
            try:
                await healer.until_done()
            except Retry as error:
                print(error, file=sys.stderr)
    finally:
        pool.terminate()


async def run_replay(options: argparse.Namespace) -> int:
    settings = _settings(options)
    counters = Counters()
    async with writing(settings, counters, WRITER) as work:
        replay = Replay(
            registry.exchanges(),
            puts={writer.queue.table.record: writer.queue.put for writer in work.writers.values()},
            store_instruments=partial(store_instruments, work.pool, old=True),
            on_gap=work.coverage.gap,
            on_malformed=work.coverage.malformed,
        )
        await replay.run(files_of(options.files))
        work.claims.extend(replay.claims)
    print(f"sent: {', '.join(f'{count} {kind}' for kind, count in sorted(replay.counts.items())) or 'nothing'}")
    for name in CHANNELS:
        tally = counters.tallies[name]
        print(f"{name}: {tally}")
        if tally.expired:
            print(f'{name}: {tally.expired} rows are older than retention.{name}; "none" there would keep them')
    for line in missing(replay.claims, replay.names):
        print(line)
    return 0


async def run_demo(options: argparse.Namespace) -> int:
    log.set_up("console", "warning")
    return await demo.run(options.config, options.seconds)
