"""The wheel contains every file that the daemon needs: it is built, installed into another folder, and run there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

PRINT_SCHEMA = "from ingest.store.schema_files import find; print(find())"
DATA = ("ingest/sources/crypto_overlay.json",)


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_contains_the_schema_and_the_command(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT), cwd=tmp_path)
    (wheel,) = tmp_path.glob("ingest-*.whl")
    site = tmp_path / "site"
    run(*pip, "install", "--quiet", "--no-deps", "--target", str(site), str(wheel), cwd=tmp_path)
    schema = Path(run(sys.executable, "-c", PRINT_SCHEMA, cwd=tmp_path, PYTHONPATH=str(site)))
    assert schema.is_relative_to(site)
    contained = {path.relative_to(schema): path.read_text() for path in schema.rglob("*.sql")}
    assert contained == {path.relative_to(ROOT / "schema"): path.read_text() for path in (ROOT / "schema").rglob("*.sql")}
    assert [(site / name).read_text() for name in DATA] == [(ROOT / name).read_text() for name in DATA]
    assert "ingest 0." in run(str(site / "bin" / "ingest"), "--version", cwd=tmp_path, PYTHONPATH=str(site))
