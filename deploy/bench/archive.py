"""A synthetic archive for the benchmark, with files in the documented format of Binance's archive.

https://github.com/binance/binance-public-data. Times are in microseconds, as in the files since 2025; there is no header.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from msgspec import Struct

from ingest.exchanges.binance.archive import candles_from_archive, trades_from_archive
from ingest.records import Candle, Instrument, Trade
from ingest.tables import CANDLES, TRADES, Table

TRADE_DAYS = 5
SYMBOL = "BTCUSDT"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# the fields that the parser reads of a market: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints
LISTING = {
    "symbols": [
        {
            "symbol": SYMBOL,
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
                {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
            ],
        }
    ]
}


class File(Struct, frozen=True):
    """One file of the archive: its path without `.zip`, and its lines."""

    path: str
    lines: list[str]


class Past(Struct, frozen=True):
    """The files with [since, until) of one channel."""

    channel: str
    table: Table
    since: datetime
    until: datetime
    files: list[File]
    values: Sequence[str]  # the compared columns as SQL expressions on `t`, none of them null


def candles_past(rows: int) -> Past:
    """One-minute candles of one market from eleven months ago on: files of whole months, then of days; the last may be cut.

    The range ends with the last candle.
    """
    first = (datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=330)).replace(day=1)
    files, at, left = [], first, rows
    while left:
        following = (at + timedelta(days=32)).replace(day=1)
        folder, name, count = "monthly", f"{at:%Y-%m}", (following - at) // timedelta(minutes=1)
        if at.day > 1 or left < count:
            folder, name, count = "daily", f"{at:%Y-%m-%d}", min(left, 1440)
        path = f"data/spot/{folder}/klines/{SYMBOL}/1m/{SYMBOL}-1m-{name}"
        files.append(File(path, [_candle_line((at - EPOCH) // MICROSECOND, i) for i in range(count)]))
        at, left = at + timedelta(minutes=count), left - count
    values = ["t.interval", "(extract(epoch FROM t.time) * 1000000)::bigint"]
    values += [f"t.{name}" for name in CANDLES.record.__struct_fields__[3:11]] + ["t.parts", "t.origin"]
    return Past("candles", CANDLES, first, first + timedelta(minutes=rows), files, values)


def _candle_line(month: int, i: int) -> str:
    opened, price, volume = month + i * 60_000_000, 16_578 + i % 997, f"{i % 131}.{1 + i % 99_991:08d}"
    digits = f"{price}.{i % 100:02d}000000,{price + 9}.55000000,{price - 7}.01000000,{price + 2}.10000000,{volume}"
    return f"{opened},{digits},{opened + 59_999_999},{price * 31}.12345678,{100 + i % 4_001},{volume},{price * 13}.87654321,0\n"


def trades_past(rows: int) -> Past:
    """Trades of one market on five recent days in daily files, one trade every 20 ms from midnight."""
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=TRADE_DAYS + 3)
    each = rows // TRADE_DAYS
    files = []
    for day in range(TRADE_DAYS):
        at = first + timedelta(days=day)
        lines = [_trade_line((at - EPOCH) // MICROSECOND, 10_000_000 + day * each + i, i) for i in range(each)]
        files.append(File(f"data/spot/daily/trades/{SYMBOL}/{SYMBOL}-trades-{at:%Y-%m-%d}", lines))
    values = ["(extract(epoch FROM t.time) * 1000000)::bigint", "t.trade_id", "t.price", "t.size", "t.side"]

    return Past("trades", TRADES, first, first + timedelta(days=TRADE_DAYS), files, values)


def _trade_line(day: int, trade_id: int, i: int) -> str:
    price, size = f"{16_578 + i % 997}.{i % 100:02d}000000", f"{i % 13}.{1 + i % 99_991:08d}"
    return f"{trade_id},{price},{size},{price},{day + i * 20_000},{i % 3 > 0},True\n"


def publish(past: Past, folder: Path) -> None:
    """Write the files as in the archive, each with its checksum, and the listing at its REST path."""
    for file in past.files:
        path = folder / f"{file.path}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.stem}.csv", "".join(file.lines))
        Path(f"{path}.CHECKSUM").write_text(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    listing = folder / "api/v3/exchangeInfo"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text(json.dumps(LISTING))


def records(past: Past, instrument_id: int) -> Iterator[Candle | Trade]:
    """The rows of the files as records."""
    instrument = Instrument("binance", SYMBOL, "BTC/USDT", "BTC", "USDT", "spot", "trading", id=instrument_id)
    now = time.time_ns() // 1000
    for file in past.files:
        text = "".join(file.lines)
        if past.channel == "candles":
            yield from candles_from_archive(text, instrument, now)
        else:
            yield from trades_from_archive(text, instrument, "trade", now)
