"""`ingest backfill` as a process: its settings and arguments, the files that it loads, and the rows that it stores."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from tests.support import stored
from tests.support.archive import ArchiveServer, trade_lines
from tests.support.daemon import to_toml
from tests.support.paths import ROOT

Settings = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = datetime(2026, 3, 1, tzinfo=UTC)
TRADE_FILES, KLINES = "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades", "data/spot/daily/klines/ADABTC/1m/ADABTC-1m"
KEEP = {"trades": "none", "candles": "none"}

_TRADES = """
    SELECT trade_id, (extract(epoch FROM time) * 1000000)::bigint, price::text, size::text, side
      FROM trades ORDER BY trade_id, time"""
_CHUNKS = "SELECT since, state, written, duplicate, verdict FROM job_chunks ORDER BY since, job_id"


def micros(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


_NUMBERS = count()


async def start(folder: Path, settings: Settings, *arguments: str, **streams: Any) -> asyncio.subprocess.Process:
    config = folder / f"backfill-{next(_NUMBERS)}.toml"
    config.write_text(to_toml(settings))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", "backfill", arguments[0], "--config", str(config), "--exchange", "demo", *arguments[1:]),
        cwd=ROOT,
        **({"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT} | streams),
    )


async def backfill(folder: Path, settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run `ingest backfill`; returns the exit code and the output."""
    process = await start(folder, settings, *arguments)
    output = (await process.communicate())[0].decode()
    assert "Traceback" not in output, output
    return process.returncode or 0, output


def archive_settings(dsn: str, served: ArchiveServer, **changes: Any) -> Settings:
    """The settings of one exchange whose REST and archive addresses are those of `served`; `changes` replace sections."""
    section = {"protocol": "binance", "instruments": ["BTC/USDT"], "rest_url": served.url, "archive_url": served.url}
    return {
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "exchanges": {"demo": section},
        "retention": KEEP,
        "log": {"format": "json"},
    } | changes


def days(number: int, first: datetime = DAY) -> tuple[str, ...]:
    """The arguments for `number` days."""
    return ("--from", f"{first:%Y-%m-%d}", "--to", f"{first + timedelta(days=number):%Y-%m-%d}")


def add_days(served: ArchiveServer, number: int, rows: int = 300, first: datetime = DAY) -> list[tuple[Any, ...]]:
    """Add daily files of trades to the server; returns the rows that must be stored."""
    expected: list[tuple[Any, ...]] = []
    for index in range(number):
        day = first + timedelta(days=index)
        lines = trade_lines(micros(day), rows, first=1 + index * rows)
        served.add(f"{TRADE_FILES}-{day:%Y-%m-%d}", lines)
        expected += map(expected_trade, lines)
    return expected


def expected_trade(line: str, unit: int = 1) -> tuple[Any, ...]:
    """The stored row of a line of a file; `unit` is how many microseconds its time counts in."""
    trade_id, price, size, _, time, buyer_is_maker, _ = line.strip().split(",")
    return int(trade_id), int(time) * unit, price, size, "sell" if buyer_is_maker == "True" else "buy"


async def trades(dsn: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await stored.fetch(dsn, _TRADES)]


async def chunks(dsn: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await stored.fetch(dsn, _CHUNKS)]


class Commands:
    """`ingest backfill` with one configuration."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.settings = settings
        self._config = folder / "backfill.toml"

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        self._config.write_text(to_toml(self.settings))
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingest", "backfill", arguments[0], "--config", str(self._config), *arguments[1:]),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        """Run the command; returns the exit code and the output."""
        process = await self.start(*arguments)
        output = (await process.communicate())[0].decode()
        assert "Traceback" not in output, output
        return process.returncode or 0, output
