"""Damaged bytes of the spool, kept in files `.bad` as evidence for a person. The daemon never reads them back.

Rows have priority over evidence: the files count towards the bound of the spool, with a bound of their own within it, and the
oldest are deleted first.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


class Quarantine:
    """The `.bad` files of one spool, at most `max_bytes` in total."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._sizes: dict[Path, int] = {}  # oldest first

    def add(self, path: Path) -> None:
        """Count a file that an earlier run left."""
        with suppress(OSError):  # it was deleted in the meantime
            self._sizes[path] = path.stat().st_size
            self.bytes += self._sizes[path]

    def keep(self, path: Path, data: bytes, room: int) -> str:
        """Write a file if it fits into `room` and `max_bytes`. Returns the result, as part of a log line."""
        limit = min(self.max_bytes, room)
        if path in self._sizes:
            return f"kept as {path.name}"
        if len(data) > limit:
            return f"not kept: {len(data)} bytes exceed the {max(0, limit)} that are left"
        try:
            while self.bytes + len(data) > limit:
                self._delete_oldest()
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb") as file:
                file.write(data)
        except OSError as error:
            return f"could not be kept: {error.strerror}"
        self._sizes[path] = len(data)
        self.bytes += len(data)
        return f"kept as {path.name}"

    def _delete_oldest(self) -> None:
        path = next(iter(self._sizes))
        path.unlink(missing_ok=True)
        self.bytes -= self._sizes.pop(path)
        log.warning("spool: %s was deleted to keep damaged records within %d bytes", path.name, self.max_bytes)
