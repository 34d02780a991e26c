"""A replay through the whole daemon, and the comparison of the stored records with the expected ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingest.records import Instrument, Record
from ingest.tables import BY_RECORD, TABLES, Column, Table
from tests.support import stored
from tests.support.daemon import Daemon
from tests.support.recordings.replay import Replay

Ids = dict[str, int]  # symbol -> `instruments.id`
Reading = Callable[[Ids], Sequence[Sequence[Record]]]  # the expected records, one list for each table
_INSTRUMENTS = """
    SELECT exchange, symbol, instrument, base, quote, kind, status, price_step::text, size_step::text, id
      FROM instruments ORDER BY symbol"""


async def instruments(dsn: str) -> list[Instrument]:
    """Every stored instrument, by symbol."""
    return [Instrument(**row) for row in await stored.fetch(dsn, _INSTRUMENTS)]


async def records(dsn: str, table: Table) -> list[Record]:
    """Every row as a record with exact digits and microseconds, by key. Of candles only those of one minute."""
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
    """Run a daemon on the replay until it has drained. Then every table holds exactly the records that `read` returns for it.

    There must be no gap and no reject, because the recordings are complete.
    """
    daemon = await make(_settings(dsn, replay, exchanges), replay.clock.environment).start()
    await replay.play()
    readings = read({row.symbol: row.id for row in await instruments(dsn)})
    assert all(readings), "an empty list of expected records would prove nothing"
    expected = {BY_RECORD[type(rows[0])]: rows for rows in readings}
    await daemon.until(lambda now: all(now.rows(table.name)["decoded"] >= len(rows) for table, rows in expected.items()))
    assert await daemon.terminate() == 0
    for table in TABLES:
        rows = sorted(expected.get(table, ()), key=lambda row, table=table: [getattr(row, name) for name in table.key])
        assert await records(dsn, table) == rows, table.name
    assert await stored.gaps(dsn) == []
    assert await stored.fetch(dsn, "SELECT * FROM rejects") == []


def _settings(dsn: str, replay: Replay, exchanges: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Settings without retention, compression and gap filling.

    A replay has no history to fill gaps from, and the database, which has today's clock, would take the time since for a gap.
    """
    for_ever = {table.name: "none" for table in TABLES}
    urls = {"ws_url": f"ws://{replay.url}", "rest_url": f"http://{replay.url}"}
    return {
        "name": "one",
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "indicators": {"names": []},  # computed rows are not in a recording
        "exchanges": {name: urls | section for name, section in exchanges.items()},
        "heal": {"enabled": False},
        "server": {"port": 0},
        "log": {"format": "json"},
        "retention": for_ever,
        "compress_after": for_ever,
    }
