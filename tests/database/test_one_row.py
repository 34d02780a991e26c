"""A trade that arrives on several paths (websocket, REST, archive) is one row, whichever path is first, on every exchange.

The trades are recorded ones. For each other path they are written in that path's documented form, with the same values; a
difference, such as a time of another resolution, is noted where it is made. Kraken's archive has no trade ids and only whole
seconds, and of the others only Binance has an archive that the daemon reads. Without one, the websocket sends the trades twice.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from msgspec.structs import replace

from ingest.counters import Tally
from ingest.exchanges.binance import exchange as binance
from ingest.exchanges.binance import parse as binance_parse
from ingest.exchanges.binance.archive import trade_from_archive
from ingest.exchanges.coinbase import exchange as coinbase
from ingest.exchanges.coinbase import parse as coinbase_parse
from ingest.exchanges.deribit import exchange as deribit
from ingest.exchanges.deribit import parse as deribit_parse
from ingest.exchanges.gate import exchange as gate
from ingest.exchanges.gate import parse as gate_parse
from ingest.exchanges.kraken import exchange as kraken
from ingest.exchanges.kraken import parse as kraken_parse
from ingest.exchanges.kucoin import exchange as kucoin
from ingest.exchanges.kucoin import parse as kucoin_parse
from ingest.exchanges.okx import exchange as okx
from ingest.exchanges.okx import parse as okx_parse
from ingest.pipeline.batch import Outcome
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Session, Subscription
from ingest.records import SECOND, Instrument, Trade
from ingest.store.batch_writer import BatchWriter
from ingest.store.pool import Pool, open_pool
from ingest.tables import TRADES
from tests.support.daemon import on_apache
from tests.support.recordings.files import load, read, received
from tests.support.recordings.whole import records

pytestmark = on_apache  # the edition does not change the identity of a row

Paths = dict[str, list[Trade]]  # the same trades by each path
ARCHIVED = ("id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch")
RECEIVED = 1_790_000_000 * SECOND  # `received_at` of the first path; the next ones are later


def instrument(exchange: str, symbol: str) -> Instrument:
    return Instrument(exchange, symbol, symbol.replace("-", "/"), "", "", "spot", "trading", "0.1", "0.00000001", id=7)


def session_of(module: object, listed: Instrument, trade_kind: str) -> Session:
    options = ExchangeOptions(ws_url="wss://example", rest_url="https://example", trade_kind=trade_kind)
    (connection,) = module.connections([Subscription(listed, "trades")], options)
    return module.session(connection, options)


def trades_of(session: Session, frames: Iterable[bytes]) -> list[Trade]:
    """The trades that the session yields for the frames; other outputs, such as gaps, are left out."""
    out = [output for frame in frames for output in session.feed(frame, RECEIVED)]
    return [output for output in out if isinstance(output, Trade)]


def encoded(frames: Iterable[object]) -> list[bytes]:
    return [json.dumps(frame, separators=(",", ":")).encode() for frame in frames]


def on_binance() -> Paths:
    """Recorded by REST. Websocket: "Trade Streams". Archive: binance-public-data, whose times are microseconds since 2025."""
    routes = load("gocryptotrader/binance.http.json")["routes"]["/api/v3/historicalTrades"]["GET"]
    rows = next(entry["data"] for entry in routes if entry["queryString"] == "limit=5&symbol=BTCUSDT")
    listed = instrument("binance", "BTCUSDT")
    frames = [
        {
            "stream": "btcusdt@trade",
            "data": {"e": "trade", "E": row["time"] + 1, "s": "BTCUSDT", "t": row["id"], "p": row["price"], "q": row["qty"]}
            | {"T": row["time"], "m": row["isBuyerMaker"], "M": True},
        }
        for row in rows
    ]
    cells = [row | {"time": row["time"] * 1000 + 789} for row in rows]
    lines = [",".join(str(row[name]) for name in ARCHIVED) for row in cells]
    return {
        "websocket": trades_of(session_of(binance, listed, "trade"), encoded(frames)),
        "rest": binance_parse.trades_from_rest(json.dumps(rows).encode(), listed, "trade", RECEIVED + 1),
        "archive": [trade_from_archive(line, listed, "trade", RECEIVED + 2) for line in lines],
    }


def on_coinbase() -> Paths:
    """Recorded by websocket, of one product. REST: "Get product trades". `last_match` repeats a trade after a subscription."""
    messages = [json.loads(line.text) for line in received("COINBASE.ws.28.0")]
    matches = [m for m in messages if m["type"] == "match" and m["product_id"] == "SKL-USD"]
    listed = instrument("coinbase", "SKL-USD")
    rows = [{name: match[name] for name in ("trade_id", "side", "size", "price", "time")} for match in matches]
    return {
        "websocket": trades_of(session_of(coinbase, listed, "match"), encoded(matches)),
        "rest": coinbase_parse.trades_from_rest(json.dumps(rows).encode(), listed, RECEIVED + 1),
        "repeated": trades_of(session_of(coinbase, listed, "match"), encoded(match | {"type": "last_match"} for match in matches)),
    }


def on_kraken() -> Paths:
    """Recorded by REST, with seven decimals of a second. Websocket: "Trade" of version 2, with six; its snapshot repeats trades."""
    body = read("nautilus/kraken/http_trades.json")
    (rows,) = [rows for rows in json.loads(body, parse_float=Decimal)["result"].values() if isinstance(rows, list)]
    listed = instrument("kraken", "BTC/USDT")
    session = session_of(kraken, listed, "trade")
    return {
        "websocket": trades_of(session, (kraken_frame("update", row) for row in rows)),
        "rest": kraken_parse.trades_from_rest(body, listed, RECEIVED + 1),
        "repeated": trades_of(session, (kraken_frame("snapshot", row) for row in rows)),
    }


def kraken_frame(kind: str, row: list) -> bytes:
    """Written as text, because price and size are JSON numbers with exactly these digits."""
    price, size, time, side, _, _, trade_id = row
    at = f"{datetime.fromtimestamp(int(time), UTC):%Y-%m-%dT%H:%M:%S}.{int(time % 1 * SECOND):06d}Z"
    taker = {"b": "buy", "s": "sell"}[side]
    return (
        f'{{"channel":"trade","type":"{kind}","data":[{{"symbol":"BTC/USDT","side":"{taker}","price":{price},"qty":{size},'
        f'"ord_type":"limit","trade_id":{trade_id},"timestamp":"{at}"}}]}}'
    ).encode()


def on_okx() -> Paths:
    """Recorded by REST. Websocket: "All trades channel", whose rows have `seqId` besides; a resubscription may repeat a trade."""
    body = read("nautilus/okx/http_get_trades.json")
    listed = instrument("okx", "BTC-USDT")
    arg = {"channel": "trades-all", "instId": "BTC-USDT"}
    frames = [{"arg": arg, "data": [row | {"source": "0", "seqId": 1}]} for row in json.loads(body)["data"]]
    session = session_of(okx, listed, "trades-all")
    return {
        "websocket": trades_of(session, encoded(frames)),
        "rest": okx_parse.trades_from_rest(body, listed, RECEIVED + 1),
        "repeated": trades_of(session, encoded(frames)),
    }


def on_gate() -> Paths:
    """Recorded by websocket, of one market; `id_market`, which today's messages have, is added. REST: "Query market records"."""
    messages = [json.loads(line.text) for line in received("GATEIO.ws.1.0") if '"spot.trades","event":"update"' in line.text]
    trades = [m["result"] for m in messages if m["result"]["currency_pair"] == "NEO_BTC"]
    frames = [{"channel": "spot.trades", "event": "update", "result": row | {"id_market": row["id"] % 1000}} for row in trades]
    common = ("create_time_ms", "side", "amount", "price")
    rows = [{n: row[n] for n in common} | {"id": str(row["id"]), "sequence_id": str(row["id"] % 1000)} for row in trades]
    listed = instrument("gate", "NEO_BTC")
    session = session_of(gate, listed, "trade")
    return {
        "websocket": trades_of(session, encoded(frames)),
        "rest": gate_parse.trades_from_rest(json.dumps(rows).encode(), listed, RECEIVED + 1),
        "repeated": trades_of(session, encoded(frames)),
    }


