#!/usr/bin/env bash
# Runs the daemon under random faults, drawn from a printed seed, and compares the stored rows with those of the simulated exchange.
#
#   deploy/chaos.sh --runs N --seed S [--kinds a,b] [--mutate drop|double|alter]
#   deploy/chaos.sh --fuzz N --seed S        # N mutated payloads through every parser, without a daemon and a database
#
# Installs libfaketime (for clock steps) and PgBouncer if they are missing. Faults of name resolution and full disks need root; without
# root they are skipped, and the output lists them. The servers are private, on loopback, and end with the command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

{
    unset DATABASE_URL # use a private server, because it is killed
    need_python
    if [[ " $* " != *" --fuzz "* ]]; then
        need_database
        need_pooler
        need_faketime
        make_environment
    else
        make_environment test
    fi
} >&2
PYTHONPATH=deploy exec .venv/bin/python -m chaos "$@"
