"""What can be given on the command line: commands and their options.

https://docs.python.org/3/library/argparse.html. Nothing of a command is imported here: help and a wrong option answer at once.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from ingest import __version__

HISTORIC = ("candles", "trades", "indicators", "prices", "onchain", "sentiment", "indices", "whales")


def parser() -> argparse.ArgumentParser:
    """Its options have the command's name as `command`, and `config`, the file."""
    made = argparse.ArgumentParser(prog="ingest", description="Keeps a TimescaleDB full of market data, exactly once.")
    made.add_argument("--version", action="version", version=f"ingest {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--config", type=Path, metavar="FILE", help="TOML; every key also as INGEST__SECTION__KEY")
        return sub

    add("run", "the daemon: SIGTERM drains, SIGHUP reloads instruments and channels")
    sub = add("migrate", "bring the schema to this version, or back")
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="say what is pending; exit 1 if anything is")
    what.add_argument("--dry-run", action="store_true", help="say what would be done")
    what.add_argument("--to", type=int, metavar="V", help="apply up to version V")
    what.add_argument("--rollback", type=int, metavar="V", help="take back everything newer than version V")
    add("status", "what the daemon and the database are doing").add_argument("--json", action="store_true")
    sub = add("check", "validate the configuration and the database; changes nothing")
    sub.add_argument("--init", action="store_true", help="print a configuration to begin with")
    _add_backfill(add("backfill", "fill a historical range; the same command again goes on where it was"))
    sub = add("gaps", "what is missing, and what will never come; exit 1 if anything is open")
    sub.add_argument("--heal", action="store_true", help="close now what can be closed, also what was given up")
    sub.add_argument("--all", action="store_true", help="also what was healed")
    sub.add_argument("--json", action="store_true")
    sub = add("replay", "send captures (of `capture = true`) through the same parsers into the database")
    sub.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a capture, or a folder of captures")
    sub = add("demo", "a simulated exchange on loopback, with the daemon writing what it says")
    sub.add_argument("--seconds", type=float, metavar="N", help="end by itself")
    return made


def _add_backfill(sub: argparse.ArgumentParser) -> None:
    add = sub.add_argument
    add("channel", choices=HISTORIC, help="indicators: of candles that are stored")
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
