"""A file system of a few megabytes that can be filled and cleared. Needs root.

https://www.kernel.org/doc/html/latest/filesystems/tmpfs.html
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK = 1 << 16


class Disk:
    """The mounted file system at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Fill all free space."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(CHUNK))

    def clear(self) -> None:
        """Free the space again."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def mounted(path: Path, megabytes: int, owner: int = 0) -> Iterator[Disk]:
    """Mounts a new file system at `path` while the block runs. `owner` is the user id that owns it."""
    path.mkdir()
    options = f"size={megabytes}m,uid={owner},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True, capture_output=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True, capture_output=True)
