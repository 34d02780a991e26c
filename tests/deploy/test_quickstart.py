"""deploy/quickstart.sh as a user runs it, on a test's database. The tests must run from the .venv that the script uses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from tests.support.paths import ROOT

QUICKSTART = str(ROOT / "deploy" / "quickstart.sh")


def environment(database: str = "") -> dict[str, str]:
    """The environment without settings of the daemon; it listens on a free port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INGEST__")}
    return kept | {"DATABASE_URL": database, "INGEST__SERVER__PORT": "0"}


def run_demo(database: str, ending: str) -> tuple[int, str]:
    """Run the demo until it ends by itself, or send a signal when rows are stored. Returns (exit code, last line)."""
    seconds = ["--seconds", "3" if ending == "by itself" else "60"]
    line = ""
    with subprocess.Popen([QUICKSTART, *seconds], env=environment(database), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if ending != "by itself" and re.match("rows stored: trades [1-9]", line):
                process.send_signal(signal.Signals[ending])
                ending = "by itself"  # send one signal only
    return process.returncode, line


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="would install .venv; deploy/test.sh runs from it")
@pytest.mark.parametrize("ending", ["by itself", "SIGINT", "SIGTERM"])
async def test_the_last_line_of_the_demo_counts_the_stored_rows(database: str, ending: str):
    status, line = run_demo(database, ending)
    shown = {name: int(rows.replace(",", "")) for name, rows in re.findall(r"(\w+) ([\d,]+)  ", line)}
    connection = await asyncpg.connect(database)
    stored = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in shown}
    await connection.close()
    assert status == 0
    assert shown["trades"] > 0
    assert stored == shown


@pytest.mark.parametrize(
    "wrong", [["--live"], ["--live", "binance"], ["--seconds", "soon"], ["--demo"], ["--live", 'a"b', "BTC/USDT"]]
)
def test_a_wrong_argument_shows_the_right_ones(wrong: list[str]):
    done = subprocess.run([QUICKSTART, *wrong], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    shown = done.stderr.splitlines()
    assert [line.split("  ")[0] for line in shown] == [
        "deploy/quickstart.sh [--seconds N]",
        "deploy/quickstart.sh --live binance BTC/USDT ... [--seconds N]",
    ]
