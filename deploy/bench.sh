#!/usr/bin/env bash
# Measures the daemon against a reference, on a private server that ends with it. Prints one JSON object per line.
#
#   deploy/bench.sh write|live|backfill|durability|coverage|pair|indicators|all [--rows N] [--seconds N]
#   deploy/bench.sh soak [--seconds N]
#   deploy/bench.sh platforms [--runs N] [--small]
#   deploy/bench.sh parse OLD_CHECKOUT [--exchange NAME] [--rounds N]
#
# write:      write and write_duplicates.
# live:       live, memory and commit_lag.
# backfill:   backfill_candles and backfill_trades; then backfill, the lower result of the two.
# durability: durability_spool, durability_always and durability_always_fsync, each against memory.
# coverage:   trades with the coverage ledger against trades without it.
# pair:       the writers of two daemons with the same rows against the writer of one.
# indicators: two seconds divided by the time until the 2,000 indicators of 100 candles are committed.
# all:        all of these. Each name of a single benchmark can be given as well.
# soak:       the growth of memory, descriptors and tasks in an hour under attack, and the slowest answer of /livez.
# platforms:  the queries that the platforms publish, at their volumes, and the disk space that compression saves. The data is kept
#             (12 GB under .local, some minutes to fill).
# parse:      the CPU time of a recorded frame in this checkout and in another, by exchange and channel; needs no server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

# cryptofeed, the reference of `live`, is compiled once.
need_compiler() {
    [[ ${1:-} =~ ^(live|all)$ && ! -e .local/bench-peer/made-for ]] || return 0
    local header='import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("include"), "Python.h").stat()'
    command -v gcc >/dev/null && python3 -c "$header" 2>/dev/null || install "to compile cryptofeed" build-essential python3-dev
}

{
    unset DATABASE_URL # use a private server: its tables are emptied, and its settings must be known
    need_python
    need_database
    if [[ ${1:-} =~ ^(parse|soak)$ ]]; then make_environment test; else make_environment; fi # the recordings are read by the tests' code
    need_compiler "$@"
} >&2
PYTHONPATH=deploy exec .venv/bin/python -m bench "$@"
