"""PgBouncer in transaction mode in front of a server: each transaction may run on another server connection.

https://www.pgbouncer.org/config.html. PgBouncer refuses to run as root, and its account cannot read root's files, so it reads its
configuration from stdin.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from cluster import account, free_port

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

INI = """
[databases]
market = host={host} port={port} dbname={name} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


class Pooler:
    """One PgBouncer for the server of `dsn`. The attribute `dsn` is the address through it. `folder` is for its files."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.port = free_port()
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/market"
        target = urlsplit(dsn)
        values = {"host": target.hostname, "port": target.port, "name": target.path[1:], "user": target.username}
        self._ini = folder / "pgbouncer.ini"
        self._ini.write_text(INI.format(listen=self.port, **values))
        self._log = folder / "pgbouncer.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        owner = account()
        identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
        assert PGBOUNCER is not None, "Debian's package pgbouncer is not installed"
        command = ["setpriv", "--pdeathsig", "KILL", "--", PGBOUNCER, "/dev/stdin"]
        with self._ini.open("rb") as ini, self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=ini, stdout=log, stderr=log, cwd="/", **identity)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: every client loses its connection."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
