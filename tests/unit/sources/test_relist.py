"""Messages that contradict the listing: the feed reads it again, and replaces what it changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from ingest.exchanges.binance import exchange as binance
from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.http import Flow
from ingest.protocol.session import Connection, Output, Relist, Session
from ingest.records import Instrument
from ingest.simulator.server import Simulator
from ingest.sources import exchange_feed
from tests.support.daemon import until
from tests.support.feed_bench import Bench, running

STEPS = ("0.01", "0.1", "0.1", "0.1", "0.1", "0.1")


def contradicted(read_at: list[float]) -> Exchange:
    """Binance, whose sessions contradict the listing at every tick, and whose second listing has another step."""

    def listing(options: ExchangeOptions) -> Flow[list[Instrument]]:
        rows = yield from binance.listing(options)
        read_at.append(asyncio.get_running_loop().time())
        return [replace(row, price_step=STEPS[len(read_at) - 1]) for row in rows]

    def session(connection: Connection, options: ExchangeOptions) -> Session:
        made: Any = binance.session(connection, options)
        tick = made.tick

        def ticked(now: int) -> Sequence[Output]:
            return [*tick(now), Relist("binance: BTCUSDT: the checksum of the book fails")]

        made.tick = ticked
        return cast(Session, made)

    names = {name: getattr(binance, name) for name in ("NAME", "TRADE_KINDS", "CHANNELS", "LIMITS", "COMPLETENESS", "connections")}
    return cast(Exchange, SimpleNamespace(**names, listing=listing, session=session))


async def test_the_listing_is_read_again_but_not_more_than_once_a_minute(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_feed, "LISTING_RETRY_SECONDS", 0.7)  # instead of a minute; there is a tick each 0.25 s
    read_at: list[float] = []
    bench = Bench(simulator, exchange=contradicted(read_at))
    async with running(bench):
        await until(lambda: len(read_at) == 4, 10)
        assert bench.value("source_connects_total") == 2  # the changed instrument has a new session
        assert bench.feed.status()["last_error"] == "binance: BTCUSDT: the checksum of the book fails"
    assert min(later - before for before, later in pairwise(read_at)) > 0.6
