"""Binance's recorded traffic through the whole daemon into the database, value by value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from ingest.records import Candle, Instrument, Quote, Record, Trade
from tests.support.daemon import Daemon
from tests.support.recordings.files import Line, load, received, recording
from tests.support.recordings.plain import PlainBook, at_ticks
from tests.support.recordings.replay import Clock, Dialect, Replay
from tests.support.recordings.whole import Ids, assert_stored, instruments

DEPTH = 500  # for this depth a snapshot of 1000 levels is requested, as recorded
MARKETS = ["NKN/USDT", "BLZ/ETH", "LRC/BTC", "RUNE/EUR"]
BINANCE = Dialect(1, lambda message, now: [json.dumps({"result": None, "id": message["id"]})])

Make = Callable[..., Daemon]


def listing() -> dict[str, bytes]:
    return {"/api/v3/exchangeInfo": recording("BINANCE.0")[0].frame}


def lines() -> list[Line]:
    """Frames and snapshots in the order of their arrival."""
    return sorted([*received("BINANCE.ws.1.0"), *recording("BINANCE.http.0.0")], key=lambda line: line.time)


def events(kind: str) -> Iterator[tuple[Line, dict]]:
    for line in received("BINANCE.ws.1.0"):
        message = json.loads(line.text)
        if message["stream"].endswith(f"@{kind}"):
            yield line, message["data"]


def trades(ids: Ids) -> list[Trade]:
    taker = {True: "sell", False: "buy"}  # by `m`: whether the buyer was the maker
    return [
        Trade(ids[event["s"]], event["T"] * 1000, event["a"], event["p"], event["q"], taker[event["m"]], line.time)
        for line, event in events("aggTrade")
    ]


def quotes(ids: Ids) -> list[Quote]:
    """The exchange sends no time, so the grid is that of the daemon's clock, and the row has the name of its writer."""
    states = []
    for line, event in events("bookTicker"):
        best = event["b"], event["B"], event["a"], event["A"]
        states.append(Quote(ids[event["s"]], line.time, "one", *best, event["u"], line.time))
    return at_ticks(states)


def books(ids: Ids) -> list[Record]:
    states = []
    for answer in recording("BINANCE.http.0.0"):
        symbol = answer.url.partition("symbol=")[2].partition("&")[0]
        snapshot, book = json.loads(answer.text), PlainBook()
        book.change(snapshot["bids"], snapshot["asks"])
        for line, event in events("depth@100ms"):
            if event["s"] == symbol and event["u"] >= snapshot["lastUpdateId"]:
                book.change(event["b"], event["a"])
                states.append(book.state(ids[symbol], event["E"] * 1000, event["u"], line.time, DEPTH))
    return at_ticks(states)


async def test_a_recording(market: str, daemon: Make, tmp_path: Path) -> None:
    """Its bars are all unfinished, so no candle is stored."""
    section = {"instruments": MARKETS, "trade_kind": "aggTrade", "book": {"depth": DEPTH}}
    clock = Clock(tmp_path / "clock", lines()[0].time)
    async with Replay(lines(), clock, BINANCE, listing()).serving() as replay:
        await assert_stored(daemon, market, replay, {"binance": section}, lambda ids: (trades(ids), quotes(ids), books(ids)))
    snapshots = [f"/api/v3/depth?symbol={name.replace('/', '')}&limit=1000" for name in MARKETS]
    assert sorted(replay.requests) == sorted(["/api/v3/exchangeInfo", *snapshots])
    rows = await instruments(market)
    assert rows == [instrument(row.symbol, row.id) for row in rows]


def instrument(symbol: str, number: int) -> Instrument:
    """The instrument as the recorded listing describes it."""
    listed = json.loads(listing()["/api/v3/exchangeInfo"])["symbols"]
    row = next(row for row in listed if row["symbol"] == symbol)
    filters = {row_filter["filterType"]: row_filter for row_filter in row["filters"]}
    steps = filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]
    names = row["baseAsset"], row["quoteAsset"]
    status = {"TRADING": "trading"}.get(row["status"], "halted")
    return Instrument("binance", row["symbol"], "/".join(names), *names, "spot", status, *steps, number)


async def test_a_closed_bar(market: str, daemon: Make, tmp_path: Path) -> None:
    """The bar of nautilus_trader's test data in the envelope of spot streams; it is of a futures market, where bars are alike."""
    event = load("nautilus/binance/futures.market_data_json.kline_stream_closed.json")
    bar = event["k"]
    frame = Line("received", event["E"] * 1000, "", json.dumps({"stream": "btcusdt@kline_1m", "data": event}))
    section = {"instruments": ["BTC/USDT"], "channels": ["candles"]}

    def read(ids: Ids) -> list[list[Candle]]:
        prices = bar["o"], bar["h"], bar["l"], bar["c"]
        sums = bar["v"], bar["q"], bar["n"], bar["V"], bar["Q"], bar["f"], bar["L"]
        return [[Candle(ids["BTCUSDT"], "1m", bar["t"] * 1000, *prices, *sums, 1, "ws", frame.time)]]

    clock = Clock(tmp_path / "clock", frame.time)
    async with Replay([frame], clock, BINANCE, listing()).serving() as replay:
        await assert_stored(daemon, market, replay, {"binance": section}, read)
