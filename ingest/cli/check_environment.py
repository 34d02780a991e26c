"""What `ingest check` tries besides configuration and schema: privileges, folders, the spelling of instruments, daemon names."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from msgspec import Struct

from ingest.config.settings import Settings
from ingest.daemon.write_path import spool_path
from ingest.store.pool import Connection
from ingest.store.writer_rights import everyone_adds_jobs, lease_holders, missing_rights, stored_names

_UNIFIED = re.compile(r"[^/\s]+/[^/\s]+")


class Findings(Struct):
    """What is wrong, and what may be wrong: the second does not change the exit code."""

    problems: list[str] = []
    notes: list[str] = []


async def find(settings: Settings, writer: Connection) -> Findings:
    """Tries everything, and changes nothing. `writer` is a connection to `database.dsn`."""
    found = Findings()
    found.problems += [f"database.dsn: {line}" for line in await missing_rights(writer)]
    if await everyone_adds_jobs(writer):
        found.notes.append("every role may add jobs of TimescaleDB, which run in the background: run schema/roles.sql")
    found.problems += await asyncio.to_thread(lambda: list(_folders(settings)))
    _spell(settings, await stored_names(writer), found)
    holders = await lease_holders(writer, settings.name)
    if len(holders) > 1:
        found.problems.append(
            f"name: {len(holders)} daemons have the name '{settings.name}' ({', '.join(holders)}); give each its own"
        )
    elif holders:
        found.notes.append(f"name: a daemon with the name '{settings.name}' is running; another one needs another name")
    return found


def _folders(settings: Settings) -> Iterator[str]:
    """Write a file, which is removed, into the folders of the spool and of the captures."""
    folders = {"spool.path": spool_path(settings)}
    if any(section.capture for section in settings.exchanges.values()):
        folders["capture.path"] = settings.capture.path
    for setting, folder in folders.items():
        if folder is not None and (error := _unwritable(folder.absolute())):
            yield f"{setting} {folder}: {error}; right would be a directory that this user may write to"


def _unwritable(folder: Path) -> str:
    """Why the folder, or the nearest existing one in which it would be made, takes no file; '' if it does."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with NamedTemporaryFile(dir=existing, prefix=".ingest-check-") as file:
            file.write(b"ingest check\n")
            file.flush()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _spell(settings: Settings, stored: dict[str, set[str]], found: Findings) -> None:
    """Compare the configured instruments with the stored ones. One that was never streamed is not stored yet."""
    for name, section in settings.exchanges.items():
        known = stored.get(name, set())
        for instrument in section.instruments:
            near = ", ".join(difflib.get_close_matches(instrument, known, 3)) or "none"
            if instrument in known:
                continue
            if not _UNIFIED.fullmatch(instrument):
                right = f"right would be a spelling such as BTC/USDT; stored and near: {near}"
                found.problems.append(f"exchanges.{name}.instruments: '{instrument}' is no market; {right}")
            elif known:
                found.notes.append(f"exchanges.{name}.instruments: '{instrument}' is not stored yet; stored and near: {near}")
