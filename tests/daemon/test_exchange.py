"""The exchange falls silent, loses events, sends garbage or refuses connections: stored rows are right, missing ones are gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ingest.simulator.oracle import Oracle
from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, configuration, demo, on_apache, subscribed, until

Daemons = Callable[..., Daemon]
TRADES, DEPTH = "btcusdt@trade", "btcusdt@depth@100ms"
FAST = {"depth": 10, "interval": "100 ms"}

HASTY = """
from msgspec.structs import replace
from ingest.exchanges.binance.exchange import *
NAME = "hasty"
LIMITS = replace(LIMITS, silence_seconds=1.5, stale_seconds=1.0)
"""


@pytest.fixture
def hasty(tmp_path: Path) -> dict[str, str]:
    """The environment of a daemon with an installed exchange package `hasty`: Binance with short timeouts."""
    (tmp_path / "hasty.py").write_text(HASTY)
    dist_info = tmp_path / "hasty-1.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text("Metadata-Version: 2.1\nName: hasty\nVersion: 1\n")
    (dist_info / "entry_points.txt").write_text("[ingest.exchanges]\nhasty = hasty\n")
    return {"PYTHONPATH": str(tmp_path)}


async def assert_right_books(market: str, oracle: Oracle) -> list[int]:
    """Every stored book equals the book of the exchange at that sequence. Returns the sequences in the order of time."""
    books = await stored.books(market)
    for sequence, bids, asks in books:
        all_bids, all_asks = oracle.book("BTCUSDT", sequence)
        assert (bids, asks) == (all_bids[: FAST["depth"]], all_asks[: FAST["depth"]])
    sequences = [sequence for sequence, _, _ in books]
    assert sequences == sorted(sequences)
    return sequences


@on_apache
async def test_a_silent_connection_is_replaced_and_the_gap_is_stored(
    market: str, simulator: Simulator, daemon: Daemons, hasty: dict[str, str]
):
    settings = configuration(
        market, simulator, exchanges={"demo": demo(simulator, protocol="hasty", channels=["trades", "quotes"])}
    )
    instance = await daemon(settings, hasty).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    simulator.faults.silence()
    simulator.trade("BTCUSDT", 100)
    scrape = await instance.until(lambda now: now.value("source_disconnects_total", reason="silence"))
    messages = scrape.value("messages_received_total")
    simulator.faults.end_silence()
    await instance.until(lambda now: now.value("messages_received_total") > messages)  # quotes
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 200)
    sent = list(simulator.oracle.trades("BTCUSDT"))
    assert await stored.trades(market) == sent[:100] + sent[200:]
    gaps = await until(lambda: stored.gaps(market))
    assert Counter((gap["channel"], gap["reason"]) for gap in gaps) == {("trades", "disconnect"): 1, ("quotes", "disconnect"): 1}
    for gap in gaps:
        assert gap["since"].timestamp() * 1000 <= sent[100].time + 1
        assert gap["until"].timestamp() * 1000 >= sent[199].time


@on_apache
async def test_one_stream_that_falls_silent_costs_one_reconnect(
    market: str, simulator: Simulator, daemon: Daemons, hasty: dict[str, str]
):
    section = demo(simulator, protocol="hasty", channels=["book", "quotes"], book=FAST)
    instance = await daemon(configuration(market, simulator, exchanges={"demo": section}), hasty).start()
    await instance.until(lambda now: now.rows("order_books")["written"] >= 3)
    simulator.faults.silence(DEPTH)
    await instance.until(lambda now: now.value("source_disconnects_total", reason="stale"))
    simulator.faults.end_silence()
    written = await instance.value("rows_written_total", table="order_books")
    await instance.until(lambda now: now.value("rows_written_total", table="order_books") >= written + 3)
    await instance.ready()
    assert [text.partition(": stale: ")[2] for text in instance.logged(": stale: ")] == ["book BTCUSDT"]
    await assert_right_books(market, simulator.oracle)
    assert (await until(lambda: stored.reasons(market)))["book", "disconnect"] == 1


@on_apache
async def test_a_sequence_break_of_a_book_is_a_gap_and_stores_no_wrong_book(market: str, simulator: Simulator, daemon: Daemons):
    section = demo(simulator, channels=["book"], book=FAST)
    instance = await daemon(configuration(market, simulator, exchanges={"demo": section})).start()
    await instance.until(lambda now: now.rows("order_books")["written"] >= 3)
    simulator.faults.lose(DEPTH)
    await instance.until(lambda now: now.value("gaps_total", channel="book", reason="sequence"))
    written = await instance.value("rows_written_total", table="order_books")
    await instance.until(lambda now: now.value("rows_written_total", table="order_books") >= written + 3)
    await assert_right_books(market, simulator.oracle)
    (gap,) = await until(lambda: closed_gaps(market))
    assert (gap["symbol"], gap["channel"], gap["reason"], gap["state"]) == ("BTCUSDT", "book", "sequence", "unrecoverable")
    assert gap["since"] < gap["until"]
    within = "SELECT 1 FROM order_books WHERE time > $1 AND time <= $2"
    assert await stored.fetch(market, within, gap["since"], gap["until"]) == []


async def closed_gaps(market: str) -> list[dict[str, object]]:
    """The gaps, once all of them have an end."""
    gaps = await stored.gaps(market)
    return gaps if all(gap["until"] for gap in gaps) else []


@on_apache
async def test_a_gap_of_trades_has_the_missing_ids(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 50)
    simulator.faults.lose(TRADES, 5)
    simulator.trade("BTCUSDT", 50)
    await instance.settled("trades", 95)
    sent = list(simulator.oracle.trades("BTCUSDT"))
    assert await stored.trades(market) == sent[:50] + sent[55:]
    (gap,) = await until(lambda: stored.gaps(market))
    assert (gap["channel"], gap["reason"], gap["state"], gap["trade_kind"]) == ("trades", "sequence", "open", "trade")
    assert (gap["first_id"], gap["last_id"], gap["expected"]) == (sent[50].id, sent[54].id, 5)


@on_apache
async def test_garbage_is_stored_in_rejects_and_no_trade_is_lost(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    garbage = [
        (b"no JSON at all", "json"),
        (b'{"stream":"btcusdt@trade","data":{"e":"trade","t":1', "json"),
        (b'{"stream":"btcusdt@trade","data":{"e":"trade","t":"one"}}', "shape"),
        (b'{"stream":"btcusdt@trade","data":{"t":1,"p":"NaN","q":"1","T":1,"m":true}}', "value"),
        (b'{"stream":"nobody@trade","data":{}}', "unknown"),
        (b'{"stream":"btcusdt@trade","data":null,"nul":"\\u0000"}', "shape"),
    ]
    for payload, _ in garbage:
        simulator.trade("BTCUSDT", 50)
        simulator.send_raw(payload)
    scrape = await instance.settled("trades", 300)
    assert scrape.rows("trades") | {"decoded": 300, "written": 300} == scrape.rows("trades")
    expected = Counter(reason for _, reason in garbage)
    assert {reason: scrape.value("errors_total", stage="decode", error_type=reason) for reason in expected} == expected
    query = "SELECT source, stage, reason, payload FROM rejects ORDER BY id"
    await until(lambda: stored.fetch(market, query))
    rejects = [tuple(row) for row in await stored.fetch(market, query)]
    assert rejects == [("demo", "decode", reason, payload.decode()) for payload, reason in garbage]
    await stored.assert_all_trades(market, simulator)
    assert scrape.value("source_connects_total") == 1


@pytest.fixture
async def other() -> AsyncIterator[Simulator]:
    """A second simulated exchange."""
    simulator = Simulator(trades_per_second=0, seed=2)
    await simulator.start()
    yield simulator
    await simulator.stop()


@on_apache
async def test_a_source_that_fails_is_restarted_alone(market: str, simulator: Simulator, other: Simulator, daemon: Daemons):
    other.faults.refuse("/api/v3/exchangeInfo", 451, times=1000)
    both = {"demo": demo(simulator), "other": demo(other)}
    instance = await daemon(configuration(market, simulator, exchanges=both)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    await until(lambda: instance.logged("other: GET"))
    other = (await instance.status())["sources"]["other"]
    assert other["state"] == "failing"
    assert "data-api.binance.vision" in other["detail"]
    assert "data-api.binance.vision" in other["last_error"]
    await instance.ready()  # one of its sources is connected
    simulator.trade("BTCUSDT", 100)
    scrape = await instance.settled("trades", 200)
    assert (scrape.value("source_connects_total", source="demo"), scrape.value("source_disconnects_total")) == (1, 0)
    assert scrape.value("source_connects_total", source="other") == 0
    await stored.assert_all_trades(market, simulator)


@on_apache
async def test_a_source_whose_connection_is_refused_comes_back_alone(
    market: str, simulator: Simulator, other: Simulator, daemon: Daemons
):
    other.faults.handshake = 503
    both = {"demo": demo(simulator), "other": demo(other)}
    instance = await daemon(configuration(market, simulator, exchanges=both)).start()
    await subscribed(simulator)
    await until(lambda: instance.logged("503"))
    other.faults.handshake = None
    await subscribed(other)
    other.trade("BTCUSDT", 100)
    simulator.trade("BTCUSDT", 100)
    scrape = await instance.settled("trades", 200)
    assert (scrape.value("source_connects_total"), scrape.value("source_disconnects_total")) == (2, 0)
    await stored.assert_all_trades(market, simulator)
    await stored.assert_all_trades(market, other, exchange="other")


@on_apache
async def test_a_broken_connection_is_opened_again_and_the_gap_is_stored(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 100)
    await simulator.disconnect(abruptly=True)
    await until(lambda: not simulator.has_subscriber(TRADES))
    simulator.trade("BTCUSDT", 100)
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.settled("trades", 200)
    sent = list(simulator.oracle.trades("BTCUSDT"))
    assert await stored.trades(market) == sent[:100] + sent[200:]
    (gap,) = await until(lambda: stored.gaps(market))
    assert (gap["channel"], gap["reason"], gap["state"]) == ("trades", "disconnect", "open")
    assert gap["since"].timestamp() * 1000 <= sent[100].time + 1
    assert gap["until"].timestamp() * 1000 >= sent[199].time
