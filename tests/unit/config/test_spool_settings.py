"""The settings of the spool: their effect, and the messages of wrong values."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ingest.config.settings import Settings, load
from ingest.daemon.write_path import spool_path
from ingest.errors import Stop
from ingest.tables import TABLES

DATABASE = '[database]\ndsn = "postgresql://writer@localhost/market"\n'


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "ingest.toml"


def loaded(toml: Path, text: str) -> Settings:
    toml.write_text(text)
    return load(toml)


def test_durations_and_keywords_are_read(toml: Path):
    section = f'[spool]\npath = "{toml.parent}"\nfsync = "250 ms"\nstart_after = "10s"\nwhen_full = {{ trades = "shed" }}\n'
    spool = loaded(toml, DATABASE + section).spool
    assert (spool.path, spool.fsync, spool.start_after) == (toml.parent, timedelta(milliseconds=250), timedelta(seconds=10))
    assert spool.when_full == {table.name: "wait" for table in TABLES} | {"trades": "shed"}
    assert loaded(toml, DATABASE + '[spool]\nfsync = "never"\n').spool.fsync == "never"


@pytest.mark.parametrize(
    ("durability", "path", "spools"),
    [("", "", False), ("", "here", True), ("memory", "here", False), ("spool", "here", True), ("always", "here", True)],
)
def test_there_is_a_spool_if_a_path_is_set_and_durability_is_not_memory(toml: Path, durability: str, path: str, spools: bool):
    first = f'durability = "{durability}"\n' if durability else ""
    last = f'[spool]\npath = "{toml.parent / path}"\n' if path else ""
    assert spool_path(loaded(toml, first + DATABASE + last)) == (toml.parent / path if spools else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'durability = "always"\n{DATABASE}', 'durability: "always" needs spool.path; right would be "/var/lib/ingest/spool"'),
        (
            f'{DATABASE}[spool]\nfsync = "sometimes"\n',
            'spool.fsync: \'sometimes\' is not a duration; right would be "90 days", "12 hours", "1s" or "500 ms"; '
            'or "always" or "never"',
        ),
        (
            f'{DATABASE}[spool]\nwhen_full = {{ tardes = "shed" }}\n',
            "spool.when_full: unknown table 'tardes'; known: trades, candles",
        ),
        (f"{DATABASE}[spool]\nmax_bytes = 5\n", "spool.max_bytes: Input should be greater than or equal to 65536 (got 5)"),
        (f"{DATABASE}[spool]\nsize = 5\n", "spool.size: unknown key; known: path, max_bytes, fsync, start_after, when_full"),
    ],
)
def test_the_message_of_a_wrong_setting_names_the_right_value(toml: Path, text: str, message: str):
    with pytest.raises(Stop) as stop:
        loaded(toml, text)
    assert message in str(stop.value)
