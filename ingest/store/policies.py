"""Reconciles retention, compression and refreshes in the database with the settings.

On Community these are jobs of TimescaleDB; on Apache the daemon drops chunks itself. `if_not_exists => true` silently keeps the
old arguments of a policy, so the jobs are compared and replaced. A refresh that reaches further back than the retention of its
source erases the aggregate there (measured: 1440 hourly rows became 573), so it begins one chunk after the oldest data that can be
dropped. https://docs.timescale.com/api/latest/informational-views/jobs/
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Literal, get_args

import asyncpg
from msgspec import Struct, field

from ingest.errors import Stop
from ingest.store import bar_views
from ingest.store.pool import Connection, transaction
from ingest.store.rollup import roll_up
from ingest.store.ts_edition import detect
from ingest.tables import TABLES

ATTEMPTS = 5  # a writer and drop_chunks on the same chunks sometimes deadlock, and the server aborts either of them

Kind = Literal["retention", "columnstore", "refresh"]


class Desired(Struct, frozen=True):
    """By relation: the retention, the age at which chunks are compressed, and the chunk length.

    Where retention or age is None or absent, chunks are never dropped or compressed. `retention` also has the bars: bars_1m,
    bars_1h, daily_ohlcv, prices_daily.
    """

    retention: Mapping[str, timedelta | None]
    compress_after: Mapping[str, timedelta | None]
    chunk: Mapping[str, timedelta] = field(default_factory=lambda: {table.name: table.chunk for table in TABLES})


class Policy(Struct, frozen=True):
    """One job: `after` is drop_after, compress_after or start_offset (None: from the beginning)."""

    kind: Kind
    relation: str
    after: timedelta | None
    end: timedelta | None = None
    interval: timedelta | None = None

    def __str__(self) -> str:
        return f"{self.kind} of {self.relation}: {'everything' if self.after is None else self.after}"


class Refresh(Struct, frozen=True):
    """The refresh of a continuous aggregate. The retention of its `sources` bounds how far back it reaches."""

    sources: tuple[str, ...]
    bucket: timedelta
    interval: timedelta


REFRESHES = {
    "bars_1m": Refresh(("trades",), timedelta(minutes=1), timedelta(minutes=5)),
    "bars_1h": Refresh(("trades", "bars_1m"), timedelta(hours=1), timedelta(minutes=30)),
    "daily_ohlcv": Refresh(("candles",), timedelta(days=1), timedelta(hours=1)),
    "prices_daily": Refresh(("prices",), timedelta(days=1), timedelta(hours=1)),
}


# --- desired policies ---------------------------------------------------------------------------------------------------


def plan(desired: Desired) -> set[Policy]:
    """Every job that Community should have. Raises Stop for a retention that is too short for the bars made from its data."""
    policies = {Policy("retention", name, after) for name, after in _kept(desired, ("cagg", "rollup"))}
    policies |= {Policy("columnstore", name, after) for name, after in desired.compress_after.items() if after is not None}
    # the longest bucket needs the longest retention, so an error names it first
    longest_first = sorted(REFRESHES.items(), key=lambda item: item[1].bucket, reverse=True)
    return policies | {_refresh(name, refresh, desired) for name, refresh in longest_first}


def _kept(desired: Desired, backings: Iterable[bar_views.Backing]) -> list[tuple[str, timedelta]]:
    """(relation, retention); for the bars, the relations that their views read."""
    kept = [(name, after) for name, after in desired.retention.items() if after is not None]
    return [
        (relation, after)
        for name, after in kept
        for relation in ([f"{name}_{backing}" for backing in backings] if name in REFRESHES else [name])
    ]


def _refresh(name: str, refresh: Refresh, desired: Desired) -> Policy:
    starts = [start for source in refresh.sources if (start := _oldest(source, name, refresh, desired)) is not None]
    return Policy("refresh", f"{name}_cagg", min(starts, default=None), refresh.bucket, refresh.interval)


def _oldest(source: str, name: str, refresh: Refresh, desired: Desired) -> timedelta | None:
    """The age up to which `source` is complete: TimescaleDB drops a chunk when its newest row is older than the retention."""
    kept = desired.retention.get(source)
    if kept is None:
        return None
    chunk = _chunk(source, desired)
    needed = chunk + 3 * refresh.bucket  # TimescaleDB requires a window of two buckets, and the last bucket is not closed
    if kept < needed:
        raise Stop(f"retention.{source} is {kept}; {name} is computed from it and needs at least {needed}")
    return kept - chunk


def _chunk(source: str, desired: Desired) -> timedelta:
    """The chunks of a continuous aggregate are ten times as long as those of its source."""
    return 10 * desired.chunk["trades"] if source in REFRESHES else desired.chunk[source]


# --- reconciliation -----------------------------------------------------------------------------------------------------


async def reconcile(connection: Connection, desired: Desired) -> list[str]:
    """Set the desired chunk lengths and, on Community, jobs. Returns the changes, as text for people.

    Needs the owner's rights and a direct connection, because the bars are filled before a job refreshes them. Jobs on other
    relations and TimescaleDB's own jobs are not changed. Raises Stop as `plan` does.
    """
    wanted = plan(desired)
    changes = await _reconcile_chunks(connection, desired)
    if (await detect(connection)).edition == "apache":
        return changes
    await bar_views.switch(connection)  # a refresh of recent bars alone would hide older ones, which were computed live until then
    present = await _present(connection, desired)
    if wanted - present.keys():
        await bar_views.fill(connection)  # bars that a shorter retention is about to drop and the new refresh does not reach
    async with transaction(connection):
        for policy, job in present.items():
            if policy not in wanted:
                await connection.execute("SELECT delete_job($1)", job)
                changes.append(f"removed {policy}")
        for policy in sorted(wanted - present.keys(), key=str):
            await connection.execute(_ADD[policy.kind], *_arguments(policy))
            changes.append(f"added {policy}")
    return changes


_ADD: dict[Kind, str] = {
    "retention": "SELECT add_retention_policy($1::text::regclass, drop_after => $2::interval)",
    "columnstore": "CALL add_columnstore_policy($1::text::regclass, after => $2::interval)",
    "refresh": "SELECT add_continuous_aggregate_policy($1::text::regclass, start_offset => $2::interval,"
    " end_offset => $3::interval, schedule_interval => $4::interval)",
}


def _arguments(policy: Policy) -> list[object]:
    arguments: list[object] = [f"public.{policy.relation}", policy.after]
    return [*arguments, policy.end, policy.interval] if policy.kind == "refresh" else arguments


async def _present(connection: Connection, desired: Desired) -> dict[Policy, int]:
    """The jobs on these relations, with their ids. Some versions name a continuous aggregate by its materialization table."""
    rows = await connection.fetch(_PRESENT, list(_relations(desired)))
    return {
        Policy(kind, relation, after, end, interval if kind == "refresh" else None): job
        for job, kind, relation, after, end, interval in rows
    }


def _relations(desired: Desired) -> set[str]:
    tables = {*desired.chunk, *desired.compress_after, *(name for name in desired.retention if name not in REFRESHES)}
    return tables | {f"{name}_{backing}" for name in REFRESHES for backing in get_args(bar_views.Backing)}


_PRESENT = """
    SELECT job_id, kind, relation, coalesce(drop_after, compress_after, start_offset), end_offset,
           CASE kind WHEN 'refresh' THEN schedule_interval END
    FROM (
        SELECT j.job_id, j.schedule_interval, coalesce(c.view_name, j.hypertable_name)::text AS relation,
               CASE j.proc_name WHEN 'policy_retention' THEN 'retention' WHEN 'policy_compression' THEN 'columnstore'
                                WHEN 'policy_refresh_continuous_aggregate' THEN 'refresh' END AS kind,
               (j.config->>'drop_after')::interval AS drop_after, (j.config->>'compress_after')::interval AS compress_after,
               (j.config->>'start_offset')::interval AS start_offset, (j.config->>'end_offset')::interval AS end_offset
        FROM timescaledb_information.jobs j
        LEFT JOIN timescaledb_information.continuous_aggregates c ON c.materialization_hypertable_name = j.hypertable_name
        WHERE j.job_id >= 1000
    ) policies
    WHERE kind IS NOT NULL AND relation = ANY($1::text[])
