"""`deploy/bench.sh WHAT [--rows N] [--seconds N]`: starts the private server, measures, and prints one JSON object per line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from cluster import Cluster
from installation import EDITIONS, installed

from bench.backfill import backfill_candles, backfill_trades, lower
from bench.coverage import coverage
from bench.durability import always, always_fsync, spool
from bench.indicators import indicators
from bench.live import live
from bench.pair import pair
from bench.platforms import RUNS, Measured, filled_cluster, platforms
from bench.result import Place, Result
from bench.soak import Soak, soak
from bench.steady import commit_lag, memory
from bench.volume import SMALL, Size
from bench.write import write, write_duplicates
from ingest.store.migrate import migrate

BACKFILL = {"backfill_candles": backfill_candles, "backfill_trades": backfill_trades}
DURABILITY = {"durability_spool": spool, "durability_always": always, "durability_always_fsync": always_fsync}
BY_ROWS = {"write": write, "write_duplicates": write_duplicates, "live": live, **BACKFILL, **DURABILITY, "pair": pair}
BY_ROWS |= {"coverage": coverage, "indicators": indicators}
BY_SECONDS = {"memory": memory, "commit_lag": commit_lag}
SOAK = "soak"
PLATFORMS, PARSE = "platforms", "parse"
GROUPS = {
    "write": ["write", "write_duplicates"],
    "live": ["live", "memory", "commit_lag"],
    "backfill": list(BACKFILL),
    "durability": list(DURABILITY),
    "all": [*BY_ROWS, *BY_SECONDS],
}


def main() -> int:
    options = _options()
    Path(".local").mkdir(exist_ok=True)
    if options.what == PLATFORMS:
        return _platforms(options)
    if options.what == PARSE:
        from bench.parse import parse  # noqa: PLC0415 - it needs the tests' recordings, and pytest with them

        for result in parse(options.old, options.rounds, options.exchange):
            _print(result)
        return 0
    edition = "community" if installed("community") else "apache"
    # the server keeps the time of each commit, so that the commit time of a row is known
    with Cluster(EDITIONS[edition], settings={"track_commit_timestamp": "on"}) as cluster:
        dsn = cluster.create("market")
        done = {}
        for name in [options.what] if options.alone else GROUPS.get(options.what, [options.what]):
            print(f"bench: {name}", file=sys.stderr)
            done[name] = uvloop.run(_measure(name, dsn, cluster.binaries / "psql", options))
            _print(done[name])
    if done.keys() >= BACKFILL.keys():
        _print(lower([done[name] for name in BACKFILL]))
    return 0


def _platforms(options: argparse.Namespace) -> int:
    """Measure on a cluster whose data is kept, because filling it takes minutes."""
    with filled_cluster(small=options.small) as cluster:
        print(f"bench: {PLATFORMS}, in {cluster.home}", file=sys.stderr)
        for result in uvloop.run(platforms(cluster.create("market"), SMALL if options.small else Size(), options.runs)):
            _print(result)
    return 0


def _print(result: Result | Measured | Soak) -> None:
    print(msgspec.json.encode(result).decode(), flush=True)


async def _measure(name: str, dsn: str, psql: Path, options: argparse.Namespace) -> Result | Soak:
    connection = await asyncpg.connect(dsn)
    try:
        await migrate(connection)
        return await _benchmark(name, Place(connection, dsn, psql), options)
    finally:
        await connection.close()


def _benchmark(name: str, place: Place, options: argparse.Namespace) -> Awaitable[Result | Soak]:
    if name == SOAK:
        return soak(place, options.seconds)
    return BY_SECONDS[name](place, options.seconds) if name in BY_SECONDS else BY_ROWS[name](place, options.rows)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="deploy/bench.sh", description="Measures the daemon against a reference and prints one JSON object per line."
    )
    made.add_argument("what", choices=list(dict.fromkeys([*GROUPS, *BY_ROWS, *BY_SECONDS, SOAK, PLATFORMS, PARSE])))
    made.add_argument("old", nargs="?", type=Path, metavar="OLD_CHECKOUT", help="parse: the checkout to compare with")
    made.add_argument("--exchange", metavar="NAME", help="parse: measure only this exchange")
    made.add_argument("--rounds", type=int, metavar="N", help="parse: rounds of each case")
    made.add_argument("--small", action="store_true", help="platforms: fill few rows, to try the command")
    made.add_argument("--runs", type=int, default=RUNS, metavar="N", help="platforms: executions of each query")
    made.add_argument("--alone", action="store_true", help="only the named benchmark of the groups write and live")
    made.add_argument(
        "--rows", type=int, metavar="N", help="rows of a round, at least 100; for indicators, the number of instruments"
    )
    made.add_argument("--seconds", type=float, metavar="N", help="memory, commit_lag and soak: duration")
    return made


def _options() -> argparse.Namespace:
    options = parser().parse_args()
    if (options.what == PARSE) != (options.old is not None):
        parser().error("OLD_CHECKOUT is required for parse, and allowed only there")
    return options


if __name__ == "__main__":
    sys.exit(main())
