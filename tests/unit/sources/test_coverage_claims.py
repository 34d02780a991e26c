"""The claims of a feed from the watermarks of queues, the last messages and the last signs of life."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ingest.protocol.exchange import CompletenessRules
from ingest.protocol.session import ChannelName, Connection, Subscription
from ingest.records import MINUTE, SECOND, Instrument
from ingest.sources.coverage_claims import BLOCKED, LATE, MARGIN, QUIET, ROUNDS, CoverageClaims, Watch

BTC = Instrument(
    id=7, exchange="demo", symbol="BTCUSDT", instrument="BTC/USDT", base="BTC", quote="USDT", kind="spot", status="trading"
)
NOW = 1_790_000_040 * SECOND  # a whole minute
START = NOW - 10 * MINUTE
RULES = CompletenessRules(evidence={"trade": "ids", "candles": "sequence", "book": "checksum"})
Range = tuple[int, int]


class Bench:
    """The claims of a feed with one connection and one subscription, whose first message came at START; it is never silent."""

    def __init__(self, channel: ChannelName = "trades", *, spoke: bool = True, rules: CompletenessRules = RULES) -> None:
        self.channel: ChannelName = channel
        self.claims = CoverageClaims("demo", "one", rules)
        self.session: Any = SimpleNamespace(last_message_at=[START if spoke else 0], refused={})
        self.websocket: Any = SimpleNamespace(last_alive_at=START, retiring=asyncio.Event())
        self.task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection = Connection("wss://demo", (Subscription(BTC, channel),))
        self.claims.watch(Watch(connection, self.session, self.websocket, self.task, START))
        self.take_both(START, START)  # the first message is noticed
        self.websocket.last_alive_at = NOW
        if spoke:
            self.session.last_message_at = [NOW]

    def take_both(self, watermark: int = NOW, now: int = NOW) -> dict[str, Range]:
        """The new or longer claims by state."""
        claims = self.claims.take(now, cast(Any, {self.channel: watermark}), "trade")
        by_state = {claim.state: (claim.since, claim.until) for claim in claims}
        assert len(by_state) == len(claims)
        return cast(dict[str, Range], by_state)

    def take(self, watermark: int = NOW, now: int = NOW) -> list[Range]:
        """As `take_both`, of a subscription that is not silent."""
        both = self.take_both(watermark, now)
        assert both.keys() <= {"covered"}
        return list(both.values())


async def test_a_claim_ends_at_the_watermark_of_its_queue() -> None:
    assert Bench().take(watermark=NOW - MINUTE) == [(START, NOW - MINUTE - MARGIN)]


async def test_a_claim_ends_at_the_last_sign_of_life_if_the_queue_is_empty() -> None:
    bench = Bench()
    bench.websocket.last_alive_at = NOW - 5 * SECOND
    assert bench.take() == [(START, NOW - 5 * SECOND - MARGIN)]


async def test_nothing_is_claimed_while_rows_wait_on_disk() -> None:
    assert Bench().take(watermark=0) == []


async def test_a_claim_of_candles_is_whole_minutes_that_were_sent() -> None:
    bench = Bench("candles")
    bench.websocket.last_alive_at = START + SECOND
    assert bench.take() == []
    bench.websocket.last_alive_at = NOW - 5 * SECOND
    assert bench.take() == [(START, NOW - 2 * MINUTE)]


@pytest.mark.parametrize("seconds", [4, 60])
async def test_late_rows_widen_the_margin_for_some_rounds(seconds: int) -> None:
    bench = Bench()
    bench.claims.late(seconds * SECOND)
    assert bench.take() == [(START, NOW - int(LATE * seconds * SECOND))]
    for _ in range(ROUNDS - 1):
        assert bench.take() == []
    assert bench.take() == [(START, NOW - MARGIN)]


async def test_nothing_is_claimed_until_a_blocked_reader_has_caught_up() -> None:
    bench = Bench()
    bench.claims.blocked(NOW - BLOCKED + SECOND)
    assert bench.take() == []
    assert bench.take(now=NOW + SECOND) == [(START, NOW - MARGIN)]


async def test_a_connection_that_ended_is_claimed_until_its_rows_have_an_outcome() -> None:
    bench = Bench()
    bench.task.set_result(None)
    assert bench.take_both(watermark=NOW - MINUTE)["covered"] == (START, NOW - MINUTE - MARGIN)
    assert bench.take_both(watermark=NOW + SECOND)["covered"] == (START, NOW - MARGIN)
    bench.websocket.last_alive_at = NOW + MINUTE
    assert bench.take_both(watermark=NOW + 2 * MINUTE) == {}


# --- silence ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["trades", "candles", "book"])
async def test_a_silence_is_unverifiable_until_the_next_message_closes_it(channel: ChannelName) -> None:
    bench = Bench(channel)
    bench.session.last_message_at = [NOW - 5 * MINUTE]
    lag = 2 * MINUTE if channel == "candles" else MARGIN  # the end of the last closed candle
    silent = {"covered": (START, NOW - 5 * MINUTE - lag), "unverifiable": (START, NOW - lag)}
    assert bench.take_both() == silent
    bench.websocket.last_alive_at = NOW + MINUTE
    assert bench.take_both(NOW + MINUTE, NOW + MINUTE) == {"unverifiable": (START, NOW + MINUTE - lag)}
    assert bench.claims.unverified == {channel: 1}
    bench.session.last_message_at = [NOW + MINUTE]
    assert bench.take_both(NOW + MINUTE, NOW + MINUTE) == {"covered": (START, NOW + MINUTE - lag)}
    assert not bench.claims.unverified


async def test_a_second_costs_one_claim_of_a_subscription() -> None:
    """A message every 3 s, then every 20 s: no second extends both claims."""
    bench, states = Bench(), []
    for second in range(300):
        now = NOW + second * SECOND
        if second % (3 if second < 100 else 20) == 0:
            bench.session.last_message_at = [now]
        bench.websocket.last_alive_at = now
        both = bench.take_both(now, now)
        assert len(both) <= 1
        states += both
    assert states.count("covered") == 34 + 10
    assert 100 < states.count("unverifiable") < 160


async def test_a_short_silence_is_not_claimed_before_the_connection_ends() -> None:
    bench = Bench()
    bench.session.last_message_at = [NOW - QUIET]
    assert bench.take_both() == {"covered": (START, NOW - QUIET - MARGIN)}
    bench.task.set_result(None)
    assert bench.take_both(NOW + SECOND) == {"unverifiable": (START, NOW - MARGIN)}


async def test_a_channel_without_evidence_is_never_covered() -> None:
    for rules, channel in (
        (RULES, "quotes"),
        (CompletenessRules(), "trades"),
        (CompletenessRules(evidence={"other": "ids"}), "trades"),
    ):
        bench = Bench(cast(ChannelName, channel), rules=rules)
        assert bench.take_both() == {"unverifiable": (START, NOW - MARGIN)}


@pytest.mark.parametrize("channel", ["trades", "candles"])
async def test_acknowledged_and_silent_is_unverifiable_from_the_connection_on(channel: ChannelName) -> None:
    bench = Bench(channel, spoke=False)
    bench.websocket.last_alive_at = START + QUIET
    assert bench.take_both(NOW, START + QUIET) == {}
    bench.websocket.last_alive_at = NOW
    lag = 2 * MINUTE if channel == "candles" else MARGIN
    assert bench.take_both() == {"unverifiable": (START, NOW - lag)}


async def test_a_late_first_message_is_covered_from_there_and_leaves_no_hole() -> None:
    bench = Bench(spoke=False)
    assert bench.take_both() == {"unverifiable": (START, NOW - MARGIN)}
    covered: list[Range] = []
    unverifiable = (0, 0)
    for second in range(1, 10):
        now = NOW + second * SECOND
        bench.session.last_message_at, bench.websocket.last_alive_at = [now], now
        both = bench.take_both(now, now)
        unverifiable = both.get("unverifiable", unverifiable)
        covered += [both["covered"]] if "covered" in both else []
    assert covered[0] == (NOW + SECOND, NOW + 4 * SECOND - MARGIN)
    assert unverifiable == (START, NOW + SECOND)


@pytest.mark.parametrize("channel", ["book", "quotes"])
async def test_a_channel_without_history_is_not_claimed_before_the_first_message(channel: ChannelName) -> None:
    assert Bench(channel, spoke=False).take_both() == {}


async def test_a_refused_subscription_is_not_claimed_until_it_is_accepted() -> None:
    bench = Bench(spoke=False)
    bench.session.refused = {0: "no such symbol"}
    assert bench.take_both() == {}
    bench.session.refused = {}
    bench.websocket.last_alive_at = NOW + MINUTE
    assert bench.take_both(NOW + MINUTE, NOW + MINUTE) == {"unverifiable": (NOW, NOW + MINUTE - MARGIN)}


async def test_a_connection_whose_subscription_misses_events_is_replaced() -> None:
    bench = Bench()
    bench.session.last_message_at = [NOW - MINUTE]
    assert not bench.claims.retire_silent(7, "trades", NOW - MINUTE + MARGIN)
    assert not bench.claims.retire_silent(7, "book", NOW)
    assert not bench.claims.retire_silent(8, "trades", NOW)
    assert not bench.websocket.retiring.is_set()
    assert bench.claims.retire_silent(7, "trades", NOW)
    assert bench.websocket.retiring.is_set()
    assert not bench.claims.retire_silent(7, "trades", NOW)  # it is being replaced


async def test_claims_continue_after_the_clock_was_ahead_for_an_hour() -> None:
    bench = Bench()
    ahead = NOW + 60 * MINUTE
    bench.session.last_message_at, bench.websocket.last_alive_at = [ahead], ahead
    assert bench.take(ahead, ahead) == [(START, ahead - MARGIN)]  # the store bounds it by the clock of the database
    bench.websocket.last_alive_at = NOW + MINUTE
    later = NOW + MINUTE
    assert bench.take_both(later, later) == {"unverifiable": (START, later - MARGIN)}  # the last message has no time any more
    bench.session.last_message_at = [later]
    assert bench.take(later, later) == [(START, later - MARGIN)]