"""


async def _reconcile_chunks(connection: Connection, desired: Desired) -> list[str]:
    """Set the length of new chunks; existing chunks keep theirs."""
    rows = await connection.fetch(
        "SELECT hypertable_name::text, time_interval FROM timescaledb_information.dimensions WHERE hypertable_schema = 'public'"
    )
    changes = []
    for name, present in rows:
        length = desired.chunk.get(name, present)
        if length != present:
            await connection.execute("SELECT set_chunk_time_interval($1::text::regclass, $2::interval)", f"public.{name}", length)
            changes.append(f"chunks of {name}: {present} -> {length}")
    return changes


async def apply_retention(connection: Connection, desired: Desired) -> list[str]:
    """Drop the chunks that are past retention, as TimescaleDB's job does on Community. Returns the names of the chunks.

    Dirty buckets are rolled up first, so that rows that arrived just before the end of their retention are in the bars.
    """
    while (await roll_up(connection)).taken:
        pass
    await bar_views.roll_up_prices(connection)
    dropped: list[str] = []
    for relation, after in _kept(desired, ("rollup",)):
        dropped += await _drop(connection, relation, after)
    return dropped


async def _drop(connection: Connection, relation: str, after: timedelta) -> list[str]:
    """Raises asyncpg.DeadlockDetectedError after ATTEMPTS deadlocks in a row."""
    for attempt in range(ATTEMPTS):
        try:
            rows = await connection.fetch(_DROP, f"public.{relation}", after)
            return [row[0] for row in rows]
        except asyncpg.DeadlockDetectedError:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.1 * 2**attempt)
    return []


_DROP = "SELECT drop_chunks($1::text::regclass, older_than => $2::interval)"
