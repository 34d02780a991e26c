"""One replay through the whole daemon, and the records that the database then holds, to be compared with those expected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingest.records import Instrument, Record
from ingest.tables import BY_RECORD, TABLES, Column, Table
from tests.support import stored
from tests.support.daemon import Daemon
from tests.support.recordings.replay import Replay

Ids = dict[str, int]  # the database's number of each symbol
Reading = Callable[[Ids], Sequence[Sequence[Record]]]  # what must be stored, a list for each table
_INSTRUMENTS = """
    SELECT exchange, symbol, instrument, base, quote, kind, status, price_step::text, size_step::text, id
      FROM instruments ORDER BY symbol"""


async def instruments(dsn: str) -> list[Instrument]:
    """Every stored instrument, by symbol."""
    return [Instrument(**row) for row in await stored.fetch(dsn, _INSTRUMENTS)]


async def records(dsn: str, table: Table) -> list[Record]:
    """Every row as the record that it was made from, digits and microseconds, by key. Rolled up candles are left out."""
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
    """Run a daemon over the replay until it has drained; the database must hold the records that `read` expects, and no others.

    Nor may there be a gap or a reject: the recordings are whole.
    """
    one = await make(_settings(dsn, replay, exchanges), replay.clock.environment).start()
    await replay.play()
    readings = read({row.symbol: row.id for row in await instruments(dsn)})
    assert all(readings), "a reading of nothing would prove nothing"
    expected = {BY_RECORD[type(rows[0])]: rows for rows in readings}
    await one.until(lambda now: all(now.rows(table.name)["decoded"] >= len(rows) for table, rows in expected.items()))
    assert await one.terminate() == 0
    for table in TABLES:
        rows = sorted(expected.get(table, ()), key=lambda row, table=table: [getattr(row, name) for name in table.key])
        assert await records(dsn, table) == rows, table.name
    assert await stored.gaps(dsn) == []
    assert await stored.fetch(dsn, "SELECT * FROM rejects") == []


def _settings(dsn: str, replay: Replay, exchanges: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Nothing is too old to be kept, and what is old stays as it was written. A recording has no past to heal from, and the
    database, whose clock is not turned, would take all of it for a hole.
    """
    for_ever = {table.name: "none" for table in TABLES}
    urls = {"ws_url": f"ws://{replay.url}", "rest_url": f"http://{replay.url}"}
    return {
        "name": "one",
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "indicators": {"names": []},  # what is computed is no part of a recording
        "exchanges": {name: urls | section for name, section in exchanges.items()},
        "heal": {"enabled": False},
        "server": {"port": 0},
        "log": {"format": "json"},
        "retention": for_ever,
        "compress_after": for_ever,
    }
