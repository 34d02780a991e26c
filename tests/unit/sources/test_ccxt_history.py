"""Which pages of an exchange without a module of ours are complete, and which answers are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ingest.errors import Reject
from ingest.protocol.exchange import Rate
from ingest.protocol.history import HistoryRequest
from ingest.protocol.http import Response
from ingest.records import MINUTE, Candle, Instrument, Record
from ingest.sources.ccxt_history import Ccxt, pages

BTC = Instrument("demo", "btcusd", "BTC/USD", "BTC", "USD", "spot", "trading", id=1)
T = 1_700_000_040_000_000 // MINUTE * MINUTE
DAY = 1440
LATER = T + 10 * DAY * MINUTE
SIZE = 300  # bars of an answer


def bar(minute: int) -> Candle:
    return Candle(1, "1m", T + minute * MINUTE, "1", "2", "1", "2", "3", None, None, None, None, None, None, 1, "rest", LATER)


BARS = [bar(minute) for minute in range(-2 * DAY, 3 * DAY)]
Answer = Callable[[int], list[Record]]


async def load(answer: Answer, stored: list[Candle] = BARS) -> list[int]:
    """The minutes that are loaded of the day from T on."""

    async def read(since: int | None) -> list[Record]:
        return list(stored[-SIZE:]) if since is None else answer(since)

    request = HistoryRequest(instrument=BTC, channel="candles", since=T, until=T + DAY * MINUTE)
    found, until = [], T
    async for page in pages(request, read, "demo", lambda: Response(200, b"", received_at=LATER)):
        found += [(record.time - T) // MINUTE for record in page.records]
        until = page.until
    assert until == request.until
    return found


def from_time(since: int, stored: list[Candle] = BARS) -> list[Record]:
    return [candle for candle in stored if candle.time >= since][:SIZE]


async def test_every_bar_of_the_range_is_loaded() -> None:
    assert await load(from_time) == list(range(DAY))


async def test_an_exchange_that_excludes_the_bar_at_since_loses_none() -> None:
    """1,439 of 1,440 bars were loaded, and the day counted as complete."""
    assert await load(lambda since: from_time(since + 1)) == list(range(DAY))


async def test_a_range_that_begins_with_a_quiet_hour_is_complete() -> None:
    stored = [candle for candle in BARS if not T - 10 * MINUTE <= candle.time < T + 50 * MINUTE]
    assert await load(lambda since: from_time(since, stored), stored) == list(range(50, DAY))


async def test_nothing_for_an_old_since_is_refused() -> None:
    """720 of 1,440 bars were missing, and the day counted as complete."""
    noon = T + 720 * MINUTE
    with pytest.raises(Reject, match="nothing shows that there is none before it") as reject:
        await load(lambda since: from_time(since) if since >= noon else [])
    assert reject.value.reason == "history"


async def test_an_answer_that_begins_with_what_is_kept_is_refused() -> None:
    kept = [candle for candle in BARS if candle.time >= T + 720 * MINUTE]
    with pytest.raises(Reject, match="demo: its first row is of") as reject:
        await load(lambda since: from_time(since, kept), kept)
    assert (reject.value.reason, reject.value.code) == ("history", str(T + 720 * MINUTE))


async def test_an_answer_that_skips_bars_is_refused() -> None:
    def skipping(since: int) -> list[Record]:
        found = from_time(since)
        return found if since <= T else found[2:]

    with pytest.raises(Reject, match="without the last row before them"):
        await load(skipping)


async def test_the_latest_rows_only_are_refused() -> None:
    with pytest.raises(Reject, match="demo: sends its latest 300 rows only"):
        await load(lambda since: list(BARS[-SIZE:]))


def test_the_rate_is_that_of_ccxt_and_is_halved_once() -> None:
    """Bitstamp: 8,000 requests in 600 s. A backfill uses half of `rate`, and ccxt's own throttle has the same half."""
    exchange = Ccxt("demo", "bitstamp", None)
    assert exchange.rate == Rate(2, 0.15)
    assert exchange._ccxt.rateLimit == 150
