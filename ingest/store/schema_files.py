"""The files under schema/: their names, the order in which they run, and the hash by which an edit is detected.

    migrations/NNNN_<noun>.sql     run once, on both editions
    community/NNNN_<noun>.sql      run once, on the Community edition
    repeatable/<noun>.sql          run again when the text changes; grants.sql last, and again after every other change
    <any of these>.rollback.sql    reverts the file

The two versioned folders are one sequence, ordered by version (NNNN).
"""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from ingest.errors import Stop

VERSIONED = ("migrations", "community")
REPEATABLE = "repeatable"
GRANTS = "repeatable/grants.sql"  # runs last: it grants privileges on what the others create
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+")


class File(Struct, frozen=True):
    """One file: `name` is its path in schema/, `version` is None for a repeatable file, `rollback` is the SQL that reverts it."""

    name: str
    version: int | None
    text: str
    sha256: str
    rollback: str

    @property
    def community_only(self) -> bool:
        return self.name.startswith("community/")


class Schema(Struct, frozen=True):
    """All files, in the order in which they run."""

    folder: Path
    versioned: tuple[File, ...]
    repeatable: tuple[File, ...]

    @property
    def version(self) -> int:
        """The newest version; 0 if there are no files."""
        return max((file.version or 0 for file in self.versioned), default=0)

    def text(self, name: str) -> str:
        """The text of any file, by its path in schema/."""
        return (self.folder / name).read_text(encoding="utf-8")


def find() -> Path:
    """The folder schema/: that of the installed wheel, or else that of the checkout. Raises Stop if there is none."""
    package = Path(__file__).parent.parent
    for folder in (package / "_schema", package.parent / "schema"):
        if folder.is_dir():
            return folder
    raise Stop(f"the schema files are missing: neither {package}/_schema nor {package.parent}/schema is a folder")


def read(folder: Path) -> Schema:
    """Read every file. Raises Stop for a name without a version, a version that is used twice, or a missing rollback file."""
    versioned = sorted((file for name in VERSIONED for file in _files(folder, name)), key=lambda file: file.version or 0)
    for earlier, later in pairwise(versioned):
        if earlier.version == later.version:
            raise Stop(f"{earlier.name} and {later.name} have the same version; give one of them the next free number")
    repeatable = sorted(_files(folder, REPEATABLE), key=lambda file: file.name == GRANTS)
    return Schema(folder, tuple(versioned), tuple(repeatable))


def _files(folder: Path, kind: str) -> list[File]:
    paths = sorted(path for path in (folder / kind).glob("*.sql") if not path.name.endswith(".rollback.sql"))
    return [_file(path, kind) for path in paths]


def _file(path: Path, kind: str) -> File:
    name = f"{kind}/{path.name}"
    match = _NAME.fullmatch(path.stem)
    if kind != REPEATABLE and not match:
        raise Stop(f"{name}: a migration is called NNNN_<noun>.sql")
    rollback = path.with_suffix(".rollback.sql")
    if not rollback.exists():
        raise Stop(f"{name} has no {rollback.name}: write the SQL that reverts it")
    data = path.read_bytes()
    version = int(match[1]) if match and kind != REPEATABLE else None
    return File(name, version, data.decode(), hashlib.sha256(data).hexdigest(), rollback.read_text(encoding="utf-8"))
