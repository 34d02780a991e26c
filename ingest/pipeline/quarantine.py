"""Damaged bytes of the spool, kept aside in files `.bad` for a person to look at: evidence, which nobody ever reads back.

The rule one would get wrong: rows come before evidence. The files are part of the spool's bound, with a share of their own, and the
oldest go first.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


class Quarantine:
    """The files kept aside, at most `max_bytes` of them."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._sizes: dict[Path, int] = {}  # oldest first

    def add(self, path: Path) -> None:
        """One that an earlier run left."""
        with suppress(OSError):  # somebody took it away just now
            self._sizes[path] = path.stat().st_size
            self.bytes += self._sizes[path]

    def keep(self, path: Path, data: bytes, room: int) -> str:
        """Write one, where it fits into `room` and our share; what was done, in words."""
        limit = min(self.max_bytes, room)
        if path in self._sizes:
            return f"kept aside as {path.name}"
        if len(data) > limit:
            return f"and not kept aside: {len(data)} bytes are more than the {max(0, limit)} there is room for"
        try:
            while self.bytes + len(data) > limit:
                self._delete_oldest()
            path.write_bytes(data)
        except OSError as error:
            return f"and could not be kept aside: {error.strerror}"
        self._sizes[path] = len(data)
        self.bytes += len(data)
        return f"kept aside as {path.name}"

    def _delete_oldest(self) -> None:
        path = next(iter(self._sizes))
        path.unlink(missing_ok=True)
        self.bytes -= self._sizes.pop(path)
        log.warning("spool: %s was deleted to stay within %d bytes of what is kept aside", path.name, self.max_bytes)
