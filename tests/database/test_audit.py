"""The audit: what it finds in rows that are called covered, what it leaves alone, and that it says each thing once."""

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
    heal,
    holes,
    look,
    put_candle,
    put_trades,
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


def ids_hole(since: float, until: float, first: int, last: int, state: str = "open") -> tuple[Any, ...]:
    return ("trades", None, "trade", "audit", state, "ids", at(since), at(until), first, last, last - first + 1, 0)


def minute_hole(reason: str, minute: int, *values: int | None, state: str = "open") -> tuple[Any, ...]:
    """`values`: first and last id, expected and stored."""
    return ("trades", None, "trade", "audit", state, reason, at(minute), at(minute + 1), *values)


# --- ids ------------------------------------------------------------------------------------------------------------------


async def test_missing_ids_are_a_hole_between_their_neighbours(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (0.5, 1), (1.25, 2), (3.5, 6), (3.75, 7), (9.5, 9))

    recorded = await look(connection, IDS)

    assert await holes(connection) == [ids_hole(1.25, 3.5, 3, 5), ids_hole(3.75, 9.5, 8, 8)]
    assert [(one.finding.reason, one.finding.detail, one.unresolved) for one in recorded] == [
        ("ids", "ids 3 to 5 are not stored", False),
        ("ids", "ids 8 to 8 are not stored", False),
    ]
    assert await look(connection, IDS) == []


async def test_a_lawful_hole_is_said_once(connection: Any) -> None:
    """The exchange, asked by ids, has nothing there."""
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (0.5, 1), (1.25, 3))
    await look(connection, IDS)
    await heal(connection, verdict="the exchange has nothing there")

    assert await look(connection, IDS) == []
    assert await holes(connection) == [ids_hole(0.5, 1.25, 2, 2, "healed")]


async def test_what_a_session_noted_is_not_said_again(connection: Any) -> None:
    """Of three missing ids the session noted two, and the healer closed that hole."""
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (0.5, 1), (1.25, 5))
    await claim(connection, "trades", 0.5, 1.25, state="healed", reason="sequence", first_id=2, last_id=3)

    await look(connection, IDS)

    assert (await holes(connection))[1:] == [ids_hole(0.5, 1.25, 4, 4)]


async def test_ids_in_another_order_than_their_times_are_none(connection: Any) -> None:
    """Coinbase's 662 and 663 of 2025-12-31 came so; here over the edge of an hour, where windows meet."""
    second = 1 / 60
    await claim(connection, "trades", 0, 119)
    await put_trades(connection, (59, 1), (60 - second, 3), (60 + second, 2), (61, 4))
    assert await look(connection, IDS) == []


async def test_ids_within_one_moment(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (1, 3), (1, 1), (1, 4), (2, 5))
    await look(connection, IDS)
    assert await holes(connection) == [ids_hole(1, 1, 2, 2)]
    assert await look(connection, IDS) == []


async def test_hashed_ids_and_a_new_count_are_lawful(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (1, -9_000), (1.5, 5_000), (2, 5_001), (3, -4), (4, 1), (5, 2))
    assert await look(connection, IDS) == []


async def test_the_neighbour_may_be_in_a_window_that_was_judged_before(connection: Any) -> None:
    await claim(connection, "trades", 0, 4)
    await put_trades(connection, (0.5, 1), (5.5, 3))
    assert await look(connection, IDS) == []
    await connection.execute("UPDATE coverage SET until = $1", at(10))
    await look(connection, IDS)
    assert await holes(connection) == [ids_hole(0.5, 5.5, 2, 2)]


async def test_what_lies_between_claims_is_not_the_audits(connection: Any) -> None:
    """Nobody called it covered: the healer's own detection sees to it. Once it is healed, it is judged with its edges."""
    await claim(connection, "trades", 0, 3)
    await claim(connection, "trades", 5, 10)
    await put_trades(connection, (2, 1), (6, 9))
    assert await look(connection, IDS) == []

    await claim(connection, "trades", 3, 5, state="healed", reason="unwatched", writer="")
    await put_trades(connection, (3.5, 2), (4.5, 8))
    await look(connection, IDS)
    assert (await holes(connection))[1:] == [ids_hole(3.5, 4.5, 3, 7)]


async def test_an_open_hole_is_waited_for(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "trades", 2.5, 4.5, state="open", reason="shed")
    await put_trades(connection, (2.25, 1), (4.75, 3))
    assert await look(connection, IDS) == []
    await heal(connection)
    assert [one.finding.detail for one in await look(connection, IDS)] == ["ids 2 to 2 are not stored"]


