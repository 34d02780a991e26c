"""A measured figure and its reference, as the line of JSON that deploy/bench.sh prints.

A figure is the median of its rounds. Daemon and reference take turns, because the speed of a machine changes from minute to minute.
`settings` are those that the server reports: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal

import asyncpg
from msgspec import UNSET, Struct, UnsetType

from ingest.store.ts_edition import detect

SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "track_commit_timestamp")

Connection = asyncpg.Connection


class Place(Struct, frozen=True):
    """A database with the schema on the private server, a connection to it, and the server's psql."""

    connection: Connection
    dsn: str
    psql: Path


class Round(Struct, frozen=True, kw_only=True):
    """One turn of daemon and reference, in the unit of the result. `cpu_us_per_row` is the daemon's CPU time, if measured."""

    value: float
    reference: float
    cpu_us_per_row: float | UnsetType = UNSET


class Result(Struct, frozen=True, kw_only=True):
    """`rows` and `seconds` are those of one round of the daemon; `ratio` is value / reference."""

    name: str
    value: float
    unit: str
    reference: float
    ratio: float
    better: Literal["higher", "lower"]
    rows: int
    seconds: float
    reference_command: str
    settings: dict[str, Any]
    reference_rows: int | UnsetType = UNSET  # if the reference wrote fewer rows
    rounds: Sequence[Round] | UnsetType = UNSET
    command_seconds: float | UnsetType = UNSET  # of the whole command, if `value` measures a part of it
    parallel_copy: str | UnsetType = UNSET


def compared(name: str, rounds: Sequence[Round], *, rows: int, command: str, settings: dict[str, Any], **more: Any) -> Result:
    """The result of rounds that are measured in rows per second."""
    value, reference = median(turn.value for turn in rounds), median(turn.reference for turn in rounds)
    return Result(
        name=name,
        value=round(value),
        unit="rows/s",
        reference=round(reference),
        ratio=round(value / reference, 3),
        better="higher",
        rows=rows,
        seconds=round(rows / value, 3),
        reference_command=command,
        settings=settings,
        rounds=rounds,
        **more,
    )


def limited(name: str, value: float, unit: str, limit: float, *, rows: int, seconds: float, settings: dict[str, Any]) -> Result:
    """The result of a figure that must stay below a limit, which is its reference."""
    return Result(
        name=name,
        value=value,
        unit=unit,
        reference=limit,
        ratio=round(value / limit, 3),
        better="lower",
        rows=rows,
        seconds=round(seconds, 1),
        reference_command="none: the reference is the limit",
        settings=settings,
    )


async def read_settings(connection: Connection) -> dict[str, Any]:
    """The settings of server and machine that determine the speed."""
    shown = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in SETTINGS}
    found = await detect(connection)
    versions = {"edition": found.edition, "timescaledb": found.timescaledb, "postgresql": found.postgres}
    return shown | versions | {"python": platform.python_version(), "cpus": os.cpu_count()}
