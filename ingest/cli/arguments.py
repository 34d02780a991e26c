"""The command line: commands and their options. https://docs.python.org/3/library/argparse.html

This module imports no command, so that `--help` and errors in options are printed at once.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from ingest import __version__

HISTORIC = ("candles", "trades", "indicators", "prices", "onchain", "sentiment", "indices", "whales")


def parser() -> argparse.ArgumentParser:
    """The argument parser. It sets `command` (the command's name), `config` (the path, or None) and the options of the command."""
    made = argparse.ArgumentParser(prog="ingest", description="Stores market data in TimescaleDB, each row exactly once.")
    made.add_argument("--version", action="version", version=f"ingest {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--config", type=Path, metavar="FILE", help="TOML file; every key can also be set as INGEST__SECTION__KEY")
        return sub

    add("run", "run the daemon; SIGTERM drains and ends it, SIGHUP reloads the configuration")
    sub = add("migrate", "migrate the schema to the version of this program, or back to an older one")
    action = sub.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="print the pending migrations; exit code 1 if there are any")
    action.add_argument("--dry-run", action="store_true", help="print what would be done; change nothing")
    action.add_argument("--to", type=int, metavar="V", help="apply migrations up to version V")
    action.add_argument("--rollback", type=int, metavar="V", help="undo all migrations newer than version V")
    sub = add("status", "print the state of the daemon and of the database")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub = add("check", "validate the configuration and the database; change nothing")
    sub.add_argument("--init", action="store_true", help="print an example configuration")
    _add_backfill(add("backfill", "load a historical range; the same command run again continues where it stopped"))
    sub = add("gaps", "list the gaps of stored data; exit code 1 if any is open or unwatched")
    sub.add_argument("--heal", action="store_true", help="first fill the gaps of trades and candles, unrecoverable ones too")
    sub.add_argument("--all", action="store_true", help="list healed gaps, too")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub = add("replay", "parse captured traffic (`capture = true`) and store its rows")
    sub.add_argument("files", type=Path, nargs="+", metavar="FILE", help="capture file, or directory of capture files")
    sub = add("demo", "run the daemon on a simulated exchange on loopback")
    sub.add_argument("--seconds", type=float, metavar="N", help="end after N seconds; default: run until SIGTERM or SIGINT")
    return made


def _add_backfill(sub: argparse.ArgumentParser) -> None:
    add = sub.add_argument
    add("channel", choices=HISTORIC, help="kind of data; `indicators` are computed from stored candles")
    add("--exchange", metavar="NAME", help="section of `[exchanges]`; required for candles, trades and indicators")
    markets = "market, may be repeated; default: as configured; for indicators, all that have stored candles"
    add("--instrument", action="append", default=[], metavar="BTC/USDT", help=markets)
    add("--source", metavar="NAME", help="provider of the other kinds; default: all enabled providers")
    add("--symbol", action="append", default=[], metavar="BTC", help="coin of a provider, may be repeated; default: as configured")
    add("--from", "--since", dest="since", type=_time, required=True, metavar="DATE", help="start of the range, UTC, inclusive")
    until = "end of the range, UTC, exclusive; default: a minute ago for exchanges, the last midnight for providers"
    add("--to", "--until", dest="until", type=_time, metavar="DATE", help=until)
    add("--interval", metavar="1m", type=_interval, help="interval of candles; only 1m, longer ones are computed from it")
    add("--via", metavar="WAY", help="how an exchange's history is read: `rest` or `archive`; default: `archive` if it has one")
    add("--again", action="store_true", help="load chunks again that are done already")
    add("--dry-run", action="store_true", help="print what would be loaded; change nothing")


def _interval(text: str) -> str:
    if text != "1m":
        raise argparse.ArgumentTypeError(f"'{text}' candles are computed from 1m candles; right would be 1m")
    return text


def _time(text: str) -> datetime:
    """A date or a time; UTC unless it has an offset."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a date; right would be 2026-11-20 or 2026-11-20T12:00") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