def on_kucoin() -> Paths:
    """Recorded by websocket, of one market. REST: "Get Trade History", whose time is a number."""
    lines = [line for line in received("KUCOIN.ws.1.0") if '"topic":"/market/match:DAPPT-BTC"' in line.text]
    trades = [json.loads(line.text)["data"] for line in lines]
    rows = [{n: row[n] for n in ("sequence", "price", "size", "side")} | {"time": int(row["time"])} for row in trades]
    listed = instrument("kucoin", "DAPPT-BTC")
    session = session_of(kucoin, listed, "match")
    return {
        "websocket": trades_of(session, (line.frame for line in lines)),
        "rest": kucoin_parse.trades_from_rest(json.dumps({"code": "200000", "data": rows}).encode(), listed, RECEIVED + 1),
        "repeated": trades_of(session, (line.frame for line in lines)),
    }


def on_deribit() -> Paths:
    """Recorded by REST. Websocket: "trades.{instrument_name}.{interval}", with the same rows."""
    body = read("nautilus/deribit/http_get_last_trades.json")
    listed = instrument("deribit", "ETH-PERPETUAL")
    params = {"channel": "trades.ETH-PERPETUAL.100ms", "data": json.loads(body)["result"]["trades"]}
    frames = encoded([{"jsonrpc": "2.0", "method": "subscription", "params": params}])
    session = session_of(deribit, listed, "trade")
    return {
        "websocket": trades_of(session, frames),
        "rest": deribit_parse.trades_from_rest(body, listed, RECEIVED + 1),
        "repeated": trades_of(session, frames),
    }


