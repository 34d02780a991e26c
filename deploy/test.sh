#!/usr/bin/env bash
# Sets up what the tests need, says what it installs, and passes them: deploy/test.sh [PYTEST ARGUMENT...]
# DATABASE_URL names a server to test against; without it they start private ones, which end with them.
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
