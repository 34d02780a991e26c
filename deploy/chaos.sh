#!/usr/bin/env bash
# Breaks everything around the daemon, from a printed seed, and asks the oracle whether a row is unaccounted for.
#
#   deploy/chaos.sh --runs N --seed S [--kinds a,b] [--mutate drop|double|alter]
#
# It installs libfaketime (steps of the clock) and PgBouncer where they are missing. As root it can also take away names and disks;
# otherwise those kinds are skipped by name. Servers are private ones, on loopback, and end with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

{
    unset DATABASE_URL # never somebody else's server: it is killed
    need_python
    need_database
    need_pooler
    need_faketime
    make_environment
} >&2
PYTHONPATH=deploy exec .venv/bin/python -m chaos "$@"
