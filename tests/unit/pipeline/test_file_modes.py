"""The files that hold received data are readable by the daemon's user and group only, whatever the umask allows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.metrics import Metrics
from ingest.pipeline.quarantine import Quarantine
from ingest.pipeline.spool import open_spool
from ingest.store.known_instruments import Known, KnownInstruments
from ingest.store.ts_edition import DatabaseInfo
from ingest.transports.recorder import Recorder


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_folder_of_the_spool(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool, _ = open_spool(path, Counter(), max_bytes=1 << 20, sync_seconds=None)
    spool.close()
    assert mode(path) == 0o750


def test_damaged_records(tmp_path: Path) -> None:
    path = tmp_path / "trades-00000001-0.bad"
    assert Quarantine(100).keep(path, b"evidence", 100) == f"kept as {path.name}"
    assert (mode(path), path.read_bytes()) == (0o640, b"evidence")


def test_known_instruments(tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    path.write_bytes(b"{}")  # of an earlier version, readable by everybody
    KnownInstruments(path)._save(Known(DatabaseInfo("apache", "2.19.3", "15.20", 1), ()))
    assert mode(path) == 0o640


def test_captures(tmp_path: Path) -> None:
    folder = tmp_path / "captures" / "binance"
    recorder = Recorder(folder, "binance", "binance", max_bytes=1 << 20, rotate_seconds=60.0, metrics=Metrics())
    recorder._part_for([]).close()
    assert (mode(folder.parent), mode(folder)) == (0o750, 0o750)
    assert [mode(path) for path in folder.iterdir()] == [0o640]
