"""Kraken's recorded v1 traffic translated to v2 frames, and recorded v2 frames, through the whole daemon into the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ingest.records import SECOND, Candle, Quote, Record, Trade
from tests.support.daemon import Daemon, on_apache
from tests.support.recordings import kraken_v1
from tests.support.recordings.files import Line, read, recording
from tests.support.recordings.plain import PlainBook, at_ticks, iso_micros
from tests.support.recordings.replay import Clock, Dialect, Replay
from tests.support.recordings.whole import Ids, assert_stored

DEPTH = 1000  # as subscribed by the recorder
CONNECTIONS = ("KRAKEN.ws.48.0", "KRAKEN.ws.49.0", "KRAKEN.ws.50.0")

Make = Callable[..., Daemon]


def reply(message: dict, now: int) -> Sequence[str]:
    """In the shape of nautilus_trader's `ws_subscribe_response.json`, one for each symbol, with the time of the replay."""
    if message["method"] == "ping":
        return ['{"method":"pong"}']
    time = datetime.fromtimestamp(now / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    params = message["params"]
    head = {"method": message["method"], "success": True, "time_in": time, "time_out": time}
    return [json.dumps(head | {"result": {"channel": params["channel"], "symbol": symbol}}) for symbol in params["symbol"]]


def listing() -> dict[str, bytes]:
    return {"/0/public/AssetPairs": recording("KRAKEN.0")[0].frame}


def rows(lines: Sequence[Line], channel: str) -> Iterator[tuple[Line, dict, dict]]:
    """Line, message and row of each row of a channel, with numbers as text."""
    for line in lines:
        message = json.loads(line.text, parse_float=str, parse_int=str)
        if message["channel"] == channel:
            yield from ((line, message, row) for row in message["data"])


def trades(lines: Sequence[Line], ids: Ids) -> list[Trade]:
    return [
        Trade(
            ids[row["symbol"]],
            iso_micros(row["timestamp"]),
            int(row["trade_id"]),
            row["price"],
            row["qty"],
            row["side"],
            line.time,
        )
        for line, _, row in rows(lines, "trade")
    ]


def quotes(lines: Sequence[Line], ids: Ids) -> list[Quote]:
    """A ticker without a time is on the grid of the daemon's clock and has the name of its writer."""
    states = []
    for line, _, row in rows(lines, "ticker"):
        timed = "timestamp" in row
        time, writer = (iso_micros(row["timestamp"]), "") if timed else (line.time, "one")
        best = row["bid"], row["bid_qty"], row["ask"], row["ask_qty"]
        states.append(Quote(ids[row["symbol"]], time, writer, *best, None, line.time))
    return at_ticks(states)


def books(lines: Sequence[Line], ids: Ids) -> list[Record]:
    plain: dict[str, PlainBook] = {}
    states = []
    for line, message, row in rows(lines, "book"):
        symbol = row["symbol"]
        book = plain.setdefault(symbol, PlainBook()) if message["type"] == "update" else PlainBook()
        plain[symbol] = book
        bids, asks = ([(level["price"], level["qty"]) for level in row[side]] for side in ("bids", "asks"))
        book.change(bids, asks)
        book.cut(DEPTH)
        states.append(book.state(ids[symbol], iso_micros(row["timestamp"]), None, line.time, DEPTH))
    return at_ticks(states)


@on_apache
async def test_a_recording(market: str, daemon: Make, tmp_path: Path) -> None:
    """Every checksum of the recording must match: a mismatch would discard the book and leave a gap."""
    lines = sorted((line for name in CONNECTIONS for line in kraken_v1.frames(name)), key=lambda line: line.time)
    symbols = sorted({row["symbol"] for channel in ("trade", "ticker", "book") for *_, row in rows(lines, channel)})
    section = {
        "instruments": symbols,
        "channels": ["trades", "book", "quotes"],
        "book": {"depth": DEPTH},
    }
    clock = Clock(tmp_path / "clock", lines[0].time)
    async with Replay(lines, clock, Dialect(3, reply), listing()).serving() as replay:
        await assert_stored(
            daemon, market, replay, {"kraken": section}, lambda ids: (trades(lines, ids), quotes(lines, ids), books(lines, ids))
        )


NOW = iso_micros("2023-10-06T17:36:00Z")  # after the latest of the frames


def frames() -> list[Line]:
    """v2 frames of nautilus_trader (BTC/USD) and JKorf's Kraken.Net (ETH/USDT), each a microsecond after the one before."""
    nautilus = [read(f"nautilus/kraken/ws_{name}.json") for name in ("trade_update", "ticker_snapshot", "ohlc_update")]
    jkorf = [read(f"jkorf_kraken/Subscriptions.Spot.{name}.txt").partition(b"\n= \n")[2] for name in ("Trades", "Ticker")]
    return [Line("received", NOW + number, "", text.decode()) for number, text in enumerate([*nautilus, *jkorf])]


def candles(ids: Ids) -> list[Candle]:
    """The minute of the bar is over by the exchange's clock, so the candle is closed at once."""
    ((line, _, row),) = rows(frames(), "ohlc")
    prices = row["open"], row["high"], row["low"], row["close"]
    sums = row["volume"], None, int(row["trades"]), None, None, None, None
    return [Candle(ids[row["symbol"]], "1m", iso_micros(row["interval_begin"]), *prices, *sums, 1, "ws", line.time)]


@on_apache
async def test_frames_of_version_2(market: str, daemon: Make, tmp_path: Path) -> None:
    section = {"instruments": ["BTC/USD", "ETH/USDT"], "channels": ["trades", "candles", "quotes"]}
    clock = Clock(tmp_path / "clock", NOW)
    async with Replay(frames(), clock, Dialect(3, reply), listing()).serving() as replay:
        await assert_stored(
            daemon, market, replay, {"kraken": section}, lambda ids: (trades(frames(), ids), quotes(frames(), ids), candles(ids))
        )
