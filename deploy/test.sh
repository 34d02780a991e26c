#!/usr/bin/env bash
# Installs what the tests need, prints what it installs, and runs the tests: deploy/test.sh [--all] [PYTEST ARGUMENT...]
# --all also runs the tests that are marked long. There is a process for each core, at most four; `-n 0` uses a single process.
# With DATABASE_URL, the tests use that server. Without it, they start private servers, which end with them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/setup.sh

need_python
need_database
need_pooler
make_environment test

say "ruff, mypy"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
say "pytest"
exec .venv/bin/pytest -n auto --maxprocesses 4 --dist worksteal "$@" </dev/null
