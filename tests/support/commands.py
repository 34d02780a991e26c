"""The commands of `ingest` as processes."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import NamedTuple

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
