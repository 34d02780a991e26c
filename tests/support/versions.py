"""The versions of TimescaleDB and PostgreSQL that a test runs on.

Where several are installed, the tests of the Apache edition run on the oldest and those of the Community edition on the newest.
Two clusters so cover both editions and both ends of the versions. A test with `every_version` runs on the oldest and the newest of
each edition.
"""

from __future__ import annotations

import os

import pytest
from installation import EDITIONS, Installed, installed


def versions(edition: str) -> list[Installed | None]:
    """The oldest and the newest version of an edition, or the only one; None is the version of the server of DATABASE_URL."""
    if "DATABASE_URL" in os.environ or not (found := installed(edition)):
        return [None]
    return [found[0], *found[1:][-1:]]


def usual(edition: str) -> Installed | None:
    """The version that the tests of an edition run on."""
    return versions(edition)[0 if edition == "apache" else -1]


_EVERY = [(edition, version) for edition in EDITIONS for version in versions(edition)]

every_version = pytest.mark.parametrize(
    ("edition", "version"),
    _EVERY,
    indirect=True,
    ids=[f"{edition}-{version.timescaledb}" if version else edition for edition, version in _EVERY],
)
