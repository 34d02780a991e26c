"""A symbol that an exchange refuses: the others are subscribed, the status has the reason, and the next connection leaves it out.

The frames are those of Gate's documentation: https://www.gate.com/docs/developers/apiv4/ws/en/#subscribe-operation
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from msgspec.structs import replace

from ingest.config.sections import ExchangeSection
from ingest.exchanges.gate import exchange as gate
from ingest.metrics import Metrics
from ingest.protocol.decode import Malformed
from ingest.records import Instrument, Trade
from ingest.sources.exchange_feed import ExchangeFeed
from tests.support.daemon import until

PAIRS = ("BTC_USDT", "LENS_USDT")
REASON = "gate: spot.trades: 2 unknown currency pair: LENS_USDT"


class GateServer:
    """The parts of Gate that a feed of trades needs. LENS_USDT is listed, but its subscription is refused."""

    def __init__(self) -> None:
        self.url = ""
        self.subscribed: list[list[list[str]]] = []  # the payloads of the messages of each connection
        self.sockets: list[web.WebSocketResponse] = []

    async def listing(self, _request: web.Request) -> web.Response:
        rows: list[dict[str, Any]] = [
            {"id": pair, "base": pair[:-5], "quote": "USDT", "precision": 2, "amount_precision": 3, "trade_status": "tradable"}
            for pair in PAIRS
        ]
        return web.json_response([*rows, rows[0] | {"id": "ODD_USDT", "precision": -1}])

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        self.subscribed.append([])
        payloads = self.subscribed[-1]
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                subscription = json.loads(message.data)
                payloads.append(subscription["payload"])
                await self._answer(socket, subscription)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, subscription: dict[str, Any]) -> None:
        reply = {"time": 1, "id": subscription["id"], "channel": "spot.trades", "event": "subscribe"}
        if "LENS_USDT" in subscription["payload"]:
            error = {"code": 2, "message": "unknown currency pair: LENS_USDT"}
            await socket.send_json(reply | {"error": error, "result": {"status": "fail"}})
            return
        await socket.send_json(reply | {"error": None, "result": {"status": "success"}})
        trade = {"id": 1, "id_market": 1, "create_time_ms": "1606292218213.4578", "side": "sell", "currency_pair": "BTC_USDT"}
        trade |= {"amount": "16.47", "price": "0.4705", "range": "1-1"}
        await socket.send_json({"time": 1606292218, "channel": "spot.trades", "event": "update", "result": trade})


@pytest.fixture
async def server() -> Any:
    exchange = GateServer()
    app = web.Application()
    app.router.add_get("/api/v4/spot/currency_pairs", exchange.listing)
    app.router.add_get("/ws/v4/", exchange.talk)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    exchange.url = f"127.0.0.1:{runner.addresses[0][1]}"
    yield exchange
    await runner.cleanup()


async def test_a_refused_symbol_is_refused_alone_and_left_out_by_the_next_connection(server: GateServer) -> None:
    trades: list[Any] = []
    malformed: list[Malformed] = []

    async def store(rows: Sequence[Instrument], _kind: str | None) -> list[Instrument]:
        return [replace(row, id=number) for number, row in enumerate(rows, 1)]

    section = ExchangeSection(
        instruments=("BTC/USDT", "LENS/USDT"),
        channels=("trades",),
        ws_url=f"ws://{server.url}/ws/v4",
        rest_url=f"http://{server.url}",
    )
    feed = ExchangeFeed(
        "gate",
        gate,  # type: ignore[arg-type] # a module
        section,
        writer="one",
        puts={Trade: trades.append},
        store_instruments=store,
        on_gap=lambda source, gap, kind: None,
        on_malformed=lambda source, bad: malformed.append(bad),
        metrics=Metrics(),
    )
    task = asyncio.create_task(feed.run())
    await until(lambda: len(trades) == 1, 5)
    assert server.subscribed == [[["BTC_USDT", "LENS_USDT"], ["BTC_USDT"]]]
    status = feed.status()
    assert (status["refused"], status["last_error"]) == ({"trades LENS_USDT": REASON}, REASON)
    assert [bad.message for bad in malformed] == ["gate: -1 decimals are not within 0..40"]  # the bad row of the listing
    await server.sockets[0].close()
    await until(lambda: len(trades) == 2, 10)
    assert server.subscribed[1:] == [[["BTC_USDT"]]]
    assert feed.status()["refused"] == {"trades LENS_USDT": REASON}
    task.cancel()
    await asyncio.wait([task])
