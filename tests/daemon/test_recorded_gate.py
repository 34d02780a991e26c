"""Gate's recorded traffic through the whole daemon into the database, value by value.

The recording is of 2021: trade ids count across all markets, bars have no closed flag, and best bid and ask were not recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from ingest.records import SECOND, Candle, Quote, Record, Trade
from tests.support.daemon import Daemon, on_apache
from tests.support.recordings.files import Line, received, recording
from tests.support.recordings.plain import PlainBook, at_ticks
from tests.support.recordings.replay import Clock, Dialect, Replay
from tests.support.recordings.whole import Ids, assert_stored

DEPTH = 20

Make = Callable[..., Daemon]


def reply(message: dict, now: int) -> Sequence[str]:
    head = {"time": now // SECOND, "channel": message["channel"]}
    if message["channel"] == "spot.ping":
        return [json.dumps(head | {"channel": "spot.pong", "event": ""})]
    return [json.dumps(head | {"event": message["event"], "result": {"status": "success"}})]


def markets() -> list[str]:
    """The markets of the recording, spelled like NEO-BTC."""
    configured = next(line.text for line in recording("GATEIO.0") if line.kind == "configuration")
    return json.loads(configured)["trades"]


def listing() -> dict[str, bytes]:
    return {"/api/v4/spot/currency_pairs": recording("GATEIO.0")[0].frame}


def updates(channel: str) -> Iterator[tuple[Line, dict]]:
    for line in received("GATEIO.ws.1.0"):
        message = json.loads(line.text)
        if (message["channel"], message["event"]) == (f"spot.{channel}", "update"):
            yield line, message["result"]


def lines() -> list[Line]:
    """Frames of the subscribed channels and snapshots in the order of their arrival."""
    frames = [line for channel in ("trades", "candlesticks", "order_book_update") for line, _ in updates(channel)]
    return sorted([*frames, *recording("GATEIO.http.0.0")], key=lambda line: line.time)


def trades(ids: Ids) -> list[Trade]:
    return [
        Trade(
            ids[row["currency_pair"]],
            int(row["create_time_ms"][:13]) * 1000,
            row["id"],
            row["price"],
            row["amount"],
            row["side"],
            line.time,
        )
        for line, row in updates("trades")
    ]


def books(ids: Ids) -> list[Record]:
    states = []
    for answer in recording("GATEIO.http.0.0"):
        symbol = answer.url.partition("currency_pair=")[2].partition("&")[0]
        snapshot, book = json.loads(answer.text), PlainBook()
        book.change(snapshot["bids"], snapshot["asks"])
        for line, event in updates("order_book_update"):
            if event["s"] == symbol and event["u"] >= snapshot["id"]:
                book.change(event["b"] or [], event["a"] or [])
                states.append(book.state(ids[symbol], event["t"] * 1000, event["u"], line.time, DEPTH))
    return at_ticks(states)


@on_apache
async def test_a_recording(market: str, daemon: Make, tmp_path: Path) -> None:
    """Its bars are all unfinished, so no candle is stored."""
    section = {
        "instruments": [name.replace("-", "/") for name in markets()],
        "channels": ["trades", "candles", "book"],
        "book": {"depth": DEPTH},
    }
    clock = Clock(tmp_path / "clock", lines()[0].time)
    async with Replay(lines(), clock, Dialect(1 + 2 * len(markets()), reply), listing()).serving() as replay:
        await assert_stored(daemon, market, replay, {"gate": section}, lambda ids: (trades(ids), books(ids)))
    snapshots = {f"/api/v4/spot/order_book?currency_pair={name.replace('-', '_')}&limit=100&with_id=true" for name in markets()}
    assert set(replay.requests) >= {"/api/v4/spot/currency_pairs", *snapshots}


# the documented examples of "Candlesticks Channel" and "Best bid or ask price", of a market in the listing
BAR = {"t": "1606292580", "v": "2362.32035", "c": "19128.1", "h": "19128.1", "l": "19128.1", "o": "19128.1"}
BAR |= {"n": "1m_BTC_USDT", "a": "3.8283", "w": True}
BEST = {"t": 1606293275123, "u": 48733182, "s": "BTC_USDT"}
BEST |= {"b": "19177.79", "B": "0.0003341504", "a": "19179.38", "A": "0.09"}


def candle(at: int) -> Candle:
    prices = [BAR[name] for name in "ohlc"]
    return Candle(0, "1m", int(BAR["t"]) * SECOND, *prices, BAR["a"], BAR["v"], *[None] * 5, 1, "ws", at)


def quote(at: int) -> Quote:
    tick = (BEST["t"] // 1000 + 1) * SECOND
    return Quote(0, tick, "", *(BEST[name] for name in "bBaA"), BEST["u"], at)


async def assert_frame_stored(market: str, make: Make, path: Path, frame: Line, subscribed: tuple[str, Record]) -> None:
    """Replay one frame of a channel and compare the stored row; `subscribed` is the channel and the expected record."""
    channel, record = subscribed
    section = {"instruments": ["BTC/USDT"], "channels": [channel]}
    async with Replay([frame], Clock(path, frame.time), Dialect(1, reply), listing()).serving() as replay:
        await assert_stored(make, market, replay, {"gate": section}, lambda ids: [[replace(record, instrument_id=ids["BTC_USDT"])]])


def frame_of(channel: str, time_ms: int, result: dict) -> Line:
    message = {"time": time_ms // 1000, "time_ms": time_ms, "channel": channel, "event": "update", "result": result}
    return Line("received", time_ms * 1000, "", json.dumps(message))


@on_apache
async def test_a_documented_closed_bar(market: str, daemon: Make, tmp_path: Path) -> None:
    frame = frame_of("spot.candlesticks", 1606292600376, BAR)
    await assert_frame_stored(market, daemon, tmp_path / "clock", frame, ("candles", candle(frame.time)))


@on_apache
async def test_a_documented_quote(market: str, daemon: Make, tmp_path: Path) -> None:
    frame = frame_of("spot.book_ticker", 1606293275723, BEST)
    await assert_frame_stored(market, daemon, tmp_path / "clock", frame, ("quotes", quote(frame.time)))
