"""Bring the schema of a database to the version of the files, or back: `ingest migrate`.

Each file is one transaction together with its line in the ledger, so a runner that is killed leaves either both or neither. Runners
queue up behind an advisory lock (https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS).
The rule one would get wrong: that lock belongs to the server's session, so the connection must be a direct one, never through
PgBouncer in transaction mode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from ingest.errors import Hold, IngestError, Stop
from ingest.store import bar_views, migration_log
from ingest.store.migration_log import Entry
from ingest.store.pool import Connection, transaction
from ingest.store.schema_files import GRANTS, File, Schema, find, read
from ingest.store.sqlstate import FOREIGN, translate
from ingest.store.ts_edition import DatabaseInfo, Edition, detect, require

COLLISION = "tuple concurrently"  # updated, or deleted: a background job of TimescaleDB's was at the same row of the catalogue
ATTEMPTS = 5
LOCK_TIMEOUT = "10s"  # a migration that waits for a table makes every writer behind it wait as well

Action = Literal["apply", "skip", "roll back", "forget"]  # forget: take back what had only been skipped
STATUS: dict[Action, migration_log.Status] = {
    "apply": "applied",
    "skip": "skipped",
    "roll back": "rolled_back",
    "forget": "rolled_back",
}


class Step(Struct, frozen=True):
    """One thing done with one file, or to be done."""

    action: Action
    file: File

    def __str__(self) -> str:
        return f"{self.action} {self.file.name}"


class Report(Struct, frozen=True):
    """What was done (after `check` or a dry run: what would be), in order, and the database as it is now."""

    steps: tuple[Step, ...]
    database: DatabaseInfo

    @property
    def current(self) -> bool:
        """After `check`: whether nothing is pending."""
        return not self.steps


async def migrate(
    connection: Connection,
    *,
    to: int | None = None,
    rollback: int | None = None,
    dry_run: bool = False,
    schema: Schema | None = None,
) -> Report:
    """Apply what is pending (up to version `to`), or take back everything that is newer than version `rollback`.

    Creates the extension where it is missing. Raises Stop for a schema that only a person can mend, Retry where a lock or the
    line was lost; what was committed before that stays and is in the ledger.
    """
    schema = schema or read(find())
    if dry_run:
        return await check(connection, to=to, rollback=rollback, schema=schema)
    async with migration_log.alone(connection):
        await _create_extension(connection)
        await connection.execute(migration_log.TABLE)
        planned = await check(connection, to=to, rollback=rollback, schema=schema)
        if rollback is None:
            await _forward(connection, planned, schema, complete=to in (None, schema.version))
        else:
            await _back(connection, planned, schema)
        return Report(planned.steps, await detect(connection))


async def check(
    connection: Connection,
    *,
    to: int | None = None,
    rollback: int | None = None,
    schema: Schema | None = None,
) -> Report:
    """What `migrate` would do; nothing is changed. Raises Stop as it would."""
    schema = schema or read(find())
    database = await detect(connection)
    entries = await migration_log.read(connection)
    migration_log.verify(schema, entries)
    for version in (to, rollback):
        _require_known(version, schema)
    steps = plan(schema, entries, database.edition, to) if rollback is None else plan_rollback(schema, entries, rollback)
    return Report(tuple(steps), database)


def _require_known(version: int | None, schema: Schema) -> None:
    known = [file.version for file in schema.versioned]
    if version and version not in known:
        raise Stop(f"there is no version {version}; known: {', '.join(str(one) for one in known)}")


# --- what is to be done -------------------------------------------------------------------------------------------------


def plan(schema: Schema, entries: Mapping[str, Entry], edition: Edition, to: int | None = None) -> list[Step]:
    """The steps forward. Repeatable files read what the versioned ones make, so they run only once all of those are there.

    The grants run after every other step: what is created anew has none.
    """
    limit = schema.version if to is None else to
    steps = [_step(file, edition) for file in schema.versioned if _due(file, entries, edition) and (file.version or 0) <= limit]
    if limit < schema.version:
        return steps
    for file in schema.repeatable:
        if _changed(file, entries) or (file.name == GRANTS and steps):
            steps.append(Step("apply", file))
    return steps


def _step(file: File, edition: Edition) -> Step:
    return Step("skip" if file.community_only and edition == "apache" else "apply", file)


def _due(file: File, entries: Mapping[str, Entry], edition: Edition) -> bool:
    entry = entries.get(file.name)
    if entry is None or entry.status == "rolled_back":
        return True
    return entry.status == "skipped" and edition == "community"


def _changed(file: File, entries: Mapping[str, Entry]) -> bool:
    entry = entries.get(file.name)
    return entry is None or entry.status == "rolled_back" or entry.sha256 != file.sha256


def plan_rollback(schema: Schema, entries: Mapping[str, Entry], version: int) -> list[Step]:
    """The steps back to `version`, which stays: first the repeatable files, which stand on the others, then the newest first."""
    present = {name: entry for name, entry in entries.items() if entry.status != "rolled_back"}
    newer = [file for file in schema.versioned if file.name in present and (file.version or 0) > version]
    if not newer:
        return []
    views = [file for file in schema.repeatable if file.name in present]
    return [_step_back(file, present[file.name]) for file in reversed([*newer, *views])]


def _step_back(file: File, entry: Entry) -> Step:
    return Step("forget" if entry.status == "skipped" else "roll back", file)


# --- doing it -----------------------------------------------------------------------------------------------------------


async def _forward(connection: Connection, planned: Report, schema: Schema, *, complete: bool) -> None:
    edition = planned.database.edition
    for step in planned.steps:
        if step.file.version is not None:
            await _run(connection, step, edition)
    if complete:
        await bar_views.switch(connection, schema=schema)
    for step in planned.steps:
        if step.file.version is None:
            await _run(connection, step, edition)


async def _back(connection: Connection, planned: Report, schema: Schema) -> None:
    """The views on the bars stand on what is taken back, so they go as well; the next `migrate` makes them again."""
    edition = planned.database.edition
    for step in planned.steps:
        if step.file.version is None:
            await _run(connection, step, edition)
    if planned.steps:
        await bar_views.remove(connection, schema=schema)
    for step in planned.steps:
        if step.file.version is not None:
            await _run(connection, step, edition)


async def _run(connection: Connection, step: Step, edition: Edition) -> None:
    """One file and its line in the ledger, in one transaction."""
    for attempt in range(ATTEMPTS):
        try:
            async with transaction(connection, isolation="read_committed"):
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL search_path = public")
                for sql in _texts(step):
                    await connection.execute(sql)
                await migration_log.write(connection, step.file, STATUS[step.action], edition)
            return
        except FOREIGN as error:
            if attempt == ATTEMPTS - 1 or COLLISION not in str(error):
                raise _final(translate(error, str(step))) from error
        await asyncio.sleep(0.2 * 2**attempt)


def _texts(step: Step) -> list[str]:
    if step.action in ("skip", "forget"):
        return []
    if step.action == "roll back":
        return [step.file.rollback]
    return [step.file.rollback, step.file.text] if step.file.version is None else [step.file.text]


def _final(error: IngestError) -> IngestError:
    """In a migration there are no rows to hold: what only a person can mend ends the command."""
    return Stop(str(error)) if isinstance(error, Hold) else error


async def _create_extension(connection: Connection) -> None:
    if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"):
        return
    available = await connection.fetchval("SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'")
    if available is None:
        raise Stop("the server has no TimescaleDB: install it and add timescaledb to shared_preload_libraries")
    require(available)
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except FOREIGN as error:
        raise _final(translate(error, "CREATE EXTENSION timescaledb, which the database's owner or a superuser may do")) from error
