#!/usr/bin/env bash
# Runs the daemon under random faults, drawn from a printed seed, and compares the stored rows with those of the simulated exchange.
#
#   deploy/chaos.sh --runs N --seed S [--kinds a,b] [--mutate drop|double|alter]
#
# Installs libfaketime (for clock steps) and PgBouncer if they are missing. Faults of name resolution and full disks need root; without
# root they are skipped, and the output lists them. The servers are private, on loopback, and end with the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

{
    unset DATABASE_URL # use a private server, because it is killed
    need_python
    need_database
    need_pooler
    need_faketime
    make_environment
} >&2
PYTHONPATH=deploy exec .venv/bin/python -m chaos "$@"
