"""What a daemon has recorded is replayed: the same rows, value by value, into another database; nothing new into the same one."""

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
RECEIVED_AT = -1  # it is the last column of quotes and books

_ROWS = """
    SELECT i.exchange, i.symbol, i.instrument, i.base, i.quote, i.kind, i.status, i.price_step::text, i.trade_kind, t.*
      FROM {table} t JOIN instruments i ON i.id = t.instrument_id {where} ORDER BY i.symbol, {key}"""


async def rows(dsn: str) -> Rows:
    """Every row of every table by its key, its instrument told by what it is, not by its number; no rolled up candles."""
    found = {}
    for table in STREAMED:
        where = "WHERE t.interval = '1m'" if table.name == "candles" else ""
        key = ", ".join(f"t.{name}" for name in table.key[1:])
        fetched = await stored.fetch(dsn, _ROWS.format(table=table.name, where=where, key=key))
        found[table.name] = [tuple(value for name, value in row.items() if name != "instrument_id") for row in fetched]
    return found


async def replay(folder: Path, dsn: str, *files: Path, **changes: Any) -> tuple[dict[str, dict[str, int]], str]:
    """`ingest replay` as a process: what became of the rows of each table, and everything that it said."""
    config = folder / f"replay{next(_NUMBERS)}.toml"
    settings = {"name": "one", "database": {"dsn": dsn, "admin_dsn": dsn}, "log": {"format": "json"}} | changes
    config.write_text(to_toml(settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", "replay", "--config", str(config), *map(str, files)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    accounts = {}
    for table in (table.name for table in STREAMED):
        (text,) = re.findall(rf"^{table}: (decoded .*)$", said, re.MULTILINE)
        accounts[table] = {term: int(number) for term, number in re.findall(r"(\w+) (\d+)", text)}
        assert_balanced(table, accounts[table])
    return accounts, said


_NUMBERS = count()


def recorded(dsn: str, simulator: Simulator, folder: Path, capture: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The settings of a daemon that holds everything of one instrument and records it."""
    everything = {"channels": ["trades", "candles", "book", "quotes"], "book": FAST, "quotes": {"interval": "100 ms"}}
    section = demo(simulator, capture=True, **(everything | changes))
    return configuration(dsn, simulator, exchanges={"demo": section}, capture={"path": str(folder)} | (capture or {}))


async def lived(daemon: Daemons, simulator: Simulator, settings: dict[str, Any]) -> Daemon:
    """A daemon that has seen some of everything that its channels bring."""
    one = await daemon(settings).start()
    channels = settings["exchanges"]["demo"]["channels"]
    await subscribed(simulator)
    for _ in range(10):
        simulator.trade("BTCUSDT", 50)
        await asyncio.sleep(0.01)
    await one.settled("trades", 500)
    for channel, table in (("book", "order_books"), ("quotes", "quotes")):
        if channel in channels:
            await one.until(lambda now, table=table: now.rows(table)["written"] >= 5)
    return one


def captures(folder: Path) -> list[Path]:
    return sorted((folder / "demo").glob("*.capture.gz"))


async def test_a_recorded_run_gives_the_same_rows_in_another_database(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    one = await lived(daemon, simulator, recorded(market, simulator, tmp_path))
    assert await one.terminate() == 0
    await stored.execute(
        other_market,
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status) "
        "VALUES ('else', 'X', 'X/Y', 'X', 'Y', 'spot', 'trading')",
    )
    live = await rows(market)
    assert all(live[table] for table in ("trades", "quotes", "order_books"))
    accounts, _ = await replay(tmp_path, other_market, *captures(tmp_path))
    assert await rows(other_market) == live
    assert {table: account["written"] for table, account in accounts.items()} == {table: len(live[table]) for table in live}

    accounts, _ = await replay(tmp_path, market, tmp_path)  # a folder stands for its captures
    assert await rows(market) == live
    for table, account in accounts.items():
        assert (account["duplicate"], account["written"], account["revised"]) == (len(live[table]), 0, 0), table


def faster(factor: int) -> Callable[[], int]:
    """A clock that began an hour ago and runs `factor` times as fast: microseconds."""
    began = time.time_ns() // 1000
    return lambda: began - 3_600_000_000 + (time.time_ns() // 1000 - began) * factor


@pytest.fixture
async def hasty() -> AsyncIterator[Simulator]:
    """An exchange whose minutes last three seconds."""
    made = Simulator(trades_per_second=0.5, ping_seconds=0.5, clock=faster(20))
    await made.start()
    yield made
    await made.stop()


@on_apache
async def test_closed_bars_come_out_the_same(market: str, other_market: str, hasty: Simulator, daemon: Daemons, tmp_path: Path):
    one = await daemon(recorded(market, hasty, tmp_path, channels=["trades", "candles"])).start()
    await one.until(lambda now: now.rows("candles")["written"] >= 2)
    assert await one.terminate() == 0
    live = await rows(market)
    await replay(tmp_path, other_market, tmp_path)
    assert len(live["candles"]) >= 2
    assert await rows(other_market) == live


@on_apache
async def test_what_a_killed_daemon_recorded_is_replayed_up_to_the_tear(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = recorded(market, simulator, tmp_path)
    one = await lived(daemon, simulator, settings)
    await one.until(lambda now: min(now.rows(table)["written"] for table in ("quotes", "order_books")) >= 25)
    await one.kill()
    killed = datetime.now(UTC)
    cut = killed - timedelta(seconds=1)
    two = await lived(daemon, simulator, settings)  # a second run, in the same folder
    assert await two.terminate() == 0
    live = await rows(market)

    (torn, whole) = captures(tmp_path)
    whole_text = gzip.decompress(whole.read_bytes())
    assert whole_text.count(b" frame ") > 500
    _, said = await replay(tmp_path, other_market, whole, torn)  # in the order of time, however they are named
    assert f"capture {torn} is cut off (it ends in the middle)" in said
    found = await rows(other_market)
    assert found["trades"] == live["trades"]
    for table in ("quotes", "order_books"):  # sampled by time: the last second before the kill may be missing here, or there
        sure, again = ([row for row in one[table] if not cut <= row[RECEIVED_AT] <= killed] for one in (live, found))
        assert sure == again
        assert min(row[RECEIVED_AT] for row in sure) < cut < killed < max(row[RECEIVED_AT] for row in sure), table


@on_apache
async def test_books_begin_again_after_a_missing_file(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = recorded(market, simulator, tmp_path, {"rotate": "1s"})
    one = await lived(daemon, simulator, settings)
    await until(lambda: len(captures(tmp_path)) >= 4)
    simulator.trade("BTCUSDT", 100)
    await one.settled("trades", 600)
    assert await one.terminate() == 0
    live = await rows(market)
    parts = captures(tmp_path)

    accounts, said = await replay(tmp_path, other_market, *parts)
    assert await rows(other_market) == live
    assert "orphan" not in said

    await stored.execute(other_market, "TRUNCATE trades; TRUNCATE quotes; TRUNCATE order_books")
    await replay(tmp_path, other_market, *parts[1:])  # trades need no beginning, a book does
    found = await rows(other_market)
    assert found["trades"] == [row for row in live["trades"] if row in set(found["trades"])] != []
    assert {row[1] for row in found["trades"][-100:]} == {"BTCUSDT"}
    assert found["order_books"] == []
    assert accounts["order_books"]["written"] > 0


@on_apache
async def test_captures_stay_within_their_bound(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    bound = 1 << 20  # the smallest that may be set
    one = await daemon(recorded(market, simulator, tmp_path, {"max_bytes": bound}, channels=["trades"])).start()
    await subscribed(simulator)

    async def full() -> bool:
        simulator.trade("BTCUSDT", 5000)
        assert sum(path.stat().st_size for path in captures(tmp_path)) <= bound
        return await one.value("capture_files_deleted_total") >= 2

    await until(full, 60)
    assert await one.terminate() == 0
    numbers = [int(path.name.split("-")[-1].split(".")[0]) for path in captures(tmp_path)]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))  # the oldest went
    assert numbers[0] >= 3


@on_apache
async def test_garbage_is_refused_again_and_the_rest_flows(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    one = await daemon(recorded(market, simulator, tmp_path, channels=["trades"])).start()
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
    await one.settled("trades", 200)
    assert await one.terminate() == 0
    query = "SELECT source, stage, reason, payload FROM rejects ORDER BY id"
    live = await stored.fetch(market, query)
    assert [row["payload"].encode() for row in live] == garbage

    await replay(tmp_path, other_market, tmp_path)
    assert await stored.fetch(other_market, query) == live
    await stored.assert_all_trades(other_market, simulator)


@on_apache
async def test_holes_within_a_connection_are_noted_again_and_once(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    one = await daemon(recorded(market, simulator, tmp_path, channels=["trades"])).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 50)
    simulator.faults.lose("btcusdt@trade", 5)
    simulator.trade("BTCUSDT", 50)
    await one.settled("trades", 95)
    assert await one.terminate() == 0
    (live,) = [shown(gap) for gap in await stored.gaps(market)]
    assert (live["writer"], live["reason"], live["expected"]) == ("one", "sequence", 5)
    replayed = live | {"writer": "replay"}
    for _ in range(2):
        await replay(tmp_path, market, tmp_path)
        assert [shown(gap) for gap in await stored.gaps(market)] == [live, replayed]
    await replay(tmp_path, other_market, tmp_path)
    assert [shown(gap) for gap in await stored.gaps(other_market)] == [replayed]


def shown(gap: dict[str, Any]) -> dict[str, Any]:
    """Of a hole, what does not depend on the database, nor on what a healer did about it."""
    return {
        name: gap[name] for name in ("symbol", "channel", "reason", "since", "until", "first_id", "last_id", "expected", "writer")
    }


CLAIMS = "SELECT channel, writer, reason, since, until FROM coverage WHERE state = 'covered' ORDER BY channel, since"
MISSING = "SELECT since, until, reasons, state FROM coverage_gaps WHERE channel = 'trades'"


async def quotes(one: Daemon, written: int) -> None:
    """Wait for so many; there is one every 100 ms."""
    await one.until(lambda now: now.rows("quotes")["written"] >= written)


@on_apache
async def test_a_replay_claims_what_it_brought_and_says_what_was_not_recorded(
    market: str, other_market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path
):
    settings = recorded(market, simulator, tmp_path) | {"heal": {"enabled": False}}
    ends = []
    for _ in range(2):
        one = await lived(daemon, simulator, settings)
        await quotes(one, 50)
        simulator.trade("BTCUSDT", 1)
        await one.settled("trades", 501)
        assert await one.terminate() == 0
        await until(lambda: not simulator.has_subscriber("btcusdt@trade"))
        ends.append(datetime.now(UTC))
    _, said = await replay(tmp_path, other_market, tmp_path)
    received = [row["received_at"] for row in await stored.fetch(other_market, "SELECT received_at FROM trades ORDER BY trade_id")]
    claims = [row for row in await stored.fetch(other_market, CLAIMS) if row["channel"] == "trades"]
    assert [(row["writer"], row["reason"]) for row in claims] == [("replay", "replay")] * 2
    for row, first, end in zip(claims, (received[0], received[501]), ends, strict=True):
        assert first <= row["since"] <= first + timedelta(seconds=1)
        assert end - timedelta(seconds=4) <= row["until"] <= end - timedelta(seconds=2)
    (gap,) = await stored.fetch(other_market, MISSING)
    assert (gap["since"], gap["until"], gap["state"]) == (claims[0]["until"], claims[1]["since"], "open")
    assert len(re.findall(r"^demo BTC/USDT (?:trades|book|quotes): nothing was recorded from ", said, re.MULTILINE)) == 3
    assert re.search(r"trades: nothing was recorded from {:%Y-%m-%d %H:%M:%S}".format(gap["since"]), said)
    assert {row["channel"] for row in await stored.fetch(other_market, CLAIMS)} == {"trades", "book", "quotes"}
    before = await stored.fetch(other_market, CLAIMS)
    await replay(tmp_path, other_market, tmp_path)
    assert await stored.fetch(other_market, CLAIMS) == before


@on_apache
async def test_a_replay_fills_what_the_daemon_had_no_room_for(market: str, simulator: Simulator, daemon: Daemons, tmp_path: Path):
    queue = {"batch_rows": 50, "max_age": "50 ms", "max_rows": 100, "max_wait": "100 ms"}
    settings = recorded(market, simulator, tmp_path, channels=["trades", "quotes"])
    one = await daemon(settings | {"queue": queue, "heal": {"enabled": False}}).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 50)  # what a stream is heard first with is not vouched for
    await one.settled("trades", 50)
    async with stored.locked(market, "trades"):
        for _ in range(10):
            simulator.trade("BTCUSDT", 100)
            await asyncio.sleep(0.05)
        await one.until(lambda now: now.rows("trades")["shed"])
    await quotes(one, 60)
    assert await one.terminate() == 0
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
    one = await daemon(recorded(market, hasty, tmp_path, channels=["trades"])).start()
    await subscribed(hasty)
    hasty.trade("BTCUSDT", 100)
    await one.settled("trades", 100)
    assert await one.terminate() == 0
    live = await rows(market)

    accounts, said = await replay(tmp_path, other_market, tmp_path, retention={"trades": "30 minutes"})
    assert accounts["trades"]["expired"] == accounts["trades"]["decoded"] == len(live["trades"])
    assert f"trades: {len(live['trades'])} rows are older than retention.trades and were not stored" in said
    assert (await rows(other_market))["trades"] == []

    await replay(tmp_path, other_market, tmp_path, retention={"trades": "none"})
    assert await rows(other_market) == live


@on_apache
async def test_what_is_no_capture_is_refused_in_words(tmp_path: Path, market: str):
    settings = {"database": {"dsn": market}}
    config, wrong = tmp_path / "ingest.toml", tmp_path / "wrong.capture.gz"
    config.write_text(to_toml(settings))
    wrong.write_bytes(gzip.compress(b"0.000001 1 frame {}\n"))
    missing = tmp_path / "missing.capture.gz"
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, reason in (
        (wrong, f"capture {wrong}: no capture, it does not begin"),
        (missing, f"capture {missing}: No such file or directory"),
        (empty, f"no capture (*.capture.gz) below {empty}"),
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingest", "replay", "--config", str(config), str(path)),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        said = (await process.communicate())[1].decode()
        assert (process.returncode, f"ingest: {reason}" in said) == (2, True), said