async def test_other_trade_kinds_sources_and_young_minutes_are_left_alone(connection: Any) -> None:
    await claim(connection, "trades", 0, 10, trade_kind="aggTrade")
    await claim(connection, "trades", 0, 10, instrument_id=2, source="gone")
    await claim(connection, "trades", 0, 10, instrument_id=3)
    await put_trades(connection, (1, 1), (2, 3))
    await put_trades(connection, (1, 1), (2, 3), instrument_id=2)
    await put_trades(connection, (7.9, 1), (8.1, 3), instrument_id=3)
    assert await look(connection, IDS, now=at(9) + timedelta(seconds=29)) == []
    assert [one.finding.target.instrument_id for one in await look(connection, IDS, now=at(10.5))] == [3]


async def test_what_is_older_than_retention_is_not_judged(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (1, 1), (2, 3))
    assert await look(connection, IDS, now=START + timedelta(days=90, minutes=2)) == []


# --- candles --------------------------------------------------------------------------------------------------------------


async def test_minutes_without_a_candle_are_one_hole_each_run(connection: Any) -> None:
    await claim(connection, "candles", 0.5, 8.5)
    for minute in (1, 4, 5):
        await put_candle(connection, minute, ())

    await look(connection, BUCKETS)

    hole = ("candles", "1m", None, "audit", "open", "bucket")
    assert await holes(connection) == [(*hole, at(2), at(4), None, None, 2, 0), (*hole, at(6), at(8), None, None, 2, 0)]
    await heal(connection, verdict="the exchange has nothing there")
    assert await look(connection, BUCKETS) == []


async def test_a_minute_that_is_missing_after_another_healing_is_asked_for_by_itself(connection: Any) -> None:
    await claim(connection, "candles", 0, 2)
    await claim(connection, "candles", 2, 5, state="healed", reason="disconnect")
    await claim(connection, "candles", 5, 8)
    for minute in (0, 1, 2, 4, 5, 6, 7):
        await put_candle(connection, minute, ())
    assert [(one.finding.since, one.finding.until) for one in await look(connection, BUCKETS)] == [(at(3), at(4))]
    await heal(connection)
    assert await look(connection, BUCKETS) == []


async def test_a_month_before_the_listing_is_one_hole(connection: Any) -> None:
    await claim(connection, "candles", -20 * 1440, 0, state="healed", reason="history")
    await claim(connection, "candles", 0, 2)
    for minute in range(2):
        await put_candle(connection, minute, ())
    hole = ("candles", "1m", None, "audit", "open", "bucket", at(-20 * 1440), at(0), None, None, 20 * 1440, 0)
    await look(connection, BUCKETS)
    assert (await holes(connection))[1:] == [hole]
    await heal(connection, verdict="the exchange has nothing there")
    assert await look(connection, BUCKETS) == []


async def test_an_exchange_that_sends_no_empty_minutes_has_no_missing_ones(connection: Any) -> None:
    await claim(connection, "candles", 0, 8)
    await put_candle(connection, 1, ())
    assert await look(connection, CompletenessRules(dense=("trade",), counted=("trade",), charted=("trade",))) == []


# --- counts and bars ------------------------------------------------------------------------------------------------------


async def test_a_candle_counts_its_trades(connection: Any) -> None:
    """Minute 1 has one too few, 2 one too many, 3 none at all, 4 another last one; 5 says no ids, 6 no count, and 7 is empty."""
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await put_trades(connection, (0.5, 1), (1.5, 3), (2.1, 4), (2.2, 5), (4.5, 8), (5.5, 9), (6.5, 10))
    wanted: list[tuple[int, Any]] = [(0, [1]), (1, [2, 3]), (2, [4]), (3, [6, 7]), (4, [9]), (7, [])]
    for minute, ids in wanted:
        await put_candle(connection, minute, ids)
    await put_candle(connection, 5, [9], first_trade_id=None, last_trade_id=None)
    await put_candle(connection, 6, [1, 2], trades_count=None)

    recorded = await look(connection, COUNTS)

    assert await holes(connection) == [
        minute_hole("count", 1, 2, 3, 2, 1),
        minute_hole("count", 2, 4, 4, 1, 2),
        minute_hole("count", 3, 6, 7, 2, 0),
        minute_hole("count", 4, 9, 9, 1, 1),
    ]
    assert [one.finding.detail for one in recorded] == [
        "the candle counts 2 trades, ids 2 to 3; stored are 1, ids 3 to 3",
        "the candle counts 1 trades, ids 4 to 4; stored are 2, ids 4 to 5",
        "the candle counts 2 trades, ids 6 to 7; stored are 0, ids none to none",
        "the candle counts 1 trades, ids 9 to 9; stored are 1, ids 8 to 8",
    ]