@pytest.fixture
async def pool(market: str) -> AsyncIterator[Pool]:
    made = await open_pool(market, 2)
    yield made
    await made.close()


async def write(pool: Pool, batches: list[list[Trade]]) -> list[Outcome]:
    """Write batch by batch, through a queue and the batch writer."""
    queue = TableQueue(TRADES, Tally("trades"), Limits(), on_gap=lambda gap: None)
    batch_writer = BatchWriter(TRADES, pool)
    outcomes = []
    for trades in batches:
        for trade in trades:
            queue.put(trade)
        queue.seal()
        batch = await queue.take()
        outcomes.append(await batch_writer.write(batch))
        queue.settle(batch)
    return outcomes


def outcomes_of(outcomes: list[Outcome]) -> list[tuple[int, int]]:
    assert not any(outcome.revised or outcome.rejected for outcome in outcomes)
    return [(outcome.written, outcome.duplicate) for outcome in outcomes]


EXCHANGES = pytest.mark.parametrize("on_exchange", [on_binance, on_coinbase, on_deribit, on_gate, on_kraken, on_kucoin, on_okx])


@EXCHANGES
@pytest.mark.parametrize("first", [0, 1, 2])
async def test_the_first_path_is_stored(market: str, pool: Pool, on_exchange: Callable[[], Paths], first: int) -> None:
    paths = list(on_exchange().values())
    order = paths[first:] + paths[:first]
    count = len(order[0])
    assert count > 1
    assert outcomes_of(await write(pool, order)) == [(count, 0), (0, count), (0, count)]
    assert await records(market, TRADES) == sorted(order[0], key=lambda trade: (trade.time, trade.trade_id))
    trades = [[replace(trade, received_at=RECEIVED) for trade in sorted(path, key=lambda trade: trade.trade_id)] for path in order]
    assert trades[0] == trades[1] == trades[2]


@EXCHANGES
async def test_all_paths_in_one_batch_are_one_row(market: str, pool: Pool, on_exchange: Callable[[], Paths]) -> None:
    paths = on_exchange()
    count = len(paths["rest"])
    assert outcomes_of(await write(pool, [[trade for path in paths.values() for trade in path]])) == [(count, 2 * count)]
    found = [replace(trade, received_at=RECEIVED) for trade in await records(market, TRADES)]
    assert found == sorted(paths["websocket"], key=lambda trade: (trade.time, trade.trade_id))
