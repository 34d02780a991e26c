"""Names that only the daemon sees: an /etc/hosts and an /etc/resolv.conf in a mount namespace of its own.

Only root may have one.

https://man7.org/linux/man-pages/man7/mount_namespaces.7.html - the files are written in place: a new file
of the same name would not be the one that is mounted.
"""

from __future__ import annotations

from pathlib import Path

HOST = "database.test"  # RFC 6761: never anybody's
_ENTER = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'


class Names:
    """The one name, known or not; `command` is what a process is started with to see it."""

    def __init__(self, folder: Path) -> None:
        self._hosts = folder / "hosts"
        resolver = folder / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")  # where nobody answers
        self.know()
        self.command = ["unshare", "-m", "sh", "-c", _ENTER, "sh", str(self._hosts), str(resolver)]

    def know(self) -> None:
        self._hosts.write_text(f"127.0.0.1 localhost {HOST}\n")

    def forget(self) -> None:
        self._hosts.write_text("127.0.0.1 localhost\n")
