"""deploy/quickstart.sh as a person runs it, into a database of our own; the tests must run from the .venv that it uses."""

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
    """Ours without what would configure the daemon, on a port that nobody has."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INGEST__")}
    return kept | {"DATABASE_URL": database, "INGEST__SERVER__PORT": "0"}


def run_demo(database: str, ending: str) -> tuple[int, str]:
    """Run it until it ends by itself, or by a signal once rows are stored: (status, last line)."""
    seconds = ["--seconds", "3" if ending == "by itself" else "60"]
    line = ""
    with subprocess.Popen([QUICKSTART, *seconds], env=environment(database), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if ending != "by itself" and re.match("rows stored: trades [1-9]", line):
                process.send_signal(signal.Signals[ending])
                ending = "by itself"  # from here on
    return process.returncode, line


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="would install .venv; deploy/test.sh runs from it")
@pytest.mark.parametrize("ending", ["by itself", "SIGINT", "SIGTERM"])
async def test_demo_stores_what_its_last_line_says(database: str, ending: str):
    status, line = run_demo(database, ending)
    said = {name: int(rows.replace(",", "")) for name, rows in re.findall(r"(\w+) ([\d,]+)  ", line)}
    connection = await asyncpg.connect(database)
    stored = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in said}
    await connection.close()
    assert status == 0
    assert said["trades"] > 0
    assert stored == said


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
