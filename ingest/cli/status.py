"""`ingest status`: prints the status that the daemon serves, and the versions and pending migrations of the database."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

import msgspec

from ingest.cli.configuration import configured
from ingest.config.settings import Settings
from ingest.daemon.db_readiness import admin
from ingest.daemon.health import DaemonState
from ingest.errors import IngestError
from ingest.sources.run_state import State
from ingest.store.migrate import check

TIMEOUT_SECONDS = 5.0


async def run(options: argparse.Namespace) -> int:
    """Returns 0 if the daemon is ready and the database answers, else 1."""
    settings = configured(options, sources=False)
    status = await _read_status(settings)
    code = 0 if status.get("daemon", {}).get("state") == DaemonState.READY else 1
    try:
        async with admin(settings.database) as connection:
            report = await check(connection)
            status["migrations"] = {"pending": [step.file.name for step in report.steps]}
            seen_by_daemon = {"state": State.OK, "detail": ""} | status.get("database", {})
            status["database"] = seen_by_daemon | msgspec.structs.asdict(report.database)
    except IngestError as error:
        status["database"] = {"state": State.FAILING, "detail": str(error)}
        code = 1
    if options.json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(_lines(status)))
    return code


async def _read_status(settings: Settings) -> dict[str, Any]:
    host, port = settings.server.host, settings.server.port
    try:
        return msgspec.json.decode(await asyncio.to_thread(_fetch, host, port), type=dict[str, Any])
    except (OSError, HTTPException, msgspec.DecodeError) as error:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/status"
        return {"daemon": {"state": "unreachable", "detail": f"no daemon answers at {url}: {error}"}}


def _fetch(host: str, port: int) -> bytes:
    """The body of /status. It uses the standard library, because importing aiohttp takes a fifth of a second of CPU."""
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/status")
        return connection.getresponse().read()
    finally:
        connection.close()


def _lines(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, part in value.items():
        if name == "queues":
            yield from _table(part)
        elif isinstance(part, Mapping):
            yield f"{indent}{name}"
            yield from _lines(part, indent + "  ")
        else:
            yield f"{indent}{name:<16} {_cell(part)}"


def _table(queues: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each table, a column for each field of its status."""
    if not queues:
        return
    rows = [["queues", *next(iter(queues.values()))]]
    rows += [[f"  {name}", *map(_cell, queue.values())] for name, queue in queues.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items()) or "0"
    return "-" if value is None or value == "" else str(value)
