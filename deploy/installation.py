"""The versions of PostgreSQL and TimescaleDB that Debian's packages, Tiger's packages or a build have installed on this machine.

Only the standard library is needed. A server loads the library `timescaledb-VERSION.so` of the version that a database was created
with, so several versions can be installed beside each other.
https://docs.timescale.com/self-hosted/latest/upgrades/minor-upgrade/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

EDITIONS = {"apache": "apache", "community": "timescale"}  # edition -> the setting timescaledb.license


class NotInstalled(RuntimeError):
    """No PostgreSQL with TimescaleDB, or not the edition that is asked for."""


@dataclass(frozen=True)
class Installed:
    """One version of TimescaleDB that is installed for one PostgreSQL."""

    binaries: Path
    timescaledb: str
    community: bool  # whether the Community edition's library is there; Debian's package has only the Apache one

    @property
    def age(self) -> tuple[int, ...]:
        return (int(self.binaries.parent.name), *map(int, re.findall(r"\d+", self.timescaledb)))


def installed(edition: str = "apache") -> list[Installed]:
    """What is installed of an edition, ordered by the version of PostgreSQL and then of TimescaleDB, the oldest first."""
    found = []
    for binaries in Path("/usr/lib/postgresql").glob("[0-9]*/bin"):
        libraries, scripts = binaries.parent / "lib", Path("/usr/share/postgresql", binaries.parent.name, "extension")
        if not ((binaries / "postgres").exists() and (libraries / "timescaledb.so").exists()):
            continue
        for library in libraries.glob("timescaledb-[0-9]*.so"):
            version = library.stem.removeprefix("timescaledb-")
            if (scripts / f"timescaledb--{version}.sql").exists():
                found.append(Installed(binaries, version, (libraries / f"timescaledb-tsl-{version}.so").exists()))
    return sorted((one for one in found if one.community or edition == "apache"), key=lambda one: one.age)


def newest(license: str) -> Installed:
    """The newest that is installed of the edition of a license. Raises NotInstalled."""
    (edition,) = (name for name, value in EDITIONS.items() if value == license)
    binaries = find_binaries()
    if not (found := installed(edition)):
        raise NotInstalled(f"license {license!r}: {binaries.parent / 'lib'} has only the Apache edition")
    return found[-1]


def find_binaries() -> Path:
    """The bin directory of the newest installed PostgreSQL that has TimescaleDB. Raises NotInstalled."""
    if not (found := installed()):
        raise NotInstalled("no PostgreSQL with TimescaleDB under /usr/lib/postgresql; deploy/setup.sh installs one")
    return found[-1].binaries
