"""A private PostgreSQL with TimescaleDB for tests, benchmarks and the quickstart. It needs only the standard library.

https://www.postgresql.org/docs/current/app-initdb.html and https://www.postgresql.org/docs/current/server-shutdown.html
Every backend is in a process group of its own, so no process group contains the whole server. `kill` and `pause` find the backends
as children of the postmaster.

The server listens on a free port of 127.0.0.1 without passwords, so it is only for a developer's machine. It ends with the thread
that started it, even if that is killed (`setpriv --pdeathsig`), so start a cluster in the main thread.

    python3 deploy/cluster.py binaries                          prints the bin directory of the server; exit code 1 if there is none
    python3 deploy/cluster.py edition                           prints community or apache
    python3 deploy/cluster.py run --keep -- COMMAND ...         runs COMMAND with the address of a database; keeps the data
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import hashlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from installation import EDITIONS, Installed, NotInstalled, find_binaries, installed, newest

CHECKOUT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # no socket: the path of a checkout often exceeds the limit of 107 bytes
    "shared_preload_libraries": "timescaledb",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "100",
    "max_worker_processes": "40",  # a scheduler for each test database, and its jobs
    "timescaledb.max_background_workers": "24",
    "timescaledb.telemetry_level": "off",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, so that a killed server leaves nothing in /dev/shm
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
}


class ClusterError(RuntimeError):
    """The server cannot be created, started or queried. The message ends with the output of the server or its tool."""


# --- where a cluster lives ---------------------------------------------------------------------------------------------


def account() -> pwd.struct_passwd | None:
    """The account of the server: `postgres` if this process is root, which the server refuses; None for the process's own."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


def storage() -> Path:
    """The directory for clusters: `.local` of the checkout, or below /var/tmp if the server's account cannot enter the checkout."""
    owner = account()
    local = CHECKOUT / ".local"
    if owner and _run(["test", "-x", str(CHECKOUT)]).returncode:
        local = Path("/var/tmp", f"ingest-{hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:12]}")
    local.mkdir(exist_ok=True)
    if local.stat().st_uid != os.geteuid():
        raise ClusterError(f"{local} belongs to another user (uid {local.stat().st_uid}); remove it or run as that user")
    local.chmod(0o755)  # the server's account must be able to enter, whatever the umask
    return local


def kept_home(binaries: Path) -> Path:
    """The home of kept data, one for each major version, because a server cannot read the data of another major version."""
    return storage() / f"postgresql-{binaries.parent.name}"


def _temporary_home(root: Path) -> Path:
    """A new home for this process. It first removes the homes of processes that ended without cleaning up."""
    for stale in root.glob("cluster-*"):
        if not Path("/proc", stale.name.split("-")[1]).exists():
            shutil.rmtree(stale, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"cluster-{os.getpid()}-", dir=root))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `command` as the server's account and capture its output."""
    return subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, cwd="/", check=False, **_identity())


def _identity() -> dict[str, object]:
    owner = account()
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}


def free_port() -> int:
    """A free TCP port of 127.0.0.1.

    It is below the range from which the kernel takes ports for connections and for listeners on port 0, so that it is still free
    when a server starts again later.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(min(10_000, first // 2), first)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


# --- processes -----------------------------------------------------------------------------------------------------------


def _state(pid: int) -> tuple[str, int] | None:
    """(state, parent) of a process; None if it has ended, also if it is a zombie."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else (fields[0], int(fields[1]))


