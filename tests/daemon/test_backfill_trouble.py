"""`ingest backfill` that is killed, refused, run twice at a time or given wrong files, and its messages."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.archive import ArchiveServer
from tests.support.backfills import DAY, TRADE_FILES, add_days, archive_settings, backfill, chunks, days, micros, start, trades
from tests.support.daemon import Daemon, configuration, on_apache, subscribed, until


@on_apache
async def test_after_a_kill_the_same_command_loads_the_pending_chunk(market: str, served: ArchiveServer, tmp_path: Path):
    expected = add_days(served, 5)
    held = f"/{TRADE_FILES}-{DAY:%Y-%m-%d}.zip"
    served.held[held] = asyncio.Event()
    settings = archive_settings(market, served)
    process = await start(tmp_path, settings, "trades", *days(5))

    async def four_done() -> bool:
        return [state for _, state, *_ in await chunks(market)] == ["pending", "done", "done", "done", "done"]

    await until(four_done)
    process.kill()
    await process.communicate()
    assert await trades(market) == expected[300:]
    served.held[held].set()
    served.request_counts.clear()
    code, output = await backfill(tmp_path, settings, "trades", *days(5))
    assert (code, "1 chunks: 300 written" in output) == (0, True), output
    assert {path for path in served.request_counts if path.endswith(".zip")} == {held}
    assert await trades(market) == expected
    assert [row[1:4] for row in await chunks(market)] == [("done", 300, 0)] * 5


@on_apache
async def test_two_processes_share_a_job(market: str, served: ArchiveServer, tmp_path: Path):
    expected = add_days(served, 8)
    last = f"/{TRADE_FILES}-{DAY + timedelta(days=7):%Y-%m-%d}.zip"
    served.held[last] = asyncio.Event()  # the first chunk of the first process
    settings = archive_settings(market, served)
    first = await start(tmp_path, settings, "trades", *days(8))
    await until(lambda: served.request_counts[last])
    code, second_output = await backfill(tmp_path, settings, "trades", *days(8))
    served.held[last].set()
    first_output = (await first.communicate())[0].decode()
    assert (first.returncode, code) == (0, 0), first_output + second_output
    assert re.search(r"; another process runs [12] of the chunks", second_output), second_output
    assert {path: times for path, times in served.request_counts.items() if path.endswith(".zip") and times != 1} == {}
    assert await trades(market) == expected
    assert [row[1:4] for row in await chunks(market)] == [("done", 300, 0)] * 8


@on_apache
async def test_beside_a_daemon(market: str, past: Simulator, tmp_path: Path, daemon: Callable[..., Daemon]):
    settings = configuration(market, past)
    instance = await daemon(settings).start()
    await subscribed(past)
    await instance.until(lambda now: now.rows("trades")["written"] >= 50)  # the queue of a busy market is never seen empty
    first = (await stored.fetch(market, "SELECT min(trade_id) FROM trades"))[0][0]
    since = (datetime.now(UTC) - timedelta(minutes=10)).replace(second=0, microsecond=0)
    code, output = await backfill(tmp_path, settings, "trades", "--from", since.isoformat(), "--via", "rest")
    assert code == 0, output  # without --to it loads up to about two minutes ago
    end = (await stored.fetch(market, "SELECT until FROM jobs"))[0][0]
    assert timedelta(minutes=1) < datetime.now(UTC) - end < timedelta(minutes=3)
    assert await instance.terminate() == 0
    found = await stored.trades(market)
    last = found[-1].id
    assert found == [
        trade
        for trade in past.oracle.trades("BTCUSDT")
        if micros(since) <= trade.time * 1000 < micros(end) or first <= trade.id <= last
    ]
    assert found[0].id < first


@on_apache
async def test_a_chunk_that_fails_says_why_and_is_tried_again(market: str, served: ArchiveServer, tmp_path: Path):
    expected, settings = add_days(served, 3), archive_settings(market, served)
    path = f"{TRADE_FILES}-{DAY + timedelta(days=1):%Y-%m-%d}"
    good, wrong = served.files[f"/{path}.zip.CHECKSUM"], "0" * 64
    served.files[f"/{path}.zip.CHECKSUM"] = good.replace(good[:64], wrong.encode())
    code, output = await backfill(tmp_path, settings, "trades", *days(3))
    assert code == 1
    assert "600 written, 0 revised, 0 were there already; 1 chunks failed, the same command tries them again:" in output
    states = await chunks(market)
    assert [row[1] for row in states] == ["done", "failed", "done"]
    assert f"CHECKSUM '{wrong}'" in states[1][4]
    assert states[1][4] in output
    assert await trades(market) == expected[:300] + expected[600:]

    served.files[f"/{path}.zip.CHECKSUM"] = good
    code, output = await backfill(tmp_path, settings, "trades", *days(3))
    assert (code, "1 chunks: 300 written" in output) == (0, True), output
    assert [row[1::3] for row in await chunks(market)] == [("done", None)] * 3
    assert await trades(market) == expected


# --- messages -------------------------------------------------------------------------------------------------------------------


@on_apache
async def test_a_dry_run_changes_nothing(market: str, served: ArchiveServer, tmp_path: Path):
    code, output = await backfill(tmp_path, archive_settings(market, served), "trades", *days(2), "--dry-run")
    assert (code, output) == (
        0,
        "BTC/USDT: 2026-03-02 00:00 to 2026-03-03 00:00\nBTC/USDT: 2026-03-01 00:00 to 2026-03-02 00:00\n",
    )
    for table in ("instruments", "jobs", "job_chunks", "trades"):
        assert (await stored.fetch(market, f"SELECT count(*) FROM {table}"))[0][0] == 0, table


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--from", "2026-03-01", "--instrument", "BTC/USDD"), "--instrument: demo lists no 'BTC/USDD'; near: BTC/USDT"),
        (("--from", "2026-03-01", "--via", "pigeon"), "--via: demo has no history by 'pigeon'; known: rest, archive"),
        (("--from", "2026-03-01", "--exchange", "mtgox"), "--exchange: 'mtgox' has no section in the configuration; known: demo"),
        (("--from", "2026-03-01", "--interval", "1h"), "'1h' candles are computed from 1m candles; right would be 1m"),
        (("--from", "March"), "'March' is not a date; right would be 2026-11-20 or 2026-11-20T12:00"),
        (
            ("--from", "2026-03-02", "--to", "2026-03-01"),
            "--to 2026-03-01 00:00 must be later than --from 2026-03-02 00:00",
        ),
        (("--from", "2999-01-01"), "must be later than --from 2999-01-01 00:00"),
    ],
)
@on_apache
async def test_a_wrong_argument_is_refused_with_the_right_value(
    market: str, served: ArchiveServer, tmp_path: Path, arguments: tuple[str, ...], reason: str
):
    code, output = await backfill(tmp_path, archive_settings(market, served), "trades", *arguments)
    assert (code, reason in output) == (2, True), output


@on_apache
async def test_a_range_older_than_retention_is_refused(market: str, served: ArchiveServer, tmp_path: Path):
    settings = archive_settings(market, served, retention={"trades": "90 days"})
    code, output = await backfill(tmp_path, settings, "trades", "--from", "2020-01-01")
    assert (code, "ingest: --from 2020-01-01: retention.trades keeps 90 days, so rows older than" in output) == (2, True), output
    assert not served.request_counts


@on_apache
async def test_progress_is_a_bar_on_a_terminal_and_a_log_line_elsewhere(market: str, served: ArchiveServer, tmp_path: Path):
    add_days(served, 2)
    settings = archive_settings(market, served)
    _, output = await backfill(tmp_path, settings, "trades", *days(1))
    messages = [json.loads(line)["message"] for line in output.splitlines() if line.startswith("{")]
    assert any(message.startswith("1/1 chunks, 300 rows, ") for message in messages), output
    terminal, child_end = pty.openpty()
    process = await start(tmp_path, settings, "trades", *days(2), stdout=asyncio.subprocess.DEVNULL, stderr=child_end)
    assert await process.wait() == 0
    os.close(child_end)
    shown = os.read(terminal, 65_536).decode()
    os.close(terminal)
    assert f"\r[{'#' * 30}] 1/1 chunks, 300 rows, " in shown
