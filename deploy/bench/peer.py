"""Runs cryptofeed with its PostgreSQL backend on a simulated Binance, in the environment that peer.txt pins.

https://github.com/bmoscon/cryptofeed/blob/master/examples/demo_postgres.py. It is configured as in this example, with uvloop and
floats. cryptofeed accepts only wss:// addresses, but connects to the address that its authentication hook returns.

    python peer.py WS_URL REST_URL DATABASE_HOST DATABASE_PORT DATABASE TABLE SYMBOL...
"""

from __future__ import annotations

import asyncio
import sys

from cryptofeed import FeedHandler
from cryptofeed.backends.postgres import TradePostgres
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance


def main() -> None:
    ws_url, rest_url, host, port, database, table, *symbols = sys.argv[1:]

    class Loopback(Binance):
        websocket_endpoints = [WebsocketEndpoint(ws_url.replace("ws://", "wss://"), authentication=True)]  # noqa: RUF012
        rest_endpoints = [RestEndpoint(rest_url, routes=Routes("/api/v3/exchangeInfo"))]  # noqa: RUF012

        async def _ws_authentication(self, address: str, options: dict[str, object]) -> tuple[str, dict[str, object]]:
            return address.replace("wss://", "ws://"), options

    backend = TradePostgres(host=host, port=int(port), user="postgres", db=database, table=table)
    handler = FeedHandler(config={"uvloop": True, "log": {"filename": "/dev/stderr", "level": "WARNING"}})
    handler.add_feed(Loopback(channels=[TRADES], symbols=symbols, callbacks={TRADES: backend}))
    asyncio.set_event_loop(asyncio.new_event_loop())  # uvloop creates none since 0.22
    handler.run()


if __name__ == "__main__":
    main()
