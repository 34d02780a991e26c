"""Finds the versions of PostgreSQL and TimescaleDB on this machine, installed from packages of Debian or Tiger, or built.

It needs only the standard library. A server loads the library `timescaledb-VERSION.so` of the version that a database was created
with, so several versions can be installed at the same time.
https://docs.timescale.com/self-hosted/latest/upgrades/minor-upgrade/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

EDITIONS = {"apache": "apache", "community": "timescale"}  # edition -> the setting timescaledb.license


class NotInstalled(RuntimeError):
    """No PostgreSQL with TimescaleDB is installed, or not in the requested edition."""


@dataclass(frozen=True)
class Installed:
    """One installed version of TimescaleDB for one version of PostgreSQL. `binaries` is the server's bin directory."""

    binaries: Path
    timescaledb: str
    community: bool  # whether the Community edition's library is installed; Debian's package has only the Apache edition

    @property
    def version_key(self) -> tuple[int, ...]:
        """Sorts by the version of PostgreSQL, then by that of TimescaleDB."""
        return (int(self.binaries.parent.name), *map(int, re.findall(r"\d+", self.timescaledb)))


def installed(edition: str = "apache") -> list[Installed]:
    """All installed versions of an edition, the oldest first; `version_key` defines the order."""
    found = []
    for binaries in Path("/usr/lib/postgresql").glob("[0-9]*/bin"):
        libraries, scripts = binaries.parent / "lib", Path("/usr/share/postgresql", binaries.parent.name, "extension")
        if not ((binaries / "postgres").exists() and (libraries / "timescaledb.so").exists()):
            continue
        for library in libraries.glob("timescaledb-[0-9]*.so"):
            version = library.stem.removeprefix("timescaledb-")
            if (scripts / f"timescaledb--{version}.sql").exists():
                found.append(Installed(binaries, version, (libraries / f"timescaledb-tsl-{version}.so").exists()))
    return sorted((item for item in found if item.community or edition == "apache"), key=lambda item: item.version_key)


def newest(license: str) -> Installed:
    """The newest installed version with this `timescaledb.license`, `apache` or `timescale`. Raises NotInstalled."""
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
