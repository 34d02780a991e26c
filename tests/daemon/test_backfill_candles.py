"""`ingest backfill candles` counts: where an exchange has a candle for every minute, a short answer is no month, day or page."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support import stored
from tests.support.archive import ArchiveServer, kline_lines, whole_minutes
from tests.support.backfills import archive_settings, backfill, chunks, micros
from tests.support.daemon import on_apache, to_toml
from tests.support.paths import ROOT

MONTHLY, DAILY = "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m", "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m"
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SPAN = ("--from", "2026-03-01", "--to", "2026-04-01")

_TIMES = "SELECT time, origin FROM candles WHERE interval = '1m' ORDER BY time"
_GAPS = "SELECT state, reasons, since, until FROM coverage_gaps WHERE channel = 'candles' ORDER BY since"
_MARKET = "INSERT INTO coverage (source, writer, instrument_id, channel, interval, state, reason, since, until)"


def bar(time: datetime) -> list[Any]:
    opened = micros(time) // 1000
    return [opened, "1.5", "2.5", "0.5", "1.25", "10.125", opened + 59_999, "12.5", 3, "4.5", "5.5"]


def minutes(since: datetime, until: datetime) -> list[list[Any]]:
    return whole_minutes([bar(since)], micros(since), micros(until))


def unwatched(market: str, served: ArchiveServer) -> dict[str, Any]:
    """Settings with which `ingest gaps --heal` tracks no channel that has a history."""
    settings = archive_settings(market, served)
    settings["exchanges"]["demo"]["channels"] = ["book"]
    return settings


async def counted(market: str) -> dict[str, int]:
    """The number of stored candles by origin."""
    rows = await stored.fetch(market, _TIMES)
    return {origin: [row["origin"] for row in rows].count(origin) for origin in sorted({row["origin"] for row in rows})}


async def ledger(market: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await stored.fetch(market, _GAPS)]


@on_apache
async def test_a_month_that_ends_early_is_completed_by_days_and_rest(market: str, served: ArchiveServer, tmp_path: Path):
    """The file of March ends on the 7th. Files of days: the 8th has half a day, the 9th a bad line, the 31st has none."""
    rows = minutes(MARCH, MARCH + 31 * DAY)
    served.add(f"{MONTHLY}-2026-03", kline_lines(rows[: 7 * 1440]))
    for number in range(7, 30):
        lines = kline_lines(rows[number * 1440 : (number + 1) * 1440])
        if number == 8:
            lines[100] = lines[100].replace("1.25", "NaN", 1)
        served.add(f"{DAILY}-{MARCH + number * DAY:%Y-%m-%d}", lines[:720] if number == 7 else lines)
    served.klines = rows
    code, output = await backfill(tmp_path, archive_settings(market, served), "candles", *SPAN)
    assert (code, "1 chunks: 44,640 written, 0 revised, 0 were there already, 1 rejected" in output) == (0, True), output
    assert await counted(market) == {"archive": 30 * 1440 - 720 - 1, "rest": 720 + 1 + 1440}
    (bad,) = await stored.fetch(market, "SELECT source, stage, reason, payload FROM rejects")
    assert (*bad[:3], ",NaN,1.25," in bad[3]) == ("demo", "decode", "value", True)
    assert await ledger(market) == []
    # whether the 31st has any, the 31st, half of the 8th, a minute of the 9th
    assert served.request_counts["/api/v3/klines"] == 1 + 2 + 1 + 1


@on_apache
async def test_minutes_that_the_exchange_lacks_fail_the_chunk_and_are_gaps(market: str, served: ArchiveServer, tmp_path: Path):
    """As while Binance was down on 2018-02-08. The same command finds them again, until REST has them."""
    rows = minutes(MARCH, MARCH + 4 * DAY)
    since, until = MARCH + timedelta(minutes=30), MARCH + DAY + timedelta(hours=10)
    holes = [(since, until), (MARCH + 3 * DAY, MARCH + 3 * DAY + timedelta(minutes=1))]
    served.klines = [row for row in rows if not any(micros(a) <= row[0] * 1000 < micros(b) for a, b in holes)]
    for number in range(4):
        day = MARCH + number * DAY
        there = [row for row in served.klines if micros(day) <= row[0] * 1000 < micros(day + DAY)]
        served.add(f"{DAILY}-{day:%Y-%m-%d}", kline_lines(there))
    span = ("--from", "2026-03-01", "--to", "2026-03-05")
    settings = unwatched(market, served)
    lost = (until - since) // timedelta(minutes=1) + 1
    for state in ("open", "unrecoverable"):
        code, output = await backfill(tmp_path, settings, "candles", *span)
        assert code == 1
        verdict = (
            f"demo: BTCUSDT: incomplete: {lost:,} minutes have no candle at the exchange: "
            "2026-03-01 00:30 to 2026-03-02 10:00, 2026-03-04 00:00 to 2026-03-04 00:01"
        )
        assert verdict in output
        assert [row[1::3] for row in await chunks(market)] == [("failed", verdict)]
        assert sum((await counted(market)).values()) == len(served.klines)
        assert await ledger(market) == [(state, "incomplete", *hole) for hole in holes]
        code, output = await gaps(tmp_path, settings, "gaps")
        assert (code, output.count("incomplete")) == (int(state == "open"), 2), output
        await gaps(tmp_path, settings, "gaps", "--heal")  # the minutes are old: the exchange does not have them
    served.klines = rows
    code, output = await backfill(tmp_path, settings, "candles", *span)
    assert (code, f"1 chunks: {lost:,} written" in output) == (0, True), output
    assert await ledger(market) == []


@on_apache
async def test_the_gap_filler_stores_what_the_exchange_has_later(market: str, served: ArchiveServer, tmp_path: Path):
    rows = minutes(MARCH, MARCH + 2 * DAY)
    served.klines = rows[:100] + rows[400:]
    settings = unwatched(market, served)
    code, output = await backfill(tmp_path, settings, "candles", "--from", "2026-03-01", "--to", "2026-03-03", "--via", "rest")
    assert (code, "300 minutes have no candle" in output) == (1, True), output
    served.klines = rows[:200] + rows[400:]
    code, output = await gaps(tmp_path, settings, "gaps", "--heal")
    edges = [MARCH + timedelta(minutes=number) for number in (100, 200, 400)]
    assert await ledger(market) == [("unrecoverable", "incomplete", *edges[1:])]
    assert code == 0
    assert await counted(market) == {"rest": 2 * 1440 - 200}
    served.klines = rows
    code, output = await gaps(tmp_path, settings, "gaps", "--heal", "--all")
    assert (code, await ledger(market), output.count("healed")) == (0, [], 2), output
    assert await counted(market) == {"rest": 2 * 1440}


@on_apache
async def test_minutes_before_the_first_candle_of_a_market_are_not_missing(market: str, served: ArchiveServer, tmp_path: Path):
    begin = MARCH + 30 * DAY + timedelta(hours=12)
    served.klines = minutes(begin, MARCH + 32 * DAY)
    settings = archive_settings(market, served)
    for via in ("archive", "rest"):
        code, output = await backfill(tmp_path, settings, "candles", "--from", "2026-02-01", "--to", "2026-04-02", "--via", via)
        assert (code, "3 chunks: " in output) == (0, True), output
    assert await counted(market) == {"rest": 36 * 60}
    # the same range of a market that is older has lost them
    served.klines = [bar(MARCH - 300 * DAY), *served.klines]
    code, output = await backfill(tmp_path, settings, "candles", *SPAN, "--again")
    lost = "43,920 minutes have no candle at the exchange: 2026-03-01 00:00 to 2026-03-31 12:00"
    assert (code, lost in output) == (1, True), output


@on_apache
async def test_rest_asked_again_revises_what_an_archive_stored(market: str, served: ArchiveServer, tmp_path: Path):
    """The file of the month has a close of 9.99 above the high of 2.5; the candle is flagged, and then replaced."""
    rows = minutes(MARCH, MARCH + DAY)
    wrong = [list(row) for row in rows]
    wrong[700][4] = "9.99"
    wrong[800][1:5] = ["1.5", "2.5", "0.5", "2.25"]  # wrong as well, but possible
    served.add(f"{DAILY}-2026-03-01", kline_lines(wrong))
    served.klines = rows
    settings, span = archive_settings(market, served), ("--from", "2026-03-01", "--to", "2026-03-02")
    code, output = await backfill(tmp_path, settings, "candles", *span)
    assert (code, "1,440 written" in output) == (0, True), output
    closes = "SELECT close::text FROM candles WHERE interval = '1m' AND close <> 1.25 ORDER BY time"
    assert [row[0] for row in await stored.fetch(market, closes)] == ["9.99", "2.25"]
    (flag,) = await stored.fetch(market, "SELECT source, stage, payload FROM rejects")
    assert (flag["source"], flag["stage"], "9.99" in flag["payload"]) == ("demo", "flag", True)

    code, output = await backfill(tmp_path, settings, "candles", *span, "--via", "rest", "--again")
    assert (code, "0 written, 2 revised, 1,438 were there already" in output) == (0, True), output
    assert await stored.fetch(market, closes) == []
    code, output = await backfill(tmp_path, settings, "candles", *span, "--again")
    assert (code, "0 written, 1 revised, 1,439 were there already" in output) == (0, True), output
    assert [row[0] for row in await stored.fetch(market, closes)] == ["2.25"]  # 9.99 replaces no consistent candle


@on_apache
async def test_an_isolated_gap_does_not_make_everything_after_it_a_gap(market: str, served: ArchiveServer, tmp_path: Path):
    """A daemon watches the candles since June; a backfill of March found a minute missing."""
    rows = minutes(MARCH, MARCH + DAY)
    served.klines = rows[:100] + rows[101:]
    settings = archive_settings(market, served)
    assert (await backfill(tmp_path, settings, "candles", "--from", "2026-03-01", "--to", "2026-03-02", "--via", "rest"))[0] == 1
    june = "'2026-06-01 00:00+00'::timestamptz, '2026-07-01 00:00+00'::timestamptz"
    await stored.fetch(market, f"{_MARKET} SELECT 'demo', 'one', id, 'candles', '1m', 'covered', 'live', {june} FROM instruments")
    gap = (MARCH + timedelta(minutes=100), MARCH + timedelta(minutes=101))
    assert await ledger(market) == [("open", "incomplete", *gap)]
    (row,) = await stored.fetch(market, "SELECT min(day) AS day, min(verified) AS verified FROM coverage_report")
    assert (f"{row['day']}", row["verified"]) == ("2026-06-01", 100)


async def gaps(folder: Path, settings: dict[str, Any], *arguments: str) -> tuple[int | None, str]:
    (folder / "gaps.toml").write_text(to_toml(settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", *arguments, "--config", str(folder / "gaps.toml")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()
