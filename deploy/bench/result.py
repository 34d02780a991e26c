"""One measured figure beside its reference, as the line of JSON that deploy/bench.sh prints.

https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET - `settings` are those that the server reports.
A figure is the median of its rounds; ours and the reference take turns, because the machine is never as fast as a minute ago.
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
    """One turn of each side, in the unit of the result; with the daemon's processor time if it is a process of its own."""

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
    reference_rows: int | UnsetType = UNSET  # if the reference had fewer
    rounds: Sequence[Round] | UnsetType = UNSET
    command_seconds: float | UnsetType = UNSET  # of the whole command, if `value` is of a part
    parallel_copy: str | UnsetType = UNSET


def compared(name: str, rounds: Sequence[Round], *, rows: int, command: str, settings: dict[str, Any], **more: Any) -> Result:
    """The result of rounds of rows per second."""
    value, reference = median(one.value for one in rounds), median(one.reference for one in rounds)
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
        reference_command="none: the reference is the limit that is promised",
        settings=settings,
    )


async def read_settings(connection: Connection) -> dict[str, Any]:
    """The settings of the server and the machine that determine its speed."""
    shown = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in SETTINGS}
    found = await detect(connection)
    versions = {"edition": found.edition, "timescaledb": found.timescaledb, "postgresql": found.postgres}
    return shown | versions | {"python": platform.python_version(), "cpus": os.cpu_count()}
