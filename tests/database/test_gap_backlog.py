"""The open gaps of the ledger: which is next, how a gap is closed piece by piece, and which gaps are detected."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from ingest.protocol.session import ChannelName, Gap
from ingest.records import MINUTE, SECOND
from ingest.store import gap_backlog
from ingest.store.coverage import Claim, LedgerGap, to_datetime, write_claims, write_gaps
from ingest.store.gap_backlog import OpenGap, TrackedChannel
from ingest.store.jobs import to_micros
from ingest.store.pool import Connection, connect
from tests.support.daemon import on_apache

pytestmark = on_apache  # the ledger is a plain table

NOW = 0  # when the test began, in microseconds
AFTER = timedelta(seconds=30)
LONG_AGO = to_datetime(0)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "NOW", to_micros(datetime.now(UTC)))


@pytest_asyncio.fixture
async def connection(market: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await connect(market)
    for symbol in ("BTC", "ETH"):
        await connection.execute(
            "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status, trade_kind)"
            " VALUES ('binance', $1 || 'USDT', $1 || '/USDT', $1, 'USDT', 'spot', 'trading', 'trade')",
            symbol,
        )
    yield connection
    await connection.close()


def ago(minutes: float) -> int:
    return NOW - int(minutes * MINUTE)


async def put_gap(connection: Connection, since: float, until: float | None, *ids: int, instrument_id: int = 1) -> None:
    """Write a gap; `since` and `until` are minutes before NOW, `ids` its first and last trade id."""
    end = None if until is None else ago(until)
    gap = Gap(instrument_id, "trades", "sequence" if ids else "disconnect", ago(since), end, *ids)
    await write_gaps(connection, [LedgerGap("binance", "a", gap, "trade")])


async def claim(connection: Connection, since: float, until: float, writer: str = "a", channel: ChannelName = "trades") -> None:
    await write_claims(connection, [Claim("binance", writer, 1, channel, "trade", ago(since), ago(until))])


async def next_gaps(connection: Connection) -> list[tuple[float, float]]:
    """(since, until) of the gaps that are requested next, in minutes before NOW."""
    gaps = await gap_backlog.next_gaps(connection, "binance", [1, 2], AFTER)
    return [((NOW - gap.since) / MINUTE, (NOW - gap.until) / MINUTE) for gap in gaps]


async def ledger(connection: Connection) -> list[tuple[str, str, float, float, int | None]]:
    """(state, reason, since, until, stored) of every gap, in minutes before NOW, oldest first."""
    rows = await connection.fetch(
        "SELECT state, reason, since, until, stored FROM coverage WHERE state <> 'covered' ORDER BY since, state"
    )
    return [(row[0], row[1], (NOW - to_micros(row[2])) / MINUTE, (NOW - to_micros(row[3])) / MINUTE, row[4]) for row in rows]


async def newest_gap(connection: Connection) -> OpenGap:
    return (await gap_backlog.next_gaps(connection, "binance", [1, 2], AFTER))[0]


# --- which is next ---------------------------------------------------------------------------------------------------------


async def test_the_newest_gap_is_next_and_its_neighbours_go_with_it(connection: Connection) -> None:
    await put_gap(connection, 60, 50)
    await put_gap(connection, 12, 11)
    await put_gap(connection, 10.5, 10)
    await put_gap(connection, 10.5, 10, 7, 9)  # a gap with ids is requested alone
    await put_gap(connection, 30, 29, instrument_id=2)
    assert sorted(await next_gaps(connection), reverse=True) == [(12, 11), (10.5, 10)]


async def test_a_gap_that_is_young_or_has_no_end_or_was_just_tried_waits(connection: Connection) -> None:
    await put_gap(connection, 3, -2)
    await put_gap(connection, 90, None)
    assert await next_gaps(connection) == []
    await put_gap(connection, 20, 15)
    await gap_backlog.postpone(connection, await newest_gap(connection), 60, "a reason")
    assert await next_gaps(connection) == []
    row = await connection.fetchrow("SELECT tries, verdict, next_try_at > now() + interval '50 s' FROM coverage WHERE tries > 0")
    assert row is not None
    assert tuple(row) == (1, "a reason", True)
    await gap_backlog.retry_all(connection, "binance")
    assert await next_gaps(connection) == [(20, 15)]


async def test_the_time_that_another_writer_claims_is_not_requested(connection: Connection) -> None:
    await claim(connection, 60, 10)
    await claim(connection, 40, 10, "b")
    await put_gap(connection, 45, 20)
    gap = await newest_gap(connection)
    assert [
        (((NOW - a) / MINUTE), ((NOW - b) / MINUTE)) for a, b in await gap_backlog.uncovered_parts(connection, "binance", gap)
    ] == [(45, 40)]
    await claim(connection, 50, 10, "c")
    assert await gap_backlog.uncovered_parts(connection, "binance", gap) == []


# --- piece by piece ---------------------------------------------------------------------------------------------------------


async def resolve(connection: Connection, since: float, until: float, state: str = "healed", stored: int = 5) -> bool:
    gap = await newest_gap(connection)
    return await gap_backlog.resolve(connection, gap, ago(since), ago(until), state=state, verdict=None, stored=stored)


async def test_a_gap_is_closed_from_its_end_and_the_pieces_are_one(connection: Connection) -> None:
    await put_gap(connection, 60, 10)
    assert not await resolve(connection, 30, 10)
    assert await ledger(connection) == [("open", "disconnect", 60, 30, None), ("healed", "disconnect", 30, 10, 5)]
    assert not await resolve(connection, 40, 30)
    assert await ledger(connection) == [("open", "disconnect", 60, 40, None), ("healed", "disconnect", 40, 10, 10)]
    assert await resolve(connection, 60, 40)
    assert [row[:4] for row in await ledger(connection)] == [("healed", "disconnect", 60, 40), ("healed", "disconnect", 40, 10)]


async def test_what_the_exchange_keeps_no_longer_is_cut_off_at_the_beginning(connection: Connection) -> None:
    await put_gap(connection, 60, 10)
    assert not await resolve(connection, 60, 45, "unrecoverable", 0)
    assert await ledger(connection) == [("unrecoverable", "disconnect", 60, 45, 0), ("open", "disconnect", 45, 10, None)]


async def test_more_than_the_gap_closes_it_and_an_empty_range_changes_nothing(connection: Connection) -> None:
    await put_gap(connection, 60, 10)
    assert not await resolve(connection, 10, 10)
    assert await ledger(connection) == [("open", "disconnect", 60, 10, None)]
    assert await resolve(connection, 61, 9)
    assert await ledger(connection) == [("healed", "disconnect", 60, 10, 5)]


# --- detection ----------------------------------------------------------------------------------------------------------------


def stream(channel: ChannelName = "trades", since: float = 0.0) -> TrackedChannel:
    return TrackedChannel(1, channel, "trade" if channel == "trades" else None, ago(since))


async def detect(connection: Connection, *channels: ChannelName) -> int:
    return await gap_backlog.detect(
        connection, "binance", [stream(channel) for channel in channels or ("trades",)], AFTER, LONG_AGO
    )


async def test_a_time_that_no_daemon_claims_becomes_a_gap_once(connection: Connection) -> None:
    await claim(connection, 60, 40)
    await claim(connection, 30, 20)
    await claim(connection, 19, -1)  # until now
    await put_gap(connection, 20, 19)
    assert await detect(connection) == 1  # from 20 to 19 there is a gap already
    assert await detect(connection) == 0
    assert [row[:4] for row in await ledger(connection)] == [("open", "unwatched", 40, 30), ("open", "disconnect", 20, 19)]


async def test_an_unverifiable_time_is_no_gap(connection: Connection) -> None:
    await claim(connection, 60, 40)
    times = ago(60), ago(-1)
    await write_claims(connection, [Claim("binance", "a", 1, "trades", "trade", *times, state="unverifiable")])
    assert await detect(connection) == 0


async def test_a_gap_at_the_end_grows(connection: Connection) -> None:
    await claim(connection, 60, 20)
    assert await gap_backlog.detect(connection, "binance", [stream()], timedelta(minutes=4), LONG_AGO) == 1
    before = await ledger(connection)
    assert await detect(connection) == 0
    after = await ledger(connection)
    assert [row[:3] for row in before] == [row[:3] for row in after] == [("open", "unwatched", 20)]
    assert before[0][3] - after[0][3] > 3


async def test_an_end_that_may_not_be_claimed_yet_is_no_gap(connection: Connection) -> None:
    now = to_micros(datetime.now(UTC))
    for channel, behind in (("trades", 20), ("candles", 200)):
        late = Claim("binance", "a", 1, channel, "trade", ago(60), now - behind * SECOND)  # type: ignore[arg-type]
        await write_claims(connection, [late])
    assert await detect(connection, "trades", "candles") == 0


async def test_a_gap_of_a_book_is_unrecoverable(connection: Connection) -> None:
    await claim(connection, 60, 40, channel="book")
    await claim(connection, 30, -1, channel="book")
    assert await detect(connection, "book") == 1
    assert [row[:2] for row in await ledger(connection)] == [("unrecoverable", "unwatched")]


async def test_a_stream_that_is_not_configured_any_more_is_left_alone(connection: Connection) -> None:
    await claim(connection, 60, 40)
    assert await detect(connection, "candles") == 0


async def test_a_new_stream_begins_where_its_history_begins(connection: Connection) -> None:
    await gap_backlog.track(connection, "binance", [stream(since=600)])
    await gap_backlog.track(connection, "binance", [stream(since=600)])
    ((state, reason, since, until, _),) = await ledger(connection)
    assert (state, reason, since) == ("open", "history", 600)
    assert until <= 0.01  # until now


async def test_a_longer_history_is_a_gap_before_the_known_time(connection: Connection) -> None:
    await claim(connection, 60, 0)
    await gap_backlog.track(connection, "binance", [stream(since=59)])
    assert await ledger(connection) == []
    await gap_backlog.track(connection, "binance", [stream(since=3000)])
    assert [row[:4] for row in await ledger(connection)] == [("open", "history", 3000, 60)]


async def test_the_summary_counts_open_gaps(connection: Connection) -> None:
    await put_gap(connection, 60, 50)
    await put_gap(connection, 30, 29)
    await put_gap(connection, 20, 19)
    assert await resolve(connection, 20, 19)
    assert await gap_backlog.summary(connection, "binance") == {"trades": (2, 660.0)}
