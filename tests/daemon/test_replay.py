"""Replaying the captures of a daemon writes the same rows into another database, and no new row into the same one."""

from __future__ import annotations

import asyncio
import gzip
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ingest.simulator.server import Simulator
from ingest.tables import CANDLES, ORDER_BOOKS, QUOTES, TRADES
from tests.support import stored
from tests.support.daemon import Daemon, assert_balanced, configuration, demo, on_apache, subscribed, to_toml, until
from tests.support.paths import ROOT

STREAMED = (TRADES, CANDLES, QUOTES, ORDER_BOOKS)
Daemons = Callable[..., Daemon]
Rows = dict[str, list[tuple[Any, ...]]]
FAST = {"depth": 10, "interval": "100 ms"}
RECEIVED_AT = -1  # the last column of quotes and books

_ROWS = """
    SELECT i.exchange, i.symbol, i.instrument, i.base, i.quote, i.kind, i.status, i.price_step::text, i.trade_kind, t.*
      FROM {table} t JOIN instruments i ON i.id = t.instrument_id {where} ORDER BY i.symbol, {key}"""


async def rows(dsn: str) -> Rows:
    """Every row of each table in the order of its key, with the columns of its instrument instead of the id. Only 1m candles."""
    found = {}
    for table in STREAMED:
        where = "WHERE t.interval = '1m'" if table.name == "candles" else ""
        key = ", ".join(f"t.{name}" for name in table.key[1:])
        fetched = await stored.fetch(dsn, _ROWS.format(table=table.name, where=where, key=key))
        found[table.name] = [tuple(value for name, value in row.items() if name != "instrument_id") for row in fetched]
    return found


