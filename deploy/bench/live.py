"""From websocket messages on loopback to committed rows: the daemon against cryptofeed, each in its own process.

https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-COMMIT-TIMESTAMP. A round lasts from the first frame until the
latest commit of its rows, whose time the server keeps. Polling only detects that the round is over. The exchange sends only trades,
of four instruments, as fast as they are read.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
import venv
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from bench.exchange import Exchange
from bench.process import Running, daemon, running
from bench.result import Connection, Place, Result, Round, compared, read_settings
from bench.stored import OURS, TRADE, empty, require, stored

ROWS = 400_000
SHARE = 5  # the peer receives a fifth of the rows, because it is slower; rates are compared
ROUNDS = 3
INSTRUMENTS = 4
POLL_SECONDS = 0.5
LONGEST_SECONDS = 60.0

PEER = Path(".local/bench-peer")
PEER_TABLE = "peer.trades"
# examples/postgres_tables.sql of cryptofeed, in a schema of its own
PEER_DDL = f"""
CREATE SCHEMA IF NOT EXISTS peer;
CREATE TABLE IF NOT EXISTS {PEER_TABLE} (id serial PRIMARY KEY, timestamp TIMESTAMP, receipt_timestamp TIMESTAMP,
    exchange VARCHAR(32), symbol VARCHAR(32), side VARCHAR(8), amount NUMERIC(64, 32), price NUMERIC(64, 32),
    trade_id VARCHAR(64), order_type VARCHAR(32))"""
PEER_TRADE = (
    "replace(symbol, '-', '')",
    "trade_id",
    "(extract(epoch FROM timestamp) * 1000)::bigint",
    "round(price, 8)",  # cryptofeed stores floats with 32 decimals
    "round(amount, 8)",
    "side",
)


class Side(Struct, frozen=True):
    """One of the two compared programs: how to start it, and where its rows are."""

    name: str
    start: Callable[[str, Exchange], AbstractAsyncContextManager[Running]]
    table: str
    relation: str
    values: tuple[str, ...]


async def live(place: Place, rows: int | None) -> Result:
    """Rows per second, from websocket to commit."""
    rows = rows or ROWS
    fewer = max(1, rows // SHARE)
    await make_peer()
    await place.connection.execute(PEER_DDL)
    rounds = []
    for _ in range(ROUNDS):
        peer, _ = await measure(PEER_SIDE, place, fewer)
        daemon_rate, cpu = await measure(INGEST_SIDE, place, rows)
        rounds.append(Round(value=round(daemon_rate), reference=round(peer), cpu_us_per_row=round(cpu, 2)))
    command = f"cryptofeed 2.4.1, TradePostgres, Binance aggTrade from the same exchange, {fewer} rows a round"
    settings = await read_settings(place.connection)
    return compared("live", rounds, rows=rows, command=command, settings=settings, reference_rows=fewer)


async def measure(side: Side, place: Place, rows: int) -> tuple[float, float]:
    """(rows per second, CPU microseconds per row) of one round. Raises Wrong if a stored value differs."""
    connection = place.connection
    await empty(connection, side.table)
    async with Exchange(INSTRUMENTS) as exchange, side.start(place.dsn, exchange) as process:
        await exchange.subscribed()
        ranges = await exchange.prepare(rows)
        before = process.cpu_seconds
        began = await exchange.burst()
        await _until_stored(connection, side.table, rows)
        cpu = process.cpu_seconds - before
        require(await stored(connection, side.relation, side.values), await exchange.checksum_of(ranges), f"live, {side.name}")
    ended = await connection.fetchval(f"SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8 FROM {side.table}")
    return rows / (ended - began), cpu / rows * 1e6


async def _until_stored(connection: Connection, table: str, rows: int) -> None:
    """Wait until `rows` rows are stored. Polls seldom, because counting takes server time."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while (found := await connection.fetchval(f"SELECT count(*) FROM {table}")) < rows:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{table}: {found:,} of {rows:,} rows after {LONGEST_SECONDS:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _ingest(dsn: str, exchange: Exchange) -> AsyncIterator[Running]:
    async with daemon(dsn, exchange, ["trades"]) as process:
        yield process


@asynccontextmanager
async def _peer(dsn: str, exchange: Exchange) -> AsyncIterator[Running]:
    where = urlsplit(dsn)
    address = [exchange.ws_url, exchange.rest_url, str(where.hostname), str(where.port), where.path[1:], PEER_TABLE]
    symbols = [instrument.replace("/", "-") for instrument in exchange.instruments]
    script = Path(__file__).with_name("peer.py")
    # SIGKILL: all rows are stored, and the shutdown is not measured
    async with running([PEER / "bin/python", script, *address, *symbols], signal.SIGKILL) as process:
        yield process


INGEST_SIDE = Side("ingest", _ingest, "trades", OURS, TRADE)
PEER_SIDE = Side("cryptofeed", _peer, PEER_TABLE, PEER_TABLE, PEER_TRADE)


async def make_peer() -> None:
    """Create the peer's virtual environment, unless it is current; deploy/bench/peer.txt pins its packages."""
    wanted, stamp = Path(__file__).with_name("peer.txt"), PEER / "made-for"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return
    print(f"bench: installing cryptofeed into {PEER}", file=sys.stderr)
    venv.create(PEER, clear=True, with_pip=True)
    pip = [PEER / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    process = await asyncio.create_subprocess_exec(*pip, "-r", wanted, stdout=sys.stderr.fileno())
    if await process.wait():
        raise RuntimeError(f"{PEER}: cryptofeed cannot be installed; it needs a C compiler, Python's headers and a package index")
    stamp.write_text(wanted.read_text())
