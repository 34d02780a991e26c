"""The commands of `ingest` as processes, and the roles of schema/roles.sql."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import NamedTuple
from urllib.parse import urlsplit

from installation import find_binaries

from ingest.store.schema_files import find
from tests.support.paths import ROOT


class Done(NamedTuple):
    code: int
    out: list[str]
    err: str


async def ingest(*arguments: str, dsn: str = "", **settings: str) -> Done:
    """Run `python -m ingest` with these settings in its environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INGEST__")}
    environment |= {f"INGEST__{name}": value for name, value in settings.items()}
    environment |= {"INGEST__DATABASE__DSN": dsn, "INGEST__LOG__LEVEL": "error"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", *arguments), cwd=ROOT, env=environment, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    return Done(process.returncode or 0, out.decode().splitlines(), err.decode())


def run_roles(dsn: str) -> None:
    """Run schema/roles.sql as the superuser of `dsn`."""
    command = [str(find_binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", str(find() / "roles.sql")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def as_role(dsn: str, role: str) -> str:
    """The DSN with another user, without a password."""
    return urlsplit(dsn)._replace(netloc=f"{role}@{urlsplit(dsn).netloc.rpartition('@')[2]}").geturl()
