#!/usr/bin/env bash
# Measures the daemon against a reference, on a private server that ends with it. Prints one JSON object per line.
#
#   deploy/bench.sh write|live|backfill|durability|coverage|indicators|all [--rows N] [--seconds N]
#   deploy/bench.sh platforms [--runs N] [--small]
#   deploy/bench.sh parse OLD_CHECKOUT [--exchange NAME] [--rounds N]
#
# write: write, write_duplicates. live: live, memory, commit_lag. backfill: backfill_candles, backfill_trades, and backfill, which is
# the lower of the two. durability: durability_spool, durability_always, durability_always_fsync, each beside memory. pair: two daemons'
# writers of the same rows beside one. indicators: the share of minutes in which the 2,000 indicators of 100 candles are committed
# within two seconds. Each name can be given by itself. platforms: the queries that the platforms publish, at their volumes, on a
# server that is kept (12 GB under .local, some minutes to fill), and how much disk compression saves. parse: the processor time that
# a recorded frame takes here and in another checkout, for each exchange and channel; it needs no server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

# cryptofeed, the reference of live, must be compiled once.
need_compiler() {
    [[ ${1:-} =~ ^(live|all)$ && ! -e .local/bench-peer/made-for ]] || return 0
    local header='import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("include"), "Python.h").stat()'
    command -v gcc >/dev/null && python3 -c "$header" 2>/dev/null || install "to compile cryptofeed" build-essential python3-dev
}

{
    unset DATABASE_URL # only a private server: it is emptied, and its settings must be known
    need_python
    need_database
    make_environment
    need_compiler "$@"
} >&2
PYTHONPATH=deploy exec .venv/bin/python -m bench "$@"
