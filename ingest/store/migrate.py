"""Brings the schema of a database to the version of the files, or back to an earlier version: `ingest migrate`.

Each file runs in one transaction together with its row in `schema_migrations`, so that a killed runner leaves both or neither.
Concurrent runners wait a few seconds for an advisory lock
(https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS). It belongs to the server session, so the connection
must be direct, and not through PgBouncer in transaction mode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from ingest.errors import Hold, IngestError, Stop
from ingest.store import bar_views, migration_log
from ingest.store.lock_holders import holders_of_tables
from ingest.store.migration_log import Entry
from ingest.store.pool import Connection, transaction
from ingest.store.schema_files import GRANTS, File, Schema, find, read
from ingest.store.sqlstate import FOREIGN, sqlstate, translate
from ingest.store.ts_edition import DatabaseInfo, Edition, detect, require

COLLISION = "tuple concurrently"  # "... updated" or "... deleted": a background job of TimescaleDB changed the same catalog row
ATTEMPTS = 5
LOCK_TIMEOUT = "10s"  # writers queue behind a migration that waits for a table

Action = Literal["apply", "skip", "roll back", "forget"]  # forget: roll back a file that was only skipped
STATUS: dict[Action, migration_log.Status] = {
    "apply": "applied",
    "skip": "skipped",
    "roll back": "rolled_back",
    "forget": "rolled_back",
}


class Step(Struct, frozen=True):
    """One action on one file, done or planned."""

    action: Action
    file: File

    def __str__(self) -> str:
        return f"{self.action} {self.file.name}"


class Report(Struct, frozen=True):
    """The steps that were done, or planned by `check` and a dry run, in order; and the present state of the database."""

    steps: tuple[Step, ...]
    database: DatabaseInfo

    @property
    def current(self) -> bool:
        """Whether nothing is pending; meaningful after `check`."""
        return not self.steps


async def migrate(
    connection: Connection,
    *,
    to: int | None = None,
    rollback: int | None = None,
    dry_run: bool = False,
    schema: Schema | None = None,
) -> Report:
    """Apply pending files (up to version `to`), or roll back every file newer than version `rollback`.

    Creates the extension if it is missing. Raises Stop for a schema that needs a person to repair it, and Retry if a lock was not
    granted in time or the connection was lost; files that were committed before stay applied and recorded.
    """
    schema = schema or read(find())
    if dry_run:
        return await check(connection, to=to, rollback=rollback, schema=schema)
    async with migration_log.alone(connection):
        await _create_extension(connection)
        await migration_log.create(connection)
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
    """The steps that `migrate` would do; changes nothing. Raises Stop in the same cases."""
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
        raise Stop(f"there is no version {version}; known: {', '.join(map(str, known))}")


# --- the plan -----------------------------------------------------------------------------------------------------------


def plan(schema: Schema, entries: Mapping[str, Entry], edition: Edition, to: int | None = None) -> list[Step]:
    """The steps forward. Repeatable files depend on the versioned ones, so they run only when all of those are applied.

    The grants run after any other step, because a relation that is recreated has no grants.
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
    """The steps back to `version`, which stays: first the repeatable files, which depend on the others, then the newest first."""
    present = {name: entry for name, entry in entries.items() if entry.status != "rolled_back"}
    newer = [file for file in schema.versioned if file.name in present and (file.version or 0) > version]
    if not newer:
        return []
    views = [file for file in schema.repeatable if file.name in present]
    return [_step_back(file, present[file.name]) for file in reversed([*newer, *views])]


def _step_back(file: File, entry: Entry) -> Step:
    return Step("forget" if entry.status == "skipped" else "roll back", file)


# --- running it ---------------------------------------------------------------------------------------------------------


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
    """Roll back. Drops the views on the bars too, because they depend on the relations; the next `migrate` creates them again."""
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
    """Run one file and record it, in one transaction."""
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
                raise _final(translate(error, str(step) + await _lockers(connection, error))) from error
        await asyncio.sleep(0.2 * 2**attempt)


async def _lockers(connection: Connection, error: BaseException) -> str:
    """The sessions that hold locks, if `error` is a lock that was not granted in time."""
    if sqlstate(error) != "55P03":
        return ""
    holders = await holders_of_tables(connection)
    return f" (sessions with locks: {'; '.join(map(str, holders))})" if holders else ""


def _texts(step: Step) -> list[str]:
    if step.action in ("skip", "forget"):
        return []
    if step.action == "roll back":
        return [step.file.rollback]
    return [step.file.rollback, step.file.text] if step.file.version is None else [step.file.text]


def _final(error: IngestError) -> IngestError:
    """A migration has no rows to hold, so an error that needs a person ends the command."""
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
