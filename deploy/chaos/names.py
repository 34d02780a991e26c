"""Host names for the daemon alone: it runs in a mount namespace with other files /etc/hosts and /etc/resolv.conf. Needs root.

https://man7.org/linux/man-pages/man7/mount_namespaces.7.html - the files are written in place, because a new file of the same name
would not be the mounted file.
"""

from __future__ import annotations

from pathlib import Path

HOST = "database.test"  # RFC 6761 reserves .test
_ENTER = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'


class Names:
    """The database's host name, which can be removed and restored. `command` precedes the command of a process that uses it."""

    def __init__(self, folder: Path) -> None:
        self._hosts = folder / "hosts"
        resolver = folder / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")  # nothing answers there
        self.restore()
        self.command = ["unshare", "-m", "sh", "-c", _ENTER, "sh", str(self._hosts), str(resolver)]

    def restore(self) -> None:
        self._hosts.write_text(f"127.0.0.1 localhost {HOST}\n")

    def remove(self) -> None:
        self._hosts.write_text("127.0.0.1 localhost\n")