def _children(parent: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if (state := _state(pid)) and state[1] == parent]


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _moments(seconds: float) -> Iterator[None]:
    """Yield every 20 ms until `seconds` have passed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


# --- the cluster ---------------------------------------------------------------------------------------------------------


class Cluster:
    """One server with its data. Use it as a context manager, or call `start` and, when done, `close`.

    `license` is `apache` or `timescale`. With `home`, the data stays there, and the next start uses it. Without `home`, the data is
    in a new directory of `root` (default: `storage()`), which `close` removes. `seed` is the data directory of a stopped server, of
    which a new server starts with a copy. `settings` are added to SETTINGS. `version` is the installed version that runs, by
    default the newest of the edition. The port stays the same after stop, kill and start.
    """

    def __init__(
        self,
        license: str = "apache",
        *,
        home: Path | None = None,
        root: Path | None = None,
        seed: Path | None = None,
        settings: Mapping[str, str] | None = None,
        version: Installed | None = None,
    ) -> None:
        self.version = version or newest(license)
        self.binaries = self.version.binaries
        self.license = license
        self.port = free_port()
        self._kept = home is not None
        self.home = home or _temporary_home(root or storage())
        self._seed = seed
        self.data = self.home / "data"
        self.log = self.home / "server.log"
        self._settings = {**SETTINGS, "timescaledb.license": license, "port": str(self.port), **(settings or {})}
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def dsn(self, database: str = "postgres") -> str:
        """A connection string for the superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def start(self) -> None:
        """Create the data if there is none, start the server and return when it accepts connections."""
        if self.running:
            return
        atexit.register(self.close)
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self._configure()
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", "--", str(self.binaries / "postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # so that Ctrl-C at the terminal does not reach the server
                **_identity(),
            )
        self._await_ready()

    def stop(self) -> None:
        """Shut down in fast mode: disconnect the clients and write a checkpoint."""
        if self._server and self.running:
            self.resume()
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
        self._server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """Send SIGKILL to the postmaster and every backend, and return when all have ended."""
        if not self._server:
            return
        pids = self._freeze()
        _signal(pids, signal.SIGKILL)
        self._server.wait()
        self._server = None
        for _ in _moments(10):
            if not any(_state(pid) for pid in pids):
                break
        self._forget_shared_memory()

    def pause(self) -> None:
        """Send SIGSTOP to the whole server: connections stay open and nothing answers."""
        self._freeze()

    def resume(self) -> None:
        if self._server and self.running:
            _signal([self._server.pid, *_children(self._server.pid)], signal.SIGCONT)

    def follow(self, primary: Cluster) -> None:
        """Start as a hot standby of `primary`, on a copy of its data. Existing data is removed."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        self._make_home()
        options = ["-D", str(self.data), "-d", primary.dsn(), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        done = _run([str(self.binaries / "pg_basebackup"), *options])
        if done.returncode:
            raise ClusterError(f"pg_basebackup into {self.data}: {done.stderr.strip()}")
        self.start()

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run SQL as superuser with psql; returns its unaligned output."""
        command = ["-X", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(database), "-c", statement]
        done = _run([str(self.binaries / "psql"), *command])
        if done.returncode:
            raise ClusterError(f"{statement!r} on database {database!r}: {done.stderr.strip()}")
        return done.stdout.strip()

    def create(self, database: str) -> str:
        """Create a database with the extension, unless it exists. Returns its DSN. PUBLIC has no TEMPORARY privilege on it."""
        if not self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
            self.sql(f'CREATE DATABASE "{database}"')
            self.sql(f'REVOKE TEMPORARY ON DATABASE "{database}" FROM PUBLIC')
        extension = f"CREATE EXTENSION IF NOT EXISTS timescaledb VERSION '{self.version.timescaledb}'"
        self.sql(f"SET client_min_messages = error; {extension}", database)
        return self.dsn(database)

    def close(self) -> None:
        """Stop the server, and remove its data unless it is kept."""
        if self._kept:
            self.stop()
        else:
            self.kill()
            shutil.rmtree(self.home, ignore_errors=True)
        atexit.unregister(self.close)

    def _make_home(self) -> None:
        self.home.mkdir(exist_ok=True)
        self.home.chmod(0o755)
        self.data.mkdir(mode=0o700, exist_ok=True)
        if owner := account():
            os.chown(self.data, owner.pw_uid, owner.pw_gid)

    def _initialise(self) -> None:
        self._make_home()
        if self._seed:
            subprocess.run(["cp", "--archive", "--no-target-directory", str(self._seed), str(self.data)], check=True)
            return
        options = ["-D", str(self.data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        done = _run([str(self.binaries / "initdb"), *options])
        if done.returncode:
            raise ClusterError(f"initdb in {self.data}: {done.stderr.strip()}")

    def _configure(self) -> None:
        lines = [f"{name} = '{value}'\n" for name, value in self._settings.items()]
        (self.data / "postgresql.conf").write_text("".join(lines))

    def _await_ready(self) -> None:
        assert self._server is not None
        for _ in _moments(60):
            if self._server.poll() is not None:
                break
            with contextlib.suppress(FileNotFoundError):
                lines = (self.data / "postmaster.pid").read_text().splitlines()
                if len(lines) > 7 and lines[0] == str(self._server.pid) and lines[7].strip() in ("ready", "standby"):
                    return
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
        raise ClusterError(f"the server in {self.data} did not start on port {self.port}; the end of its log:\n{tail}")

    def _freeze(self) -> list[int]:
        """Send SIGSTOP to the postmaster first, so that it starts no backend, then to the backends. Returns the pids."""
        if not self._server or not self.running:
            return []
        postmaster = self._server.pid
        _signal([postmaster], signal.SIGSTOP)
        for _ in _moments(1):
            if (state := _state(postmaster)) is None or state[0] == "T":
                break
        backends = _children(postmaster)
        _signal(backends, signal.SIGSTOP)
        return [postmaster, *backends]

    def _forget_shared_memory(self) -> None:
        """Remove the System V segment that a killed server leaves; its number is on line 7 of postmaster.pid."""
        with contextlib.suppress(FileNotFoundError, IndexError):
            segment = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], capture_output=True, check=False)


# --- command line --------------------------------------------------------------------------------------------------------


def _run_command(cluster: Cluster, command: list[str]) -> int:
    """Run `command` with the cluster's address. Wait for it despite signals, so that it can drain before the server stops."""
    environment = {**os.environ, "INGEST__DATABASE__DSN": cluster.create("market")}
    child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *command], env=environment)
    signal.signal(signal.SIGINT, lambda number, frame: None)  # the terminal also sends it to the child
    signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
    return child.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="A private PostgreSQL with TimescaleDB.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("binaries", help="print the bin directory of the server")
    actions.add_parser("edition", help="print the edition, community or apache")
    run = actions.add_parser("run", help="run a command with the address of a server")
    run.add_argument("--edition", choices=list(EDITIONS), help="default: community if it is installed, else apache")
    run.add_argument("--keep", action="store_true", help="use the data of the last run, and keep it")
    run.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        binaries = find_binaries()
        edition = "community" if installed("community") else "apache"
        if options.action == "run":
            edition = options.edition or edition
            with Cluster(EDITIONS[edition], home=kept_home(binaries) if options.keep else None) as cluster:
                status = _run_command(cluster, options.command)
            print(f"cluster: stopped; the data is in {cluster.home}" if options.keep else "cluster: stopped and removed")
            return status
        print(binaries if options.action == "binaries" else edition)
    except (ClusterError, NotInstalled) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
