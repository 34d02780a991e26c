#!/usr/bin/env bash
# Installs what the tests need, prints what it installs, and runs them: deploy/test.sh [--all] [PYTEST ARGUMENT...]
# --all runs the tests marked long as well. Each core has a process of its own; `-n 0` runs all tests in one.
# DATABASE_URL names a server to test against; without it the tests start private servers, which end with them.
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
