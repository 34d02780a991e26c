"""Coinbase's recorded traffic through the whole daemon into the database, value by value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ingest.records import MINUTE, SECOND, Candle, Quote, Trade
from tests.support.daemon import Daemon, on_apache
from tests.support.exchanges.coinbase_advanced import expected_books, recorded
from tests.support.recordings.coinbase_level2 import acknowledgement
from tests.support.recordings.files import Line, read, received, recording
from tests.support.recordings.plain import at_ticks, iso_micros
from tests.support.recordings.replay import Clock, Dialect, Replay
from tests.support.recordings.whole import Ids, assert_stored

DEPTH = 50
FEED = ("match", "last_match", "ticker")
TAKER = {"buy": "sell", "sell": "buy"}

Make = Callable[..., Daemon]


def reply(message: dict, now: int) -> Sequence[str]:
    return [json.dumps({"type": "subscriptions", "channels": message["channels"]})]


def reply_of_books(message: dict, now: int) -> Sequence[str]:
    return [json.dumps(acknowledgement(message))]


def messages(*kinds: str) -> Iterator[tuple[Line, dict]]:
    """Frames of these types in order."""
    for line in received("COINBASE.ws.28.0"):
        message = json.loads(line.text)
        if message["type"] in kinds:
            yield line, message


def trades(ids: Ids) -> list[Trade]:
    """The `last_match` that follows a subscription is a trade, too. `side` is that of the maker."""
    return [
        Trade(ids[m["product_id"]], iso_micros(m["time"]), m["trade_id"], m["price"], m["size"], TAKER[m["side"]], line.time)
        for line, m in messages("match", "last_match")
    ]


def quotes(ids: Ids) -> list[Quote]:
    """Without sizes, which tickers of 2021 do not have. The first ticker has the time of an old trade and is skipped."""
    seen, states = set(), []
    for line, m in messages("ticker"):
        if m["product_id"] in seen:
            best = m["best_bid"], None, m["best_ask"], None
            states.append(Quote(ids[m["product_id"]], iso_micros(m["time"]), "", *best, m["sequence"], line.time))
        seen.add(m["product_id"])
    return at_ticks(states)


@on_apache
async def test_a_recording(market: str, daemon: Make, tmp_path: Path) -> None:
    lines = [line for line, _ in messages(*FEED)]
    products = sorted({m["product_id"] for _, m in messages(*FEED)})
    section = {
        "instruments": [product.replace("-", "/") for product in products],
        "channels": ["trades", "quotes"],
    }
    listing = {"/products": recording("COINBASE.0")[0].frame}
    clock = Clock(tmp_path / "clock", lines[0].time)
    async with Replay(lines, clock, Dialect(1, reply), listing).serving() as replay:
        await assert_stored(daemon, market, replay, {"coinbase": section}, lambda ids: (trades(ids), quotes(ids)))


@on_apache
async def test_recorded_books(market: str, daemon: Make, tmp_path: Path) -> None:
    """The recording in the form of the other feed, which has a connection of its own."""
    lines = recorded()
    products = sorted({json.loads(line.text)["events"][0]["product_id"] for line in lines})
    section = {
        "instruments": [product.replace("-", "/") for product in products],
        "channels": ["book"],
        "book": {"depth": DEPTH},
    }
    listing = {"/products": recording("COINBASE.0")[0].frame}
    clock = Clock(tmp_path / "clock", lines[0].time)
    async with Replay(lines, clock, Dialect(2, reply_of_books), listing).serving() as replay:
        await assert_stored(daemon, market, replay, {"coinbase": section}, lambda ids: [expected_books(ids, DEPTH, SECOND)])


def bars() -> bytes:
    return read("xchange/coinbasepro/example-historical-candles.json")


def candles(ids: Ids, requested_at: int) -> list[Candle]:
    """The bars of the recorded response within the requested window: time, low, high, open, close, volume."""
    rows = [(int(time) * SECOND, *digits) for time, *digits in json.loads(bars(), parse_float=str, parse_int=str)]
    return [
        Candle(ids["BTC-USD"], "1m", time, open_, high, low, close, volume, *[None] * 6, 1, "rest", requested_at)
        for time, low, high, open_, close, volume in rows
        if time >= rows[0][0] - 4 * MINUTE
    ]


@on_apache
async def test_bars_are_requested_when_their_minute_is_over(market: str, daemon: Make, tmp_path: Path) -> None:
    """The recorded response is of 2018, and so is the clock: half a second into the minute after its newest bar."""
    newest = json.loads(bars())[0][0] * SECOND
    clock = Clock(tmp_path / "clock", newest + MINUTE + SECOND // 2)
    section = {"instruments": ["BTC/USD"], "channels": ["candles"]}
    path = "/products/BTC-USD/candles"
    answers = {"/products": read("xchange/coinbasepro/products.json"), path: bars()}
    async with Replay([], clock, Dialect(1, reply), answers).serving() as replay:
        await assert_stored(daemon, market, replay, {"coinbase": section}, lambda ids: [candles(ids, clock.now)])
    start, end = map(iso, (newest - 4 * MINUTE, newest))
    assert replay.requests == ["/products", f"{path}?granularity=60&start={start}&end={end}"]


def iso(micros: int) -> str:
    return datetime.fromtimestamp(micros / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