async def replay(folder: Path, dsn: str, *files: Path, **changes: Any) -> tuple[dict[str, dict[str, int]], str]:
    """Run `ingest replay` as a process. Returns the row totals of each table, and the output."""
    config = folder / f"replay{next(_NUMBERS)}.toml"
    settings = {"name": "one", "database": {"dsn": dsn, "admin_dsn": dsn}, "log": {"format": "json"}} | changes
    config.write_text(to_toml(settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", "replay", "--config", str(config), *map(str, files)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    totals = {}
    for table in (table.name for table in STREAMED):
        (text,) = re.findall(rf"^{table}: (decoded .*)$", output, re.MULTILINE)
        totals[table] = {term: int(number) for term, number in re.findall(r"(\w+) (\d+)", text)}
        assert_balanced(table, totals[table])
    return totals, output


_NUMBERS = count()


def recorded(dsn: str, simulator: Simulator, folder: Path, capture: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The settings of a daemon that subscribes to every channel of one instrument and captures it."""
    everything = {"channels": ["trades", "candles", "book", "quotes"], "book": FAST, "quotes": {"interval": "100 ms"}}
    section = demo(simulator, capture=True, **(everything | changes))
    return configuration(dsn, simulator, exchanges={"demo": section}, capture={"path": str(folder)} | (capture or {}))


async def run_until_written(daemon: Daemons, simulator: Simulator, settings: dict[str, Any]) -> Daemon:
    """A running daemon that has written rows of each of its channels."""
    instance = await daemon(settings).start()
    channels = settings["exchanges"]["demo"]["channels"]
    await subscribed(simulator)
    for _ in range(10):
        simulator.trade("BTCUSDT", 50)
        await asyncio.sleep(0.01)
    await instance.settled("trades", 500)
    for channel, table in (("book", "order_books"), ("quotes", "quotes")):
        if channel in channels:
            await instance.until(lambda now, table=table: now.rows(table)["written"] >= 5)
    return instance


def captures(folder: Path) -> list[Path]:
    return sorted((folder / "demo").glob("*.capture.gz"))


async def test_a_recorded_run_gives_the_same_rows_in_another_database(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await run_until_written(daemon, simulator, recorded(market, simulator, tmp_path))
    assert await instance.terminate() == 0
    await stored.execute(
        other_market,
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status) "
        "VALUES ('else', 'X', 'X/Y', 'X', 'Y', 'spot', 'trading')",
    )
    live = await rows(market)
    assert all(live[table] for table in ("trades", "quotes", "order_books"))
    totals, _ = await replay(tmp_path, other_market, *captures(tmp_path))
    assert await rows(other_market) == live
    assert {table: total["written"] for table, total in totals.items()} == {table: len(live[table]) for table in live}

    totals, _ = await replay(tmp_path, market, tmp_path)  # a folder means all captures in it
    assert await rows(market) == live
    for table, total in totals.items():
        assert (total["duplicate"], total["written"], total["revised"]) == (len(live[table]), 0, 0), table


def faster(factor: int) -> Callable[[], int]:
    """A clock in microseconds that starts an hour ago and runs `factor` times as fast."""
    started = time.time_ns() // 1000
    return lambda: started - 3_600_000_000 + (time.time_ns() // 1000 - started) * factor


@pytest.fixture
async def hasty() -> AsyncIterator[Simulator]:
    """A simulated exchange whose minutes last three seconds."""
    simulator = Simulator(trades_per_second=0.5, ping_seconds=0.5, clock=faster(20))
    await simulator.start()
    yield simulator
    await simulator.stop()


@on_apache
async def test_closed_bars_come_out_the_same(market: str, other_market: str, hasty: Simulator, daemon: Daemons, tmp_path: Path):
    instance = await daemon(recorded(market, hasty, tmp_path, channels=["trades", "candles"])).start()
    await instance.until(lambda now: now.rows("candles")["written"] >= 2)
    assert await instance.terminate() == 0
    live = await rows(market)
    await replay(tmp_path, other_market, tmp_path)
    assert len(live["candles"]) >= 2
    assert await rows(other_market) == live


@on_apache
async def test_the_capture_of_a_killed_daemon_is_replayed_up_to_its_torn_end(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = recorded(market, simulator, tmp_path)
    instance = await run_until_written(daemon, simulator, settings)
    await instance.until(lambda now: min(now.rows(table)["written"] for table in ("quotes", "order_books")) >= 25)
    await instance.kill()
    killed = datetime.now(UTC)
    cut = killed - timedelta(seconds=1)
    two = await run_until_written(daemon, simulator, settings)  # a second run with the same folder
    assert await two.terminate() == 0
    live = await rows(market)

    (torn, whole) = captures(tmp_path)
    whole_text = gzip.decompress(whole.read_bytes())
    assert whole_text.count(b" frame ") > 500
    _, output = await replay(tmp_path, other_market, whole, torn)  # replay sorts the files by time
    assert f"capture {torn} is damaged (the compressed stream has no end)" in output
    found = await rows(other_market)
    assert found["trades"] == live["trades"]
    for table in ("quotes", "order_books"):  # sampled by time: rows of the last second before the kill may differ
        sure, again = ([row for row in rows_of[table] if not cut <= row[RECEIVED_AT] <= killed] for rows_of in (live, found))
        assert sure == again
        assert min(row[RECEIVED_AT] for row in sure) < cut < killed < max(row[RECEIVED_AT] for row in sure), table


@on_apache
async def test_books_begin_again_after_a_missing_file(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = recorded(market, simulator, tmp_path, {"rotate": "1s"})
    instance = await run_until_written(daemon, simulator, settings)
    await until(lambda: len(captures(tmp_path)) >= 4)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 600)
    assert await instance.terminate() == 0
    live = await rows(market)
    parts = captures(tmp_path)

    totals, output = await replay(tmp_path, other_market, *parts)
    assert await rows(other_market) == live
    assert "orphan" not in output

    await stored.execute(other_market, "TRUNCATE trades; TRUNCATE quotes; TRUNCATE order_books")
    await replay(tmp_path, other_market, *parts[1:])  # a book needs its snapshot, trades need nothing
    found = await rows(other_market)
    assert found["trades"] == [row for row in live["trades"] if row in set(found["trades"])] != []
    assert {row[1] for row in found["trades"][-100:]} == {"BTCUSDT"}
    assert found["order_books"] == []
    assert totals["order_books"]["written"] > 0


@on_apache
async def test_captures_stay_within_their_bound(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    bound = 1 << 20  # the smallest valid setting
    instance = await daemon(recorded(market, simulator, tmp_path, {"max_bytes": bound}, channels=["trades"])).start()
    await subscribed(simulator)

    async def full() -> bool:
        simulator.trade("BTCUSDT", 5000)
        assert sum(path.stat().st_size for path in captures(tmp_path)) <= bound
        return await instance.value("capture_files_deleted_total") >= 2

    await until(full, 60)
    assert await instance.terminate() == 0
    numbers = [int(path.name.split("-")[-1].split(".")[0]) for path in captures(tmp_path)]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))  # the oldest files were deleted
    assert numbers[0] >= 3


@on_apache
async def test_garbage_is_rejected_again_and_the_rest_is_written(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await daemon(recorded(market, simulator, tmp_path, channels=["trades"])).start()
    await subscribed(simulator)
    garbage = [
        b"no JSON at all",
        b'{"stream":"btcusdt@trade",\n"data":null}',
        b"two\nlines",
        b'{"stream":"nobody@trade","data":{}}',
    ]
    for payload in garbage:
        simulator.trade("BTCUSDT", 50)
        simulator.send_raw(payload)
    await instance.settled("trades", 200)
    assert await instance.terminate() == 0
    query = "SELECT source, stage, reason, payload FROM rejects ORDER BY id"
    live = await stored.fetch(market, query)
    assert [row["payload"].encode() for row in live] == garbage

    await replay(tmp_path, other_market, tmp_path)
    assert await stored.fetch(other_market, query) == live
    await stored.assert_all_trades(other_market, simulator)


@on_apache
async def test_a_replay_repeats_the_gaps_within_a_connection_once(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await daemon(recorded(market, simulator, tmp_path, channels=["trades"])).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 50)
    simulator.faults.lose("btcusdt@trade", 5)
    simulator.trade("BTCUSDT", 50)
    await instance.settled("trades", 95)
    assert await instance.terminate() == 0
    (live,) = [shown(gap) for gap in await stored.gaps(market)]
    assert (live["writer"], live["reason"], live["expected"]) == ("one", "sequence", 5)
    replayed = live | {"writer": "replay"}
    for _ in range(2):
        await replay(tmp_path, market, tmp_path)
        assert [shown(gap) for gap in await stored.gaps(market)] == [live, replayed]
    await replay(tmp_path, other_market, tmp_path)
    assert [shown(gap) for gap in await stored.gaps(other_market)] == [replayed]


def shown(gap: dict[str, Any]) -> dict[str, Any]:
    """The columns of a gap that depend neither on the database nor on gap filling."""
    return {
        name: gap[name] for name in ("symbol", "channel", "reason", "since", "until", "first_id", "last_id", "expected", "writer")
    }


CLAIMS = """
    SELECT channel, state, writer, reason, since, until FROM coverage
     WHERE state IN ('covered', 'unverifiable') ORDER BY channel, state, since"""
MISSING = "SELECT since, until, reasons, state FROM coverage_gaps WHERE channel = 'trades'"


async def quotes(instance: Daemon, written: int) -> None:
    """Wait until so many quotes are written; there is one every 100 ms."""
    await instance.until(lambda now: now.rows("quotes")["written"] >= written)


@on_apache
async def test_a_replay_claims_what_it_wrote_and_reports_what_was_not_captured(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = recorded(market, simulator, tmp_path) | {"heal": {"enabled": False}}
    ends = []
    for _ in range(2):
        instance = await run_until_written(daemon, simulator, settings)
        await quotes(instance, 50)
        simulator.trade("BTCUSDT", 1)
        await instance.settled("trades", 501)
        assert await instance.terminate() == 0
        await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
        ends.append(datetime.now(UTC))
    _, output = await replay(tmp_path, other_market, tmp_path)
    received = [row["received_at"] for row in await stored.fetch(other_market, "SELECT received_at FROM trades ORDER BY trade_id")]
    rows = [row for row in await stored.fetch(other_market, CLAIMS) if row["channel"] == "trades"]
    assert [(row["state"], row["writer"]) for row in rows] == [("covered", "replay")] * 2 + [("unverifiable", "replay")] * 2
    assert {row["reason"] for row in rows} == {"replay"}
    for row, first, last in zip(rows[:2], (received[0], received[501]), (received[500], received[-1]), strict=True):
        assert first <= row["since"] <= first + timedelta(seconds=1)
        assert row["until"] == last - timedelta(seconds=2)
    claims = rows[2:]
    for row, first, end in zip(claims, (received[0], received[501]), ends, strict=True):
        assert first <= row["since"] <= first + timedelta(seconds=1)
        assert end - timedelta(seconds=4) <= row["until"] <= end - timedelta(seconds=2)
    (gap,) = await stored.fetch(other_market, MISSING)
    assert (gap["since"], gap["until"], gap["state"]) == (claims[0]["until"], claims[1]["since"], "open")
    assert len(re.findall(r"^demo BTC/USDT (?:trades|book|quotes): nothing was recorded from ", output, re.MULTILINE)) == 3
    assert re.search(r"trades: nothing was recorded from {:%Y-%m-%d %H:%M:%S}".format(gap["since"]), output)
    assert {row["channel"] for row in await stored.fetch(other_market, CLAIMS)} == {"trades", "book", "quotes"}
    before = await stored.fetch(other_market, CLAIMS)
    await replay(tmp_path, other_market, tmp_path)
    assert await stored.fetch(other_market, CLAIMS) == before


@on_apache
async def test_a_replay_fills_the_gap_of_shed_rows(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    queue = {"batch_rows": 50, "max_age": "50 ms", "max_rows": 100, "max_wait": "100 ms"}
    settings = recorded(market, simulator, tmp_path, channels=["trades", "quotes"])
    instance = await daemon(settings | {"queue": queue, "heal": {"enabled": False}}).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 50)  # the first message of a stream is not claimed
    await instance.settled("trades", 50)
    async with stored.locked(market, "trades"):
        for _ in range(10):
            simulator.trade("BTCUSDT", 100)
            await asyncio.sleep(0.05)
        await instance.until(lambda now: now.rows("trades")["shed"])
    await quotes(instance, 60)
    simulator.trade("BTCUSDT", 1)  # shows that none before it was missed
    await instance.until(lambda now: not now.rows("trades")["queued"])
    assert await instance.terminate() == 0
    (shed,) = [gap for gap in await stored.gaps(market) if gap["channel"] == "trades"]
    assert shed["reason"] == "shed"
    await replay(tmp_path, market, tmp_path)
    await stored.assert_all_trades(market, simulator)
    missing = await stored.fetch(market, MISSING)
    assert [gap for gap in missing if gap["since"] <= shed["until"] and gap["until"] >= shed["since"]] == []


@on_apache
async def test_rows_older_than_retention_are_reported(
    market: str, other_market: str, hasty: Simulator, daemon: Daemons, tmp_path: Path
):
    instance = await daemon(recorded(market, hasty, tmp_path, channels=["trades"])).start()
    await subscribed(hasty)
    hasty.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    assert await instance.terminate() == 0
    live = await rows(market)

    totals, output = await replay(tmp_path, other_market, tmp_path, retention={"trades": "30 minutes"})
    assert totals["trades"]["expired"] == totals["trades"]["decoded"] == len(live["trades"])
    assert f"trades: {len(live['trades'])} rows are older than retention.trades and were not stored" in output
    assert (await rows(other_market))["trades"] == []

    await replay(tmp_path, other_market, tmp_path, retention={"trades": "none"})
    assert await rows(other_market) == live


@on_apache
async def test_a_file_that_is_no_capture_is_refused_with_the_reason(tmp_path: Path, market: str):
    settings = {"database": {"dsn": market}}
    config, wrong = tmp_path / "ingest.toml", tmp_path / "wrong.capture.gz"
    config.write_text(to_toml(settings))
    wrong.write_bytes(gzip.compress(b"0.000001 1 frame {}\n"))
    missing = tmp_path / "missing.capture.gz"
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, reason in (
        (wrong, f"capture {wrong}: the first line is not a header"),
        (missing, f"capture {missing}: No such file or directory"),
        (empty, f"no capture (*.capture.gz) below {empty}"),
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingest", "replay", "--config", str(config), str(path)),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        output = (await process.communicate())[1].decode()
        assert (process.returncode, f"ingest: {reason}" in output) == (2, True), output
