#!/usr/bin/env bash
# Measures the daemon against a reference, on a private server that ends with it: one JSON object a line on stdout.
#
#   deploy/bench.sh write|live|backfill|durability|coverage|indicators|all [--rows N] [--seconds N]
#   deploy/bench.sh platforms [--runs N] [--small]
#   deploy/bench.sh parse OLD_CHECKOUT [--exchange NAME] [--rounds N]
#
# write: write, write_duplicates. live: live, memory, commit_lag. backfill: backfill_candles, backfill_trades, and backfill, which is
# the lower of the two. durability: durability_spool, durability_always, durability_always_fsync, each beside memory. pair: two daemons'
# writers of the same rows beside one. indicators: how often the time from 100 candles of a minute to their 2,000 indicators fits into
# two seconds. Each of these is also taken by its own name. platforms: the queries that the platforms publish, at their volumes, on a
# server that stays (12 GB under .local, some minutes to fill), and what compression saves of the disk. parse: the processor time that
# a recorded frame takes here and in another checkout, for each exchange and channel; it needs no server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

# cryptofeed, which is measured against, has to be compiled once.
need_compiler() {
    [[ ${1:-} =~ ^(live|all)$ && ! -e .local/bench-peer/made-for ]] || return 0
    local header='import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("include"), "Python.h").stat()'
    command -v gcc >/dev/null && python3 -c "$header" 2>/dev/null || install "to compile cryptofeed" build-essential python3-dev
}

{
    unset DATABASE_URL # never somebody else's server: it is emptied, and its settings would not be known
    need_python
    need_database
    make_environment
    need_compiler "$@"
} >&2
PYTHONPATH=deploy exec .venv/bin/python -m bench "$@"
