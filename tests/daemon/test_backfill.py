"""`ingest backfill` as a process loads exactly the rows that the simulated exchange and archives on loopback have.

The archive's trades are synthetic, in the documented format; candles are Binance klines that other projects recorded.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from ingest.records import INTERVALS, MINUTE
from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.archive import ArchiveServer, kline_lines, trade_lines, whole_minutes
from tests.support.backfills import DAY, KLINES, TRADE_FILES, archive_settings, backfill, days, expected_trade, micros, trades
from tests.support.daemon import configuration, on_apache

_CANDLES = """
    SELECT extract(epoch FROM time)::bigint * 1000, open::text, high::text, low::text, close::text, volume::text,
           extract(epoch FROM time)::bigint * 1000 + 59999, quote_volume::text, trades_count, taker_buy_volume::text,
           taker_buy_quote_volume::text
      FROM candles JOIN instruments i ON i.id = instrument_id
     WHERE interval = '1m' AND origin = $1 AND parts = 1 AND i.symbol = $2 ORDER BY time"""
_ROLLED = """
    SELECT interval, (extract(epoch FROM time) * 1000000)::bigint AS time, open, high, low, close, volume, quote_volume,
           trades_count, parts, origin FROM candles WHERE interval <> '1m' ORDER BY interval, time"""
_DAYS = "SELECT (extract(epoch FROM time) * 1000000)::bigint AS time, open, high, low, close, volume FROM daily_ohlcv ORDER BY time"
_BARS = "SELECT (extract(epoch FROM time) * 1000000)::bigint AS time, open, high, low, close, volume FROM {} ORDER BY time"


def bars_of(parts: list[tuple[int, *tuple[Any, ...]]], length: int) -> list[tuple[Any, ...]]:
    """Bars (time, open, high, low, close, volume) of `length` microseconds from parts (time, open, high, low, close, size)."""
    bars = []
    for bucket, group in groupby(parts, key=lambda part: part[0] - part[0] % length):
        rows = list(group)
        high, low = max(row[2] for row in rows), min(row[3] for row in rows)
        bars.append((bucket, rows[0][1], high, low, rows[-1][4], sum(row[5] for row in rows)))
    return bars


@pytest.mark.parametrize("kind", ["plain", "refused"])
@on_apache
async def test_backfill_by_rest_stores_what_the_exchange_has(market: str, past: Simulator, tmp_path: Path, kind: str):
    if kind == "refused":
        past.faults.refuse("/api/v3/historicalTrades", 429, {"Retry-After": "1"}, times=1)
        past.faults.refuse("/api/v3/klines", 503, times=2)
    settings = configuration(market, past)
    since = (datetime.now(UTC) - timedelta(minutes=10)).replace(second=0, microsecond=0)
    end = since + timedelta(minutes=8)
    span = ("--from", since.isoformat(), "--to", end.isoformat(), "--via", "rest")
    assert (await backfill(tmp_path, settings, "trades", *span))[0] == 0
    assert (await backfill(tmp_path, settings, "candles", *span))[0] == 0
    first, last = micros(since) // 1000, micros(end) // 1000
    assert await stored.trades(market) == [trade for trade in past.oracle.trades("BTCUSDT") if first <= trade.time < last]
    rows = [row[:11] for row in past.oracle.candles("BTCUSDT") if first <= row[0] < last]
    assert [list(row) for row in await stored.fetch(market, _CANDLES, "rest", "BTCUSDT")] == rows
    assert len(rows) == 8


async def test_real_klines_from_archive_with_their_rollups(market: str, served: ArchiveServer, tmp_path: Path, real: Path):
    """Recorded candles, and minutes without trades between them: two whole days."""
    recorded: list[list[Any]] = []
    for day in ("2021-11-27", "2021-11-28"):
        lines = [line.split(",") for line in (real / f"binance_archive/ADABTC-1m-{day}.csv").read_text().splitlines()]
        recorded += [[int(line[0]), *line[1:6], int(line[6]), line[7], int(line[8]), *line[9:11]] for line in lines]
    first = datetime(2021, 11, 27, tzinfo=UTC)
    rows = whole_minutes(recorded, micros(first), micros(first + timedelta(days=2)))
    served.add(f"{KLINES}-2021-11-27", kline_lines(rows[:1440]))
    served.add(f"{KLINES}-2021-11-28", kline_lines(rows[1440:]), header="open_time,open,high,low,close,volume,close_time\n")
    code, output = await backfill(tmp_path, archive_settings(market, served), "candles", "--instrument", "ADA/BTC", *days(2, first))
    assert (code, "1 chunks: 2,880 written, 0 revised, 0 were there already" in output) == (0, True), output
    assert [list(row) for row in await stored.fetch(market, _CANDLES, "archive", "ADABTC")] == rows

    parts = [(row[0] * 1000, *map(Decimal, row[1:6])) for row in rows]
    rolled = await stored.fetch(market, _ROLLED)
    for interval in ("5m", "15m", "1h", "4h", "1d"):
        found = [tuple(row[1:7]) for row in rolled if row["interval"] == interval]
        assert found == bars_of(parts, INTERVALS[interval]), interval
    assert [row["parts"] for row in rolled if row["interval"] == "1d"] == [1440, 1440]
    assert [tuple(row) for row in await stored.fetch(market, _DAYS)] == bars_of(parts, INTERVALS["1d"])


@on_apache
async def test_1468_real_klines_by_rest_in_pages(market: str, served: ArchiveServer, tmp_path: Path, real: Path):
    routes = json.loads((real / "gocryptotrader/binance.http.json").read_text())["routes"]["/api/v3/klines"]["GET"]
    # consecutive 1h bars, in two answers, served as consecutive minutes
    hours = [row for route in routes if "interval=1h&limit=1000&startTime=15" in route["queryString"] for row in route["data"]]
    begin = datetime(2020, 4, 30, 21, tzinfo=UTC)
    served.klines = [[micros(begin) // 1000 + 60_000 * n, *row[1:]] for n, row in enumerate(hours)]
    assert len(served.klines) == 1468
    end = begin + timedelta(minutes=1468)
    span = ("--from", f"{begin:%Y-%m-%dT%H:%M}", "--to", f"{end:%Y-%m-%dT%H:%M}", "--via", "rest")
    code, output = await backfill(tmp_path, archive_settings(market, served), "candles", *span)
    assert code == 0, output
    found = await stored.fetch(market, _CANDLES, "rest", "BTCUSDT")
    assert [list(row)[:6] + list(row)[7:] for row in found] == [row[:6] + row[7:11] for row in served.klines]


async def test_trade_files_in_milliseconds_and_microseconds_with_and_without_header(
    market: str, served: ArchiveServer, tmp_path: Path
):
    expected = []
    for number, (unit, header) in enumerate([(1000, ""), (1, "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n")]):
        day = datetime(2024, 12, 31, tzinfo=UTC) + timedelta(days=number)
        lines = trade_lines(micros(day), 250, unit=unit, first=1 + number * 250)
        served.add(f"{TRADE_FILES}-{day:%Y-%m-%d}", lines, header=header)
        expected += [expected_trade(line, unit) for line in lines]
    settings, span = archive_settings(market, served), days(2, datetime(2024, 12, 31, tzinfo=UTC))
    code, output = await backfill(tmp_path, settings, "trades", *span)
    assert (code, "2 chunks: 500 written" in output) == (0, True), output
    assert await trades(market) == expected
    parts = [(time, *[Decimal(price)] * 4, Decimal(size)) for _, time, price, size, _ in expected]
    for name, length in (("bars_1m", MINUTE), ("bars_1h", INTERVALS["1h"])):
        assert [tuple(row) for row in await stored.fetch(market, _BARS.format(name))] == bars_of(parts, length)

    assert "nothing is pending" in (await backfill(tmp_path, settings, "trades", *span))[1]
    code, output = await backfill(tmp_path, settings, "trades", *span, "--again")
    assert (code, "2 chunks: 0 written, 0 revised, 500 were there already" in output) == (0, True), output
    assert await trades(market) == expected


@pytest.mark.parametrize("edition", ["community"], indirect=True)
async def test_a_compressed_chunk_is_filled(market: str, served: ArchiveServer, tmp_path: Path):
    path, day, settings = f"{TRADE_FILES}-{DAY:%Y-%m-%d}", micros(DAY), archive_settings(market, served)
    dense = trade_lines(day, 120_000, first=1, step=2)
    served.add(path, dense)
    assert (await backfill(tmp_path, settings, "trades", *days(1)))[0] == 0
    compressed = "SELECT count(compress_chunk(c)) FROM show_chunks('trades') c"
    assert (await stored.fetch(market, compressed))[0][0] == 1
    # first rows all over the chunk, which has more than the 100,000 rows that one transaction may decompress; then the rest
    thin = trade_lines(day, 10_000, first=2, step=24)
    served.add(path, thin)
    code, output = await backfill(tmp_path, settings, "trades", *days(1), "--again")
    assert (code, "10,000 written" in output) == (0, True), output
    other = trade_lines(day, 120_000, first=2, step=2)
    served.add(path, other)
    code, output = await backfill(tmp_path, settings, "trades", *days(1), "--again")
    assert (code, "110,000 written, 0 revised, 10,000 were there already" in output) == (0, True), output
    assert await trades(market) == sorted(map(expected_trade, [*dense, *other]))
