"""Runs a replay through the whole daemon, and compares the stored records with the expected records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingest.records import Instrument, Record
from ingest.tables import BY_RECORD, TABLES, Column, Table
from tests.support import stored
from tests.support.daemon import Daemon
from tests.support.recordings.replay import Replay

Ids = dict[str, int]  # symbol -> id in the database
Reading = Callable[[Ids], Sequence[Sequence[Record]]]  # the expected records, a list for each table
_INSTRUMENTS = """
    SELECT exchange, symbol, instrument, base, quote, kind, status, price_step::text, size_step::text, id
      FROM instruments ORDER BY symbol"""


async def instruments(dsn: str) -> list[Instrument]:
    """Every stored instrument, by symbol."""
    return [Instrument(**row) for row in await stored.fetch(dsn, _INSTRUMENTS)]


async def records(dsn: str, table: Table) -> list[Record]:
    """Every row as a record with exact digits and microseconds, by key, without candles of longer intervals."""
    columns = ", ".join(map(_as_written, table.columns))
    own = "WHERE interval = '1m'" if table.name == "candles" else ""
    rows = await stored.fetch(
        dsn, f"SELECT {columns} FROM {table.name} t {own} ORDER BY {', '.join(f't.{key}' for key in table.key)}"
    )
    return [table.record(*(tuple(value) if isinstance(value, list) else value for value in row)) for row in rows]


def _as_written(column: Column) -> str:
    match column.type:
        case "timestamptz":
            return f"(extract(epoch FROM t.{column.name}) * 1000000)::bigint"
        case "numeric" | "numeric[]":
            return f"t.{column.name}::{column.type.replace('numeric', 'text')}"
    return f"t.{column.name}"


async def assert_stored(
    make: Callable[..., Daemon], dsn: str, replay: Replay, exchanges: dict[str, dict[str, Any]], read: Reading
) -> None:
    """Run a daemon on the replay until it has drained. Asserts that exactly the records of `read` are stored.

    The recordings are complete, so there must be neither a gap nor a reject.
    """
    one = await make(_settings(dsn, replay, exchanges), replay.clock.environment).start()
    await replay.play()
    readings = read({row.symbol: row.id for row in await instruments(dsn)})
    assert all(readings), "no records are expected, so the test would prove nothing"
    expected = {BY_RECORD[type(rows[0])]: rows for rows in readings}
    await one.until(lambda now: all(now.rows(table.name)["decoded"] >= len(rows) for table, rows in expected.items()))
    assert await one.terminate() == 0
    for table in TABLES:
        rows = sorted(expected.get(table, ()), key=lambda row, table=table: [getattr(row, name) for name in table.key])
        assert await records(dsn, table) == rows, table.name
    assert await stored.gaps(dsn) == []
    assert await stored.fetch(dsn, "SELECT * FROM rejects") == []


def _settings(dsn: str, replay: Replay, exchanges: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The configuration of the daemon. Retention and compression are off, because the rows are old. Gap filling is off, because a
    recording has no history, and the database, whose clock is not changed, would report all of it as missing.
    """
    for_ever = {table.name: "none" for table in TABLES}
    urls = {"ws_url": f"ws://{replay.url}", "rest_url": f"http://{replay.url}"}
    return {
        "name": "one",
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "indicators": {"names": []},  # computed values are not part of a recording
        "exchanges": {name: urls | section for name, section in exchanges.items()},
        "heal": {"enabled": False},
        "server": {"port": 0},
        "log": {"format": "json"},
        "retention": for_ever,
        "compress_after": for_ever,
    }
