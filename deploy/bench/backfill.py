"""Backfill from an archive against psql: `ingest backfill`, from the start of the job to its last chunk.

https://www.postgresql.org/docs/current/app-psql.html#APP-PSQL-META-COMMANDS-COPY. psql reads the same rows, already as columns of
the table. `ingest` fetches the files from another process, verifies, unzips, parses, checks and encodes them, commits batch by
batch and marks ranges for the roll-ups. The roll-ups are excluded, because psql has none; `command_seconds` includes them and the
start.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from cluster import free_port
from msgspec.structs import replace

from bench.archive import SYMBOL, Past, candles_past, publish, records, trades_past
from bench.process import running
from bench.result import Place, Result, Round, compared, read_settings
from bench.stored import Checksum, checksum, empty, require, stored
from bench.write import COPY, by_psql
from ingest.pipeline.copy_encoder import encoder

CANDLE_ROWS = 200_000
TRADE_ROWS = 500_000
ROUNDS = 3
SERVED_SECONDS = 10.0
ABSENT = "absent: timescaledb-parallel-copy is neither in Debian nor on PyPI"

_INSTRUMENT = """
    INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status)
    VALUES ('binance', $1, 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')
    ON CONFLICT (exchange, symbol) DO UPDATE SET status = 'trading' RETURNING id"""
_SECONDS = """
    SELECT extract(epoch FROM max(c.finished_at) - min(j.created_at))::float8
      FROM jobs j JOIN job_chunks c ON c.job_id = j.id HAVING bool_and(c.state = 'done')"""
_CONFIGURATION = """
[database]
dsn = "{dsn}"
admin_dsn = "{dsn}"
[log]
level = "warning"
[exchanges.binance]
instruments = ["BTC/USDT"]
rest_url = "{url}"
archive_url = "{url}"
"""


async def backfill_candles(place: Place, rows: int | None) -> Result:
    """Monthly files of one-minute bars."""
    return await _compare("backfill_candles", place, candles_past(rows or CANDLE_ROWS))


async def backfill_trades(place: Place, rows: int | None) -> Result:
    """Daily files of trades."""
    return await _compare("backfill_trades", place, trades_past(rows or TRADE_ROWS))


def lower(results: Sequence[Result]) -> Result:
    """The result with the lower ratio, under the name `backfill`."""
    return replace(min(results, key=lambda result: result.ratio), name="backfill")


async def _compare(name: str, place: Place, past: Past) -> Result:
    rounds, whole, script = [], [], COPY.replace("trades", past.table.name)
    with tempfile.TemporaryDirectory(dir=".local") as folder:
        served, config, file = Path(folder, "served"), Path(folder, "ingest.toml"), Path(folder, "rows.tsv")
        publish(past, served)
        rows = list(records(past, await place.connection.fetchval(_INSTRUMENT, SYMBOL)))
        _write(file, "".join(map(encoder(past.table), rows)))
        expected = _sent(past, rows)
        columns = ", ".join(f'"{column.name}"' for column in past.table.columns)
        async with _serving(served) as url:
            _write(config, _CONFIGURATION.format(dsn=place.dsn, url=url))
            for _ in range(ROUNDS):
                await _begin(place, past)
                reference = await by_psql(place, script.format(columns, file))
                require(await _stored(place, past), expected, f"{name}, psql")
                await _begin(place, past)
                job, command = await _by_ingest(place, past, config)
                require(await _stored(place, past), expected, f"{name}, ingest")
                rounds.append(Round(value=round(len(rows) / job), reference=round(len(rows) / reference)))
                whole.append(command)
    return compared(
        name,
        rounds,
        rows=len(rows),
        command=rf"psql: \copy {past.table.name} from FILE",
        settings=await read_settings(place.connection),
        command_seconds=round(median(whole), 3),
        parallel_copy=ABSENT,
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text)


async def _begin(place: Place, past: Past) -> None:
    await empty(place.connection, past.table.name, "rollup_dirty", "job_chunks", "jobs")


async def _stored(place: Place, past: Past) -> Checksum:
    only = "AND t.interval = '1m'" if past.channel == "candles" else ""  # candles of longer intervals are in the same table
    relation = f"public.{past.table.name} t JOIN instruments i ON i.id = t.instrument_id AND i.symbol = '{SYMBOL}' {only}"
    return await stored(place.connection, relation, past.values)


def _sent(past: Past, rows: Sequence[object]) -> Checksum:
    names = [value.rpartition("t.")[2].partition(")")[0] for value in past.values]
    return checksum(tuple(getattr(row, name) for name in names) for row in rows)


async def _by_ingest(place: Place, past: Past, config: Path) -> tuple[float, float]:
    """Seconds from the start of the job to its last chunk, and of the whole command."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", "backfill", past.channel, "--config", str(config), "--exchange", "binance"),
        *("--from", past.since.isoformat(), "--to", past.until.isoformat()),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
    )
    if await process.wait():
        raise RuntimeError(f"ingest backfill ended with {process.returncode}; its output is above")
    return await place.connection.fetchval(_SECONDS), time.perf_counter() - started


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[str]:
    """Serves the directory over HTTP from another process. Yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    async with running(command, signal.SIGTERM):
        async with asyncio.timeout(SERVED_SECONDS):
            while not await _listens(port):  # noqa: ASYNC110 - another process has no event for it
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