async def test_bars_of_trades_are_the_exchanges_candles(connection: Any) -> None:
    """Digits do not matter, values do: minute 1 is right, 2 to 6 are each wrong in one of them, and 7 has no trades at all."""
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    for minute in range(1, 7):
        await put_trades(connection, (minute + 0.1, 3 * minute), (minute + 0.2, 3 * minute + 1), (minute + 0.3, 3 * minute + 2))
    wrong = [{}, {"open": 1}, {"high": 999}, {"low": 1}, {"close": 1}, {"volume": 4}]
    for minute, changes in enumerate(wrong, 1):
        await put_candle(connection, minute, range(3 * minute, 3 * minute + 3), **changes)
    await put_candle(connection, 7, [99])
    await put_candle(connection, 8, [])

    recorded = await look(connection, BARS)

    assert [hole[6] for hole in await holes(connection)] == [at(minute) for minute in (2, 3, 4, 5, 6, 7)]
    assert (await holes(connection))[0] == minute_hole("bars", 2, 6, 8, 3, 3)
    assert [one.finding.detail for one in recorded][::5] == [
        "the candle is open 1 high 108 low 106 close 108 volume 3, its trades make open 106 high 108 low 106 close 108 volume 3",
        "the candle is open 199 high 199 low 199 close 199 volume 1, its trades make open  high  low  close  volume 0",
    ]


async def test_bars_that_are_behind_their_trades_are_no_holes(connection: Any) -> None:
    """On Community a trade that comes late is not in the continuous aggregate before its next refresh."""
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await put_trades(connection, (1.1, 1))
    await bar_views.refresh(connection, "trades", at(-60), at(60))
    await put_trades(connection, (1.2, 2))
    await put_candle(connection, 1, [1, 2])
    assert await look(connection, BARS) == []


async def test_a_difference_that_healing_removed_is_forgotten(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await put_trades(connection, (1.1, 1))
    await put_candle(connection, 1, [1, 2])
    assert len(await look(connection, BARS)) == 1
    await put_trades(connection, (1.2, 2))
    await heal(connection, stored=1)
    assert await look(connection, BARS) == []
    assert await holes(connection) == [minute_hole("bars", 1, 1, 2, 2, 1, state="healed")]


@pytest.mark.parametrize("evidence", [COUNTS, BARS], ids=["count", "bars"])
async def test_a_difference_that_outlives_healing_is_settled(connection: Any, evidence: CompletenessRules) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await put_trades(connection, (1.1, 1))
    await put_candle(connection, 1, [1, 2])
    (first,) = await look(connection, evidence)
    assert await look(connection, evidence) == []  # it is open: the healer's turn
    await heal(connection)

    (second,) = await look(connection, evidence)

    assert (first.unresolved, second.unresolved) == (False, True)
    assert await verdicts(connection) == [("unrecoverable", f"healed, and still {first.finding.detail}")]
    assert await look(connection, evidence) == []


async def test_of_a_healed_stretch_only_the_minute_that_differs_is_settled(connection: Any) -> None:
    """A healer that closed neighbouring holes may have made one of them."""
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    await claim(connection, "trades", 1, 3, state="healed", reason="bars", writer="audit")
    await put_trades(connection, (1.1, 1), (2.1, 2))
    await put_candle(connection, 1, [1])
    await put_candle(connection, 2, [2, 3])
    await look(connection, BARS)
    assert (await holes(connection))[1:] == [minute_hole("bars", 2, 2, 3, 2, 1, state="unrecoverable")]
    assert await look(connection, BARS) == []


async def test_one_lost_trade_is_one_hole(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    for minute in range(10):
        await put_trades(connection, *((minute + part / 10, 10 * minute + part) for part in range(10)))
        await put_candle(connection, minute, range(10 * minute, 10 * minute + 10))
    await connection.execute("DELETE FROM trades WHERE trade_id = 55")
    await look(connection)
    assert await holes(connection) == [ids_hole(5.4, 5.6, 55, 55)]
    await put_trades(connection, (5.5, 55))
    await heal(connection, stored=1)
    assert await look(connection) == []


async def test_every_comparison_of_a_healthy_stream_is_silent_and_complete(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await claim(connection, "candles", 0, 10)
    for minute in range(10):
        await put_trades(connection, (minute + 0.5, minute))
        await put_candle(connection, minute, [minute])
    assert await look(connection) == []
    judged = await connection.fetch("SELECT reason, judged::text FROM audits ORDER BY reason")
    whole = f'{{["{START:%Y-%m-%d %H:%M:%S}+00","{at(10):%Y-%m-%d %H:%M:%S}+00")}}'
    assert [tuple(row) for row in judged] == [(reason, whole) for reason in ("bars", "bucket", "count", "ids")]


async def test_a_round_ends_in_time_and_the_next_goes_on(connection: Any) -> None:
    """The hole is twenty hours back, and a round that has no time makes one pass of four."""
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


async def test_it_looks_no_further_back_than_told(connection: Any) -> None:
    await claim(connection, "trades", 0, 10)
    await put_trades(connection, (1, 1), (2, 3))
    near = await audit(connection, {"demo": IDS}, KEPT, seconds=60, lookback=timedelta(minutes=115), now=NOW)
    far = await audit(connection, {"demo": IDS}, KEPT, seconds=60, lookback=timedelta(hours=3), now=NOW)
    assert [len(near.recorded), len(far.recorded)] == [0, 1]
