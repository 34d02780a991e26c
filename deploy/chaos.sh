#!/usr/bin/env bash
# Runs the daemon under random faults, from a printed seed, and compares its rows with the oracle of the simulated exchange.
#
#   deploy/chaos.sh --runs N --seed S [--kinds a,b] [--mutate drop|double|alter]
#
# It installs libfaketime (steps of the clock) and PgBouncer if they are missing. As root it can also break name resolution and fill
# disks; otherwise it names those kinds as skipped. Servers are private, on loopback, and end with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

{
    unset DATABASE_URL # only a private server: it is killed
    need_python
    need_database
    need_pooler
    need_faketime
    make_environment
} >&2
PYTHONPATH=deploy exec .venv/bin/python -m chaos "$@"
