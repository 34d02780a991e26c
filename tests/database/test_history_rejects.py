"""Bad rows of a history's pages are counted in the outcome and kept in `rejects`; the good rows are stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest_asyncio

from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Rate
from ingest.protocol.history import HistoryRequest, Page
from ingest.records import SECOND, Instrument, Trade
from ingest.sources.history_loader import REJECTS, HistoryLoader
from ingest.store.instruments import store_instruments
from ingest.store.pool import Pool, open_pool
from ingest.transports.http import Http
from tests.support.daemon import on_apache

NOW = 1_790_000_000 * SECOND
BTC = Instrument("gate", "BTC_USDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", "0.1", "0.01")


class Origin:
    """A history of two pages, each with a good row and some malformed ones."""

    VIA = ("rest",)
    trade_kind = "trade"
    rate = Rate(1, 1.0)
    alternative = ""

    async def listing(self, http: Http) -> list[Instrument]:
        return [BTC]

    async def pages(self, http: Http, request: HistoryRequest, via: str) -> AsyncGenerator[Page, None]:
        for number in (1, 2):
            trade = Trade(request.instrument.id, request.since + number, number, "1", "2", "buy", NOW)
            bad = [Malformed(b'{"px":"-2"}', reason, "gate: '-2' is not a price or size") for reason in ("value", "shape")]
            yield Page([trade], request.since + number, bad * (1 if number == 1 else REJECTS))


@pytest_asyncio.fixture
async def pool(market: str) -> AsyncIterator[Pool]:
    made = await open_pool(market, 2)
    yield made
    await made.close()


@on_apache
async def test_a_bad_row_of_a_page_is_counted_and_kept(pool: Pool) -> None:
    (instrument,) = await store_instruments(pool, [BTC], "trade")
    http: Any = None  # no request is sent
    loader = HistoryLoader(Origin(), "trades", "rest", http=http, pool=pool, edition="apache")
    result = await loader.fill(HistoryRequest(instrument=instrument, channel="trades", since=NOW - SECOND, until=NOW))
    assert result.error is None
    assert (result.outcome.written, result.outcome.rejected) == (2, {"value": REJECTS + 1, "shape": REJECTS + 1})
    assert await pool.fetchval("SELECT count(*) FROM trades") == 2
    rows = await pool.fetch("SELECT source, stage, reason, message, payload FROM rejects ORDER BY reason")
    assert len(rows) == REJECTS  # all are counted, at most REJECTS are kept
    assert set(map(tuple, rows)) == {
        ("gate", "decode", reason, "gate: '-2' is not a price or size", '{"px":"-2"}') for reason in ("value", "shape")
    }
