"""Selects the installed versions of TimescaleDB and PostgreSQL on which a test runs.

Tests of the Apache edition run on the oldest version and those of the Community edition on the newest, so that two clusters cover
both editions and both ends. A test with `every_version` runs on the oldest and the newest version of each edition.
"""

from __future__ import annotations

import os

import pytest
from installation import EDITIONS, Installed, installed


def versions(edition: str) -> list[Installed | None]:
    """The oldest and the newest version of an edition, once if they are the same; None is that of the server of DATABASE_URL."""
    if "DATABASE_URL" in os.environ or not (found := installed(edition)):
        return [None]
    return [found[0], *found[1:][-1:]]


def usual(edition: str) -> Installed | None:
    """The version on which the tests of an edition run."""
    return versions(edition)[0 if edition == "apache" else -1]


_EVERY = [(edition, version) for edition in EDITIONS for version in versions(edition)]

every_version = pytest.mark.parametrize(
    ("edition", "version"),
    _EVERY,
    indirect=True,
    ids=[f"{edition}-{version.timescaledb}" if version else edition for edition, version in _EVERY],
)
