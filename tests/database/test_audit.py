"""The audit of covered rows: its findings, the rows that it does not compare, and that it reports a difference once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from ingest.protocol.exchange import CompletenessRules
from ingest.store import bar_views
from ingest.store.audit import audit
from tests.support.audited import (
    KEPT,
    NOW,
    START,
    at,
    claim,
    close_gaps,
    gaps,
    put_candle,
    put_trades,
    run_audit,
    verdicts,
)

IDS = CompletenessRules(dense=("trade",))
BUCKETS = CompletenessRules(empty_candles=True)
COUNTS = CompletenessRules(counted=("trade",))
BARS = CompletenessRules(charted=("trade",))


@pytest.fixture
async def connection(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


def ids_gap(since: float, until: float, first: int, last: int, state: str = "open") -> tuple[Any, ...]:
    return ("trades", None, "trade", "audit", state, "ids", at(since), at(until), first, last, last - first + 1, 0)


def minute_gap(reason: str, minute: int, *values: int | None, state: str = "open") -> tuple[Any, ...]:
    """`values`: first and last id, expected and stored."""
    return ("trades", None, "trade", "audit", state, reason, at(minute), at(minute + 1), *values)


# --- ids ------------------------------------------------------------------------------------------------------------------


async def test_missing_ids_are_a_gap_between_their_neighbours(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (0.5, 1), (1.25, 2), (3.5, 6), (3.75, 7), (9.5, 9))

    recorded = await run_audit(connection, IDS)

    assert await gaps(connection) == [ids_gap(1.25, 3.5, 3, 5), ids_gap(3.75, 9.5, 8, 8)]
    assert [(one.finding.reason, one.finding.detail, one.unresolved) for one in recorded] == [
        ("ids", "ids 3 to 5 are not stored", False),
        ("ids", "ids 8 to 8 are not stored", False),
    ]
    assert await run_audit(connection, IDS) == []


async def test_a_gap_in_the_exchanges_own_ids_is_reported_once(connection: Any) -> None:
    """The history, requested by ids, has no such trade."""
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (0.5, 1), (1.25, 3))
    await run_audit(connection, IDS)
    await close_gaps(connection, verdict="the exchange has nothing there")

    assert await run_audit(connection, IDS) == []
    assert await gaps(connection) == [ids_gap(0.5, 1.25, 2, 2, "healed")]


async def test_ids_of_a_gap_of_the_session_are_not_reported_again(connection: Any) -> None:
    """Of three missing ids the session has reported two, and gap filling has closed that gap."""
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (0.5, 1), (1.25, 5))
    await claim(connection, "trades", 0.5, 1.25, state="healed", reason="sequence", first_id=2, last_id=3)

    await run_audit(connection, IDS)

    assert (await gaps(connection))[1:] == [ids_gap(0.5, 1.25, 4, 4)]


async def test_ids_in_another_order_than_their_times_are_not_missing(connection: Any) -> None:
    """Coinbase sent the trades 662 and 663 of 2025-12-31 so; here they are on both sides of an hour, where two windows meet."""
    second = 1 / 60
    await claim(connection, "trades", 0, 119)
    await put_trades(connection, (59, 1), (60 - second, 3), (60 + second, 2), (61, 4))
    assert await run_audit(connection, IDS) == []


async def test_ids_within_one_moment(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (1, 3), (1, 1), (1, 4), (2, 5))
    await run_audit(connection, IDS)
    assert await gaps(connection) == [ids_gap(1, 1, 2, 2)]
    assert await run_audit(connection, IDS) == []


async def test_hashed_ids_and_a_restarted_count_are_no_gap(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (1, -9_000), (1.5, 5_000), (2, 5_001), (3, -4), (4, 1), (5, 2))
    assert await run_audit(connection, IDS) == []


async def test_the_neighbour_may_be_in_a_window_that_was_judged_before(connection: Any) -> None:
    await claim(connection, "trades", 0, 4)
    await put_trades(connection, (0.5, 1), (5.5, 3))
    assert await run_audit(connection, IDS) == []
    await connection.execute("UPDATE coverage SET until = $1", at(10))
    await run_audit(connection, IDS)
    assert await gaps(connection) == [ids_gap(0.5, 5.5, 2, 2)]


async def test_a_time_without_a_claim_is_not_audited(connection: Any) -> None:
    """It is not covered, and `gap_backlog.detect` makes a gap of it. Once that is healed, the time and its edges are audited."""
    await claim(connection, "trades", 0, 3)
    await claim(connection, "trades", 5, 10)
    await put_trades(connection, (2, 1), (6, 9))
    assert await run_audit(connection, IDS) == []

    await claim(connection, "trades", 3, 5, state="healed", reason="unwatched", writer="")
    await put_trades(connection, (3.5, 2), (4.5, 8))
    await run_audit(connection, IDS)
    assert (await gaps(connection))[1:] == [ids_gap(3.5, 4.5, 3, 7)]


async def test_an_open_gap_is_not_audited_until_it_is_closed(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "trades", 2.5, 4.5, state="open", reason="shed")
    await put_trades(connection, (2.25, 1), (4.75, 3))
    assert await run_audit(connection, IDS) == []
    await close_gaps(connection)
    assert [one.finding.detail for one in await run_audit(connection, IDS)] == ["ids 2 to 2 are not stored"]


async def test_other_trade_kinds_sources_and_young_minutes_are_left_alone(connection: Any) -> None:
    await claim(connection, "trades", 0, 10, trade_kind="aggTrade")
    await claim(connection, "trades", 0, 10, instrument_id=2, source="gone")
    await claim(connection, "trades", 0, 10, instrument_id=3)
    await put_trades(connection, (1, 1), (2, 3))
    await put_trades(connection, (1, 1), (2, 3), instrument_id=2)
    await put_trades(connection, (7.9, 1), (8.1, 3), instrument_id=3)
    assert await run_audit(connection, IDS, now=at(9) + timedelta(seconds=29)) == []
    assert [one.finding.target.instrument_id for one in await run_audit(connection, IDS, now=at(10.5))] == [3]


async def test_what_is_older_than_retention_is_not_judged(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (1, 1), (2, 3))
    assert await run_audit(connection, IDS, now=START + timedelta(days=90, minutes=2)) == []


# --- candles --------------------------------------------------------------------------------------------------------------


async def test_consecutive_minutes_without_a_candle_are_one_gap(connection: Any) -> None:
    await claim(connection, "candles", 0.5, 8.5)
    for minute in (1, 4, 5):
        await put_candle(connection, minute, ())

    await run_audit(connection, BUCKETS)

    gap = ("candles", "1m", None, "audit", "open", "bucket")
    assert await gaps(connection) == [(*gap, at(2), at(4), None, None, 2, 0), (*gap, at(6), at(8), None, None, 2, 0)]
    await close_gaps(connection, verdict="the exchange has nothing there")
    assert await run_audit(connection, BUCKETS) == []


async def test_a_minute_that_gap_filling_did_not_fill_is_one_gap(connection: Any) -> None:
    await claim(connection, "candles", 0, 2)
    await claim(connection, "candles", 2, 5, state="healed", reason="disconnect")
    await claim(connection, "candles", 5, 8)
    for minute in (0, 1, 2, 4, 5, 6, 7):
        await put_candle(connection, minute, ())
    assert [(one.finding.since, one.finding.until) for one in await run_audit(connection, BUCKETS)] == [(at(3), at(4))]
    await close_gaps(connection)
    assert await run_audit(connection, BUCKETS) == []


async def test_a_month_before_the_listing_is_one_gap(connection: Any) -> None:
    await claim(connection, "candles", -20 * 1440, 0, state="healed", reason="history")
    await claim(connection, "candles", 0, 2)
    for minute in range(2):
        await put_candle(connection, minute, ())
    gap = ("candles", "1m", None, "audit", "open", "bucket", at(-20 * 1440), at(0), None, None, 20 * 1440, 0)
    await run_audit(connection, BUCKETS)
    assert (await gaps(connection))[1:] == [gap]
    await close_gaps(connection, verdict="the exchange has nothing there")
    assert await run_audit(connection, BUCKETS) == []


async def test_an_exchange_that_sends_no_empty_minutes_has_no_missing_ones(connection: Any) -> None:
    await claim(connection, "candles", 0, 8)
    await put_candle(connection, 1, ())
    assert await run_audit(connection, CompletenessRules(dense=("trade",), counted=("trade",), charted=("trade",))) == []


# --- counts and bars ------------------------------------------------------------------------------------------------------


async def test_a_candle_counts_its_trades(connection: Any) -> None:
    """Minute 1 lacks one trade, 2 has one too many, 3 has none, 4 has another last one; 5 has no ids, 6 no count, 7 is empty."""
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await put_trades(connection, (0.5, 1), (1.5, 3), (2.1, 4), (2.2, 5), (4.5, 8), (5.5, 9), (6.5, 10))
    wanted: list[tuple[int, Any]] = [(0, [1]), (1, [2, 3]), (2, [4]), (3, [6, 7]), (4, [9]), (7, [])]
    for minute, ids in wanted:
        await put_candle(connection, minute, ids)
    await put_candle(connection, 5, [9], first_trade_id=None, last_trade_id=None)
    await put_candle(connection, 6, [1, 2], trades_count=None)

    recorded = await run_audit(connection, COUNTS)

    assert await gaps(connection) == [
        minute_gap("count", 1, 2, 3, 2, 1),
        minute_gap("count", 2, 4, 4, 1, 2),
        minute_gap("count", 3, 6, 7, 2, 0),
        minute_gap("count", 4, 9, 9, 1, 1),
    ]
    assert [one.finding.detail for one in recorded] == [
        "the candle counts 2 trades, ids 2 to 3; stored are 1, ids 3 to 3",
        "the candle counts 1 trades, ids 4 to 4; stored are 2, ids 4 to 5",
        "the candle counts 2 trades, ids 6 to 7; stored are 0, ids none to none",
        "the candle counts 1 trades, ids 9 to 9; stored are 1, ids 8 to 8",
    ]


async def test_bars_of_trades_are_the_exchanges_candles(connection: Any) -> None:
    """Values are compared, not digits: minute 1 is right, 2 to 6 are each wrong in one value, and 7 has no trades."""
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    for minute in range(1, 7):
        await put_trades(connection, (minute + 0.1, 3 * minute), (minute + 0.2, 3 * minute + 1), (minute + 0.3, 3 * minute + 2))
    wrong = [{}, {"open": 1}, {"high": 999}, {"low": 1}, {"close": 1}, {"volume": 4}]
    for minute, changes in enumerate(wrong, 1):
        await put_candle(connection, minute, range(3 * minute, 3 * minute + 3), **changes)
    await put_candle(connection, 7, [99])
    await put_candle(connection, 8, [])

    recorded = await run_audit(connection, BARS)

    assert [gap[6] for gap in await gaps(connection)] == [at(minute) for minute in (2, 3, 4, 5, 6, 7)]
    assert (await gaps(connection))[0] == minute_gap("bars", 2, 6, 8, 3, 3)
    assert [one.finding.detail for one in recorded][::5] == [
        "the candle is open 1 high 108 low 106 close 108 volume 3, its trades make open 106 high 108 low 106 close 108 volume 3",
        "the candle is open 199 high 199 low 199 close 199 volume 1, its trades make open  high  low  close  volume 0",
    ]


async def test_bars_that_are_behind_their_trades_are_no_gaps(connection: Any) -> None:
    """On Community a late trade is not in the continuous aggregate before its next refresh."""
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await put_trades(connection, (1.1, 1))
    await bar_views.refresh(connection, "trades", at(-60), at(60))
    await put_trades(connection, (1.2, 2))
    await put_candle(connection, 1, [1, 2])
    assert await run_audit(connection, BARS) == []


async def test_a_difference_that_healing_removed_is_forgotten(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await put_trades(connection, (1.1, 1))
    await put_candle(connection, 1, [1, 2])
    assert len(await run_audit(connection, BARS)) == 1
    await put_trades(connection, (1.2, 2))
    await close_gaps(connection, stored=1)
    assert await run_audit(connection, BARS) == []
    assert await gaps(connection) == [minute_gap("bars", 1, 1, 2, 2, 1, state="healed")]


@pytest.mark.parametrize("completeness", [COUNTS, BARS], ids=["count", "bars"])
async def test_a_difference_that_gap_filling_does_not_remove_is_unrecoverable(
    connection: Any, completeness: CompletenessRules
) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await put_trades(connection, (1.1, 1))
    await put_candle(connection, 1, [1, 2])
    (first,) = await run_audit(connection, completeness)
    assert await run_audit(connection, completeness) == []  # the gap is open and waits for gap filling
    await close_gaps(connection)

    (second,) = await run_audit(connection, completeness)

    assert (first.unresolved, second.unresolved) == (False, True)
    assert await verdicts(connection) == [("unrecoverable", f"healed, and still {first.finding.detail}")]
    assert await run_audit(connection, completeness) == []


async def test_of_a_healed_range_only_the_minute_that_differs_is_unrecoverable(connection: Any) -> None:
    """Gap filling may have closed neighbouring gaps as one range."""
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await claim(connection, "trades", 1, 3, state="healed", reason="bars", writer="audit")
    await put_trades(connection, (1.1, 1), (2.1, 2))
    await put_candle(connection, 1, [1])
    await put_candle(connection, 2, [2, 3])
    await run_audit(connection, BARS)
    assert (await gaps(connection))[1:] == [minute_gap("bars", 2, 2, 3, 2, 1, state="unrecoverable")]
    assert await run_audit(connection, BARS) == []


async def test_one_lost_trade_is_one_gap(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    for minute in range(10):
        await put_trades(connection, *((minute + part / 10, 10 * minute + part) for part in range(10)))
        await put_candle(connection, minute, range(10 * minute, 10 * minute + 10))
    await connection.execute("DELETE FROM trades WHERE trade_id = 55")
    await run_audit(connection)
    assert await gaps(connection) == [ids_gap(5.4, 5.6, 55, 55)]
    await put_trades(connection, (5.5, 55))
    await close_gaps(connection, stored=1)
    assert await run_audit(connection) == []


async def test_every_comparison_of_a_healthy_stream_is_silent_and_complete(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    for minute in range(10):
        await put_trades(connection, (minute + 0.5, minute))
        await put_candle(connection, minute, [minute])
    assert await run_audit(connection) == []
    judged = await connection.fetch("SELECT reason, judged::text FROM audits ORDER BY reason")
    whole = f'{{["{START:%Y-%m-%d %H:%M:%S}+00","{at(10):%Y-%m-%d %H:%M:%S}+00")}}'
    assert [tuple(row) for row in judged] == [(reason, whole) for reason in ("bars", "bucket", "count", "ids")]


async def test_a_round_ends_in_time_and_the_next_goes_on(connection: Any) -> None:
    """The gap is twenty hours back, and a round with 0 seconds makes one pass of four."""
    kept: dict[str, timedelta | None] = {"trades": None, "candles": None}
    await claim(connection, "trades", -60 * 48, 100)
    await put_trades(connection, (-60 * 20, 1), (-60 * 20 + 0.5, 3))
    rounds = [await audit(connection, {"demo": IDS}, kept, seconds=0, now=NOW) for _ in range(6)]
    assert [([one.finding.detail for one in done.recorded], done.more_due) for done in rounds] == [
        *[([], True)] * 5,
        (["ids 2 to 2 are not stored"], True),
    ]
    rest = await audit(connection, {"demo": IDS}, kept, seconds=60, now=NOW)
    assert (rest.recorded, rest.more_due) == ([], False)


async def test_it_looks_no_further_back_than_the_lookback(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (1, 1), (2, 3))
    near = await audit(connection, {"demo": IDS}, KEPT, seconds=60, lookback=timedelta(minutes=115), now=NOW)
    far = await audit(connection, {"demo": IDS}, KEPT, seconds=60, lookback=timedelta(hours=3), now=NOW)
    assert [len(near.recorded), len(far.recorded)] == [0, 1]
