"""What the ledger counts as covered: claims, gaps, healed gaps and backfilled ranges together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest_asyncio

from ingest.protocol.session import ChannelName, Gap
from ingest.records import MINUTE, SECOND
from ingest.store.coverage import Claim, ClaimState, LedgerGap, delete_expired, to_datetime, write_claims, write_gaps
from ingest.store.gap_report import gaps
from ingest.store.jobs import to_micros
from ingest.store.pool import Connection, connect

DAY = to_micros(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2))


@pytest_asyncio.fixture
async def connection(market: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await connect(market)
    await connection.execute(
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status, trade_kind)"
        " VALUES ('binance', 'BTCUSDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading', 'trade')"
    )
    yield connection
    await connection.close()


def claim(since: float, until: float, writer: str = "a", channel: ChannelName = "trades", state: ClaimState = "covered") -> Claim:
    """A claim of minutes of DAY, the day before yesterday."""
    times = DAY + int(since * MINUTE), DAY + int(until * MINUTE)
    return Claim("binance", writer, 1, channel, "trade", *times, state=state)


def unverifiable(since: float, until: float, writer: str = "a", channel: ChannelName = "trades") -> Claim:
    return claim(since, until, writer, channel, "unverifiable")


def ledger_gap(
    since: float, until: float | None, writer: str = "a", reason: str = "disconnect", channel: ChannelName = "trades"
) -> LedgerGap:
    end = None if until is None else DAY + int(until * MINUTE)
    return LedgerGap("binance", writer, Gap(1, channel, reason, DAY + int(since * MINUTE), end), "trade")


async def missing(connection: Connection) -> list[tuple[str, str, float, float]]:
    """(state, reasons, since, until) of the view `coverage_gaps`, in minutes of DAY."""
    rows = await connection.fetch("SELECT state, reasons, since, until FROM coverage_gaps ORDER BY since, state")
    return [(row[0], row[1], (to_micros(row[2]) - DAY) / MINUTE, (to_micros(row[3]) - DAY) / MINUTE) for row in rows]


async def test_the_time_between_two_claims_is_missing(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 10), claim(12, 20)])
    assert await missing(connection) == [("open", "unwatched", 10, 12)]


async def test_a_claim_grows_and_never_shrinks(connection: Connection) -> None:
    for until in (10, 15, 12):
        await write_claims(connection, [claim(0, until)])
    rows = await connection.fetch("SELECT since, until, state, reason, interval, trade_kind FROM coverage")
    expected = (to_datetime(DAY), to_datetime(DAY + 15 * MINUTE), "covered", "live", None, "trade")
    assert [tuple(row) for row in rows] == [expected]


async def test_no_claim_reaches_beyond_the_clock_of_the_database(connection: Connection) -> None:
    now = to_micros(datetime.now(UTC))
    ahead = [Claim("binance", "a", 1, "trades", "trade", now - since * SECOND, now + 3600 * SECOND) for since in (60, -60)]
    await write_claims(connection, ahead)
    assert await connection.fetchval("SELECT count(*) FROM coverage") == 1
    assert await connection.fetchval("SELECT until <= clock_timestamp() FROM coverage")


async def test_a_gap_counts_against_its_own_writer_only(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 20), claim(5, 30, "b")])
    await write_gaps(connection, [ledger_gap(3, 8)])
    assert await missing(connection) == [("open", "disconnect", 3, 5)]
    await write_gaps(connection, [ledger_gap(4, 6, "b")])
    assert await missing(connection) == [("open", "disconnect", 3, 6)]


async def test_a_gap_of_the_audit_is_missing_despite_every_claim(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 20), claim(0, 20, "b")])
    await write_gaps(connection, [ledger_gap(3, 4, "audit", "ids")])
    assert await missing(connection) == [("open", "ids", 3, 4)]
    await connection.execute("UPDATE coverage SET state = 'healed' WHERE state = 'open'")
    assert await missing(connection) == []


async def test_a_gap_of_no_length_is_missing(connection: Connection) -> None:
    """Such a gap is of ids between two trades of one moment."""
    await write_claims(connection, [claim(0, 20)])
    await write_gaps(connection, [ledger_gap(3, 3, reason="sequence")])
    assert await missing(connection) == [("open", "sequence", 3, 3)]
    await connection.execute("UPDATE coverage SET state = 'healed' WHERE state = 'open'")
    assert await missing(connection) == []


async def test_a_backfilled_range_is_covered(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 10), claim(40, 50)])
    job = await connection.fetchval(
        "INSERT INTO jobs (source, instrument_id, channel, trade_kind, via, since, until)"
        " VALUES ('binance', 1, 'trades', 'trade', 'rest', $1, $2) RETURNING id",
        to_datetime(DAY),
        to_datetime(DAY + 60 * MINUTE),
    )
    for since, state in ((10, "done"), (20, "failed"), (30, "done")):
        times = to_datetime(DAY + since * MINUTE), to_datetime(DAY + (since + 10) * MINUTE)
        await connection.execute("INSERT INTO job_chunks (job_id, since, until, state) VALUES ($1, $2, $3, $4)", job, *times, state)
    assert await missing(connection) == [("open", "unwatched", 20, 30)]


async def test_a_missing_book_is_unrecoverable(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 20, channel="book")])
    await write_gaps(connection, [ledger_gap(3, 8, channel="book", reason="checksum")])
    assert await missing(connection) == [("unrecoverable", "checksum", 3, 8)]


async def test_a_gap_of_a_queue_gets_the_exchange_of_its_instrument(connection: Connection) -> None:
    shed = LedgerGap("queue", "a", Gap(1, "trades", "shed", DAY, DAY + MINUTE), None)
    await write_gaps(connection, [shed])
    assert tuple(await connection.fetchrow("SELECT source, trade_kind, reason FROM coverage")) == ("binance", "trade", "shed")  # type: ignore[arg-type]


async def test_coverage_evidence_counts_the_trades_and_ids_of_covered_ranges(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 10), claim(10, 20), claim(30, 40)])
    for minute, trade_id in ((1, 100), (9, 101), (19, 102), (25, 200), (31, 300), (39, 302)):
        await connection.execute(
            "INSERT INTO trades (instrument_id, time, trade_id, price, size, side, received_at)"
            " VALUES (1, $1, $2, 1, 1, 'buy', $1)",
            to_datetime(DAY + minute * MINUTE),
            trade_id,
        )
    times = to_datetime(DAY), to_datetime(DAY + 60 * MINUTE)
    rows = await connection.fetch("SELECT * FROM coverage_evidence(1, $1, $2) ORDER BY since", *times)
    assert [tuple(row) for row in rows] == [
        ("binance", "trade", times[0], to_datetime(DAY + 20 * MINUTE), 100, 102, 3, 3),
        ("binance", "trade", to_datetime(DAY + 30 * MINUTE), to_datetime(DAY + 40 * MINUTE), 300, 302, 3, 2),
    ]


async def report(connection: Connection) -> list[tuple[Any, ...]]:
    """The shares in percent and the missing time of each day."""
    query = "SELECT day - $1::date, verified, unverifiable, missing, missing_time FROM coverage_report ORDER BY day"
    return [tuple(row) for row in await connection.fetch(query, to_datetime(DAY).date())]


async def test_completeness_by_stream_and_day(connection: Connection) -> None:
    await write_claims(connection, [claim(720, 1080), claim(1260, 2880)])
    assert await report(connection) == [
        (0, 75, 0, 25, timedelta(hours=3)),  # from noon on: nine of twelve hours
        (1, 100, 0, 0, timedelta(0)),
    ]
    names = await connection.fetchrow("SELECT source, instrument, channel FROM coverage_report LIMIT 1")
    assert names is not None
    assert tuple(names) == ("binance", "BTC/USDT", "trades")


async def test_a_small_missing_part_is_not_rounded_away(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 700), claim(700.0001, 1440)])
    assert [list(map(str, row[1:4])) for row in await report(connection)] == [["99.9999", "0.0000", "0.0001"]]


async def test_silence_without_evidence_is_unverifiable_until_a_message_closes_it(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 360), unverifiable(0, 1080), claim(1260, 1440)])
    assert await report(connection) == [(0, 37.5, 50, 12.5, timedelta(hours=3))]
    assert await missing(connection) == [("open", "unwatched", 1080, 1260)]
    await write_claims(connection, [claim(0, 720)])
    assert [row[1:4] for row in await report(connection)] == [(62.5, 25, 12.5)]
    await write_claims(connection, [claim(0, 1080)])
    assert [row[1:4] for row in await report(connection)] == [(87.5, 0, 12.5)]
    assert await connection.fetchval("SELECT count(*) FROM coverage") == 3  # one row for each claim of each state


async def test_the_shares_add_up_to_a_hundred(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 1 / 3), unverifiable(0, 2 / 3), claim(1, 1440)])
    ((_, *shares, _),) = await report(connection)
    assert sum(shares) == 100
    await connection.execute("DELETE FROM coverage")
    await write_claims(connection, [claim(0, 1 / 3), unverifiable(1 / 3, 1)])
    ((_, *shares, _),) = await report(connection)
    assert list(map(str, shares)) == ["33.3333", "66.6667", "0.0000"]


async def test_a_known_gap_outranks_unverifiable_and_covered_outranks_both(connection: Connection) -> None:
    await write_claims(connection, [unverifiable(0, 20), unverifiable(0, 20, "b")])
    await write_gaps(connection, [ledger_gap(3, 8)])
    assert await missing(connection) == [("open", "disconnect", 3, 8)]
    await write_claims(connection, [claim(5, 20, "b")])
    assert await missing(connection) == [("open", "disconnect", 3, 5)]
    await connection.execute("UPDATE coverage SET state = 'healed' WHERE state = 'open'")
    assert await missing(connection) == []


async def test_an_unverifiable_quote_is_not_missing(connection: Connection) -> None:
    await write_claims(connection, [unverifiable(0, 20, channel="quotes"), unverifiable(25, 30, channel="quotes")])
    assert await missing(connection) == [("open", "unwatched", 20, 25)]
    listed = await gaps(connection, all_states=False)
    assert [(gap.state, gap.seconds) for gap in listed if gap.state == "unverifiable"] == [
        ("unverifiable", 1200),
        ("unverifiable", 300),
    ]
    assert [gap.state for gap in listed][-2:] == ["unverifiable"] * 2


async def test_rows_of_the_ledger_expire_with_the_retention(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 10), claim(20, 30), claim(0, 10, channel="book"), claim(0, 10, channel="candles")])
    await write_gaps(connection, [ledger_gap(10, 20), ledger_gap(40, None)])
    age = datetime.now(UTC) - to_datetime(DAY)
    retention = {"trades": age - timedelta(minutes=15), "candles": None, "quotes": None, "order_books": timedelta(days=30)}
    await delete_expired(connection, retention)
    rows = await connection.fetch("SELECT channel, since FROM coverage ORDER BY channel, since")
    left = [(row["channel"], (to_micros(row["since"]) - DAY) / MINUTE) for row in rows]
    assert left == [("book", 0), ("candles", 0), ("trades", 10), ("trades", 20), ("trades", 40)]


async def test_the_gap_report(connection: Connection) -> None:
    await write_claims(connection, [claim(0, 10), claim(12, 20), claim(0, 20, channel="candles")])
    found = {(gap.channel, gap.state, gap.reason, gap.since, gap.until) for gap in await gaps(connection, all_states=False)}
    until = to_datetime(DAY + 20 * MINUTE)
    assert found == {
        ("trades", "open", "unwatched", to_datetime(DAY + 10 * MINUTE), to_datetime(DAY + 12 * MINUTE)),
        ("trades", "unwatched", "no daemon claims it", until, None),
        ("candles", "unwatched", "no daemon claims it", until, None),
    }
