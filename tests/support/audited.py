"""A covered stream for the tests of the audit. Its rows are simple enough to be checked by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg

from ingest.protocol.exchange import CompletenessRules
from ingest.store.audit import RecordedFinding, audit

START = datetime(2026, 11, 19, 10, tzinfo=UTC)
NOW = START + timedelta(hours=2)
ALL = CompletenessRules(dense=("trade",), counted=("trade",), charted=("trade",), empty_candles=True)
KEPT = {"trades": timedelta(days=90), "candles": timedelta(days=730)}
GAP_COLUMNS = "channel, interval, trade_kind, writer, state, reason, since, until, first_id, last_id, expected, stored"

Connection: TypeAlias = "asyncpg.Connection[Any]"


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


async def claim(connection: Connection, channel: str, since: float, until: float, **changes: Any) -> None:
    """Insert a row of `coverage` for the minutes [since, until): a claim, or with another `state` a gap."""
    row = {
        "source": "demo",
        "writer": "one",
        "instrument_id": 1,
        "channel": channel,
        "interval": "1m" if channel == "candles" else None,
        "trade_kind": "trade" if channel == "trades" else None,
        "state": "covered",
        "reason": "live",
        "since": at(since),
        "until": at(until),
    } | changes
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO coverage ({', '.join(row)}) VALUES ({places})", *row.values())


async def put_trades(connection: Connection, *trades: tuple[float, int], instrument_id: int = 1) -> None:
    """Insert trades (minutes after START, id): each is a buy of size 1 at the price 100 + id."""
    rows = [(instrument_id, at(minutes), number, Decimal(100 + abs(number)), Decimal(1), "buy", NOW) for minutes, number in trades]
    await connection.executemany("INSERT INTO trades VALUES ($1, $2, $3, $4, $5, $6, $7)", rows)


async def put_candle(connection: Connection, minute: int, ids: Iterable[int], **changes: Any) -> None:
    """Insert the candle that an exchange makes of the trades `ids` of `put_trades`."""
    ids = list(ids)
    prices = [Decimal(100 + number) for number in ids] or [Decimal(100)]
    row = {
        "instrument_id": 1,
        "interval": "1m",
        "time": at(minute),
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": Decimal(len(ids)),
        "trades_count": len(ids),
        "first_trade_id": ids[0] if ids else None,
        "last_trade_id": ids[-1] if ids else None,
        "parts": 1,
        "origin": "ws",
        "received_at": NOW,
    } | changes
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO candles ({', '.join(row)}) VALUES ({places})", *row.values())


async def run_audit(connection: Connection, completeness: CompletenessRules = ALL, now: datetime = NOW) -> list[RecordedFinding]:
    """Run the audit until nothing is due; returns the new findings."""
    return (await audit(connection, {"demo": completeness}, KEPT, seconds=60, now=now)).recorded


async def gaps(connection: Connection) -> list[tuple[Any, ...]]:
    """Every row of the ledger that is not a claim."""
    rows = await connection.fetch(f"SELECT {GAP_COLUMNS} FROM coverage WHERE state <> 'covered' ORDER BY since, first_id, id")
    return [tuple(row) for row in rows]


async def verdicts(connection: Connection) -> list[tuple[str, str | None]]:
    rows = await connection.fetch("SELECT state, verdict FROM coverage WHERE state <> 'covered' ORDER BY since, first_id, id")
    return [tuple(row) for row in rows]


async def close_gaps(connection: Connection, **changes: Any) -> None:
    """Close every open gap, as gap filling does after it has loaded the exchange's history."""
    row = {"state": "healed", "verdict": None, "stored": 0} | changes
    sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(row, 1))
    await connection.execute(f"UPDATE coverage SET {sets} WHERE state = 'open'", *row.values())
