#!/usr/bin/env bash
# Installs what the tests need, prints what it installs, and runs them: deploy/test.sh [PYTEST ARGUMENT...]
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
exec .venv/bin/pytest "$@" </dev/null
