"""Deribit's recorded traffic through the whole daemon into the database, value by value.

The recording is half a minute of options in 2021, without trades and charts. Its channels are `raw`, which need a key today; the
frames are the same under the name `100ms`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from ingest.records import SECOND, Candle, Quote, Record, Trade
from tests.support.daemon import Daemon, on_apache
from tests.support.recordings.files import Line, read, received, recording
from tests.support.recordings.plain import PlainBook, at_ticks
from tests.support.recordings.replay import Clock, Dialect, Replay
from tests.support.recordings.whole import Ids, assert_stored

DEPTH = 500
LISTING = "/api/v2/public/get_instruments"

Make = Callable[..., Daemon]


def reply(message: dict, now: int) -> Sequence[str]:
    accepted = message["params"].get("channels", "ok")
    return [json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": accepted})]


def listing() -> dict[str, bytes]:
    """The responses of all currencies in one, as it is requested today."""
    answers = [json.loads(line.text) for line in recording("DERIBIT.0") if line.kind == "answer"]
    return {LISTING: json.dumps(answers[0] | {"result": [row for answer in answers for row in answer["result"]]}).encode()}


def messages(kind: str) -> Iterator[tuple[Line, dict]]:
    """Messages of one kind of channel, with numbers as text."""
    for line in received("DERIBIT.ws.1.0"):
        params = json.loads(line.text, parse_float=str).get("params", {})
        if params.get("channel", "").startswith(f"{kind}."):
            yield line._replace(text=line.text.replace('.raw"', '.100ms"')), params["data"]


def lines() -> list[Line]:
    return sorted((line for kind in ("book", "ticker") for line, _ in messages(kind)), key=lambda line: line.time)


def digits(text: str | int) -> str:
    """The number without an exponent, as a column holds it."""
    return format(Decimal(text), "f")


def quotes(ids: Ids) -> list[Quote]:
    states = []
    for line, row in messages("ticker"):
        sides = [(row[f"best_{side}_price"], row[f"best_{side}_amount"]) for side in ("bid", "ask")]
        best = [digits(value) if Decimal(size) else None for price, size in sides for value in (price, size)]
        states.append(Quote(ids[row["instrument_name"]], row["timestamp"] * 1000, "", *best, None, line.time))
    return at_ticks(states)


def books(ids: Ids) -> list[Record]:
    plain: dict[str, PlainBook] = {}
    states = []
    for line, row in messages("book"):
        symbol = row["instrument_name"]
        book = plain[symbol] = PlainBook() if row["type"] == "snapshot" else plain[symbol]
        book.change(*([[digits(price), digits(size)] for _, price, size in row[side]] for side in ("bids", "asks")))
        states.append(book.state(ids[symbol], row["timestamp"] * 1000, row["change_id"], line.time, DEPTH))
    return at_ticks(states)


def unified(symbol: str) -> str:
    """BTC-24SEP21-8000-P is BTC/USD:BTC-210924-8000-P."""
    coin, day, strike, side = symbol.split("-")
    date = datetime.strptime(f"{day} +0000", "%d%b%y %z")
    return f"{coin}/USD:{coin}-{date:%y%m%d}-{strike}-{side}"


@on_apache
async def test_a_recording(market: str, daemon: Make, tmp_path: Path) -> None:
    symbols = sorted({row["instrument_name"] for _, row in messages("book")})
    section = {"instruments": [unified(symbol) for symbol in symbols], "book": {"depth": DEPTH}, "channels": ["book", "quotes"]}
    clock = Clock(tmp_path / "clock", lines()[0].time)
    async with Replay(lines(), clock, Dialect(2, reply), listing()).serving() as replay:
        await assert_stored(daemon, market, replay, {"deribit": section}, lambda ids: (quotes(ids), books(ids)))


async def assert_frame_stored(market: str, make: Make, path: Path, frame: Line, subscribed: tuple[str, Sequence[Record]]) -> None:
    """Replay one frame of a channel and compare the stored rows; `subscribed` is the channel and the expected records."""
    channel, records = subscribed
    section = {"instruments": ["BTC/USD:BTC"], "channels": [channel]}

    def read_all(ids: Ids) -> list[list[Record]]:
        return [[replace(record, instrument_id=ids["BTC-PERPETUAL"]) for record in records]]

    async with Replay([frame], Clock(path, frame.time), Dialect(2, reply), listing()).serving() as replay:
        await assert_stored(make, market, replay, {"deribit": section}, read_all)


@on_apache
async def test_trades(market: str, daemon: Make, tmp_path: Path) -> None:
    """The trades of nautilus_trader's test data."""
    text = read("nautilus/deribit/ws_trades.json").decode()
    rows = json.loads(text, parse_float=str)["params"]["data"]
    at = rows[0]["timestamp"] * 1000 + SECOND
    trades = [
        Trade(0, row["timestamp"] * 1000, row["trade_seq"], row["price"], row["amount"], row["direction"], at, row["trade_id"])
        for row in rows
    ]
    await assert_frame_stored(market, daemon, tmp_path / "clock", Line("received", at, "", text), ("trades", trades))


@on_apache
async def test_a_bar(market: str, daemon: Make, tmp_path: Path) -> None:
    """The bar of nautilus_trader's test data, received after its minute, so that the clock closes it."""
    text = read("nautilus/deribit/ws_chart.json").decode()
    bar = json.loads(text, parse_float=str)["params"]["data"]
    start = bar["tick"] * 1000
    at = start + 61 * SECOND
    prices = [bar[name] for name in ("open", "high", "low", "close")]
    candle = Candle(0, "1m", start, *prices, bar["volume"], bar["cost"], *[None] * 5, 1, "ws", at)
    await assert_frame_stored(market, daemon, tmp_path / "clock", Line("received", at, "", text), ("candles", [candle]))
