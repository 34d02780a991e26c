"""OKX's recorded traffic through the whole daemon into the database, value by value.

The recording is of 2022: trades are merged, and a book has a checksum and no sequence. One of its three markets is spot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ingest.records import Candle, Quote, Record, Trade
from tests.support.daemon import Daemon, on_apache
from tests.support.recordings.files import Line, load, received, recording
from tests.support.recordings.plain import PlainBook, at_ticks
from tests.support.recordings.replay import Clock, Dialect, Replay
from tests.support.recordings.whole import Ids, assert_stored

DEPTH = 400  # every level that OKX sends
SYMBOL = "BTC-USDT"

Make = Callable[..., Daemon]


def reply(message: dict, now: int) -> Sequence[str]:
    return [json.dumps({"event": message["op"], "arg": arg}) for arg in message["args"]]


def listing() -> dict[str, bytes]:
    answer = next(line for line in recording("OKX.0") if line.url.endswith("?instType=SPOT"))
    return {"/api/v5/public/instruments": answer.frame}


def lines() -> list[Line]:
    """Frames of the spot market without acknowledgements, which the replay server sends itself."""
    return [line for line in received("OKX.ws.1.0") if f'"instId":"{SYMBOL}"' in line.text and '"event"' not in line.text]


def rows(channel: str) -> Iterator[tuple[Line, dict, dict]]:
    for line in lines():
        message = json.loads(line.text)
        if message["arg"]["channel"] == channel:
            yield from ((line, message, row) for row in message["data"])


def micros(row: dict) -> int:
    return int(row["ts"]) * 1000


def trades(ids: Ids) -> list[Trade]:
    return [
        Trade(ids[SYMBOL], micros(row), int(row["tradeId"]), row["px"], row["sz"], row["side"], line.time)
        for line, _, row in rows("trades")
    ]


def quotes(ids: Ids) -> list[Quote]:
    states = []
    for line, _, row in rows("tickers"):
        best = row["bidPx"], row["bidSz"], row["askPx"], row["askSz"]
        states.append(Quote(ids[SYMBOL], micros(row), "", *best, None, line.time))
    return at_ticks(states)


def books(ids: Ids) -> list[Record]:
    book, states = PlainBook(), []
    for line, message, row in rows("books"):
        book = PlainBook() if message["action"] == "snapshot" else book
        book.change(row["bids"], row["asks"])
        states.append(book.state(ids[SYMBOL], micros(row), None, line.time, DEPTH))
    return at_ticks(states)


@on_apache
async def test_a_recording(market: str, daemon: Make, tmp_path: Path) -> None:
    section = {
        "instruments": ["BTC/USDT"],
        "channels": ["trades", "book", "quotes"],
        "trade_kind": "trades",
        "book": {"depth": DEPTH},
    }
    clock = Clock(tmp_path / "clock", lines()[0].time)
    async with Replay(lines(), clock, Dialect(1, reply), listing()).serving() as replay:
        await assert_stored(daemon, market, replay, {"okx": section}, lambda ids: (trades(ids), quotes(ids), books(ids)))


@on_apache
async def test_a_closed_bar(market: str, daemon: Make, tmp_path: Path) -> None:
    """The daily bar of nautilus_trader's test data under the name of the 1m channel. The unfinished bar after it is not stored."""
    message = load("nautilus/okx/ws_candle.json")
    message["arg"]["channel"] = "candle1m"
    ((*bar, confirmed),) = message["data"]
    assert confirmed == "1"
    time, *prices, volume, _, quote_volume = bar
    running = message | {"data": [[str(int(time) + 60_000), *bar[1:], "0"]]}
    at = int(time) * 1000 + 60_000_000
    frames = [Line("received", at, "", json.dumps(frame)) for frame in (message, running)]
    section = {"instruments": ["BTC/USDT"], "channels": ["candles"]}

    def read(ids: Ids) -> list[list[Candle]]:
        sums = volume, quote_volume, None, None, None, None, None
        return [[Candle(ids[SYMBOL], "1m", int(time) * 1000, *prices, *sums, 1, "ws", at)]]

    clock = Clock(tmp_path / "clock", at)
    async with Replay(frames, clock, Dialect(1, reply), listing()).serving() as replay:
        await assert_stored(daemon, market, replay, {"okx": section}, read)
