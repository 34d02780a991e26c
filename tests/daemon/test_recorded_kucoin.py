"""KuCoin's recorded traffic through the whole daemon into the database, value by value.

The recording is of 2021: messages of books have no time, so the grid is that of the recorder's clock, and the row has the name of
its writer. The recorder requested whole books, which need a key today: they are cut to the 100 levels that are sent without a key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from ingest.records import MINUTE, SECOND, Candle, Quote, Record, Trade
from tests.support.daemon import Daemon, on_apache
from tests.support.recordings.files import Line, received, recording
from tests.support.recordings.plain import PlainBook, at_ticks
from tests.support.recordings.replay import SILENCE, Clock, Dialect, Replay
from tests.support.recordings.whole import Ids, assert_stored

DEPTH = 20
WELCOME = '{"id":"NSkIrWGB1s","type":"welcome"}'  # as recorded
CLOSED_AFTER = MINUTE + 5 * SECOND  # after the start of a bar that no newer bar follows

Make = Callable[..., Daemon]


def reply(message: dict, now: int) -> Sequence[str]:
    return [json.dumps({"id": message["id"], "type": {"ping": "pong", "subscribe": "ack"}[message["type"]]})]


def responses() -> dict[str, bytes]:
    """The recorded listing, and a token with the documented `instanceServers`, over which the configured address has priority."""
    server = {"endpoint": "wss://ws-api-spot.kucoin.com/", "encrypt": True, "protocol": "websocket"}
    bullet = {"token": "TOKEN", "instanceServers": [server | {"pingInterval": 18000, "pingTimeout": 10000}]}
    return {
        "/api/v1/bullet-public": json.dumps({"code": "200000", "data": bullet}).encode(),
        "/api/v2/symbols": recording("KUCOIN.0")[0].frame,
    }


def snapshots() -> Iterator[tuple[str, Line, dict]]:
    for line in recording("KUCOIN.http.0.0"):
        symbol = line.url.partition("symbol=")[2]
        body = json.loads(line.text)
        data = body["data"] | {side: body["data"][side][:100] for side in ("bids", "asks")}
        url = f"https://api.kucoin.com/api/v1/market/orderbook/level2_100?symbol={symbol}"
        yield symbol, line._replace(url=url, text=json.dumps(body | {"data": data})), data


@cache
def symbols() -> list[str]:
    return sorted(symbol for symbol, _, _ in snapshots())


def messages(topic: str) -> Iterator[tuple[Line, str, dict]]:
    """Messages of a topic for the markets whose snapshot was recorded."""
    for line in received("KUCOIN.ws.1.0"):
        message = json.loads(line.text)
        kind, _, name = message.get("topic", "").partition(":")
        symbol = name.removesuffix("_1min")
        if kind == f"/market/{topic}" and symbol in symbols():
            yield line, symbol, message["data"]


def lines() -> list[Line]:
    frames = [line for topic in ("match", "candles", "level2", "ticker") for line, _, _ in messages(topic)]
    return sorted([*frames, *(line for _, line, _ in snapshots())], key=lambda line: line.time)


def trades(ids: Ids) -> list[Trade]:
    return [
        Trade(ids[symbol], int(row["time"]) // 1000, int(row["sequence"]), row["price"], row["size"], row["side"], line.time)
        for line, symbol, row in messages("match")
    ]


def candles(ids: Ids) -> list[Candle]:
    """The last state of each bar that a newer bar or the clock closed. Columns: time, open, close, high, low, volume, turnover."""
    bars = {}
    for line, symbol, row in messages("candles"):
        time, opened, close, high, low, volume, turnover = row["candles"]
        sums = volume, turnover, *[None] * 5
        bars[symbol, time] = Candle(ids[symbol], "1m", int(time) * SECOND, opened, high, low, close, *sums, 1, "ws", line.time)
    end = lines()[-1].time + SILENCE
    newest = {bar.instrument_id: bar.time for bar in bars.values()}
    return [bar for bar in bars.values() if bar.time < newest[bar.instrument_id] or bar.time + CLOSED_AFTER <= end]


def quotes(ids: Ids) -> list[Quote]:
    states = []
    for line, symbol, row in messages("ticker"):
        best = row["bestBid"], row["bestBidSize"], row["bestAsk"], row["bestAskSize"]
        states.append(Quote(ids[symbol], row["time"] * 1000, "", *best, int(row["sequence"]), line.time))
    return at_ticks(states)


def books(ids: Ids) -> list[Record]:
    states = []
    for name, _, snapshot in snapshots():
        book = PlainBook()
        book.change(snapshot["bids"], snapshot["asks"])
        for line, symbol, row in messages("level2"):
            if symbol == name and row["sequenceEnd"] >= int(snapshot["sequence"]):
                book.change(*([level for level in row["changes"][side] if level[0] != "0"] for side in ("bids", "asks")))
                state = book.state(ids[symbol], line.time, row["sequenceEnd"], line.time, DEPTH)
                states.append(replace(state, writer="one"))
    return at_ticks(states)


@on_apache
async def test_a_recording(market: str, daemon: Make, tmp_path: Path) -> None:
    listed = {row["symbol"]: row["name"] for row in json.loads(responses()["/api/v2/symbols"])["data"]}
    section = {"instruments": [listed[symbol].replace("-", "/") for symbol in symbols()], "book": {"depth": DEPTH}}
    clock = Clock(tmp_path / "clock", lines()[0].time)
    async with Replay(lines(), clock, Dialect(4, reply, [WELCOME]), responses()).serving() as replay:
        await assert_stored(
            daemon, market, replay, {"kucoin": section}, lambda ids: (trades(ids), candles(ids), quotes(ids), books(ids))
        )
    requests = {f"/api/v1/market/orderbook/level2_100?symbol={symbol}" for symbol in symbols()}
    assert set(replay.requests) >= {"/api/v2/symbols", "/api/v1/bullet-public", *requests}
