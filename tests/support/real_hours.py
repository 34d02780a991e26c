"""Real candles as bars: BTC/USDT of Binance, hourly, 61 days without a gap (../shared/real/SOURCES.md)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from ingest.indicators.values import Bars

FILES = ("BTCUSDT-1h-2024-11.csv", "BTCUSDT-1h-2024-12.csv")


def hours(real: Path) -> Bars:
    """The bars of all 1,464 hours."""
    rows = [row for name in FILES for row in csv.reader((real / "binance_archive" / name).read_text().splitlines())]
    columns = np.array([[float(cell) for cell in row[:6]] for row in rows]).T
    return Bars(60, (columns[0] // 60_000).astype(np.int64), *columns[1:])


def part(bars: Bars, wanted: slice | list[int]) -> Bars:
    """The bars at the `wanted` positions."""
    columns = ("time", "open", "high", "low", "close", "volume")
    return replace(bars, **{name: getattr(bars, name)[wanted] for name in columns})
