"""The claims of a feed from the watermarks of queues, the last messages and the last signs of life."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ingest.protocol.session import ChannelName, Connection, Subscription
from ingest.records import MINUTE, SECOND, Instrument
from ingest.sources.coverage_claims import BLOCKED, LATE, MARGIN, ROUNDS, CoverageClaims, Watch

BTC = Instrument(
    id=7, exchange="demo", symbol="BTCUSDT", instrument="BTC/USDT", base="BTC", quote="USDT", kind="spot", status="trading"
)
NOW = 1_790_000_040 * SECOND  # a whole minute
START = NOW - 10 * MINUTE


class Bench:
    """The claims of a feed with one connection and one subscription, which was opened at START."""

    def __init__(self, channel: ChannelName = "trades") -> None:
        self.channel: ChannelName = channel
        self.claims = CoverageClaims("demo", "one")
        self.session: Any = SimpleNamespace(last_message_at=[START])
        self.websocket: Any = SimpleNamespace(last_alive_at=NOW)
        self.task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection = Connection("wss://demo", (Subscription(BTC, channel),))
        self.claims.watch(Watch(connection, self.session, self.websocket, self.task))

    def take(self, watermark: int = NOW, now: int = NOW) -> list[tuple[int, int]]:
        return [(claim.since, claim.until) for claim in self.claims.take(now, cast(Any, {self.channel: watermark}), "trade")]


async def test_a_claim_ends_at_the_watermark_of_its_queue() -> None:
    assert Bench().take(watermark=NOW - MINUTE) == [(START, NOW - MINUTE - MARGIN)]


async def test_a_claim_ends_at_the_last_sign_of_life_if_the_queue_is_empty() -> None:
    bench = Bench()
    bench.websocket.last_alive_at = NOW - 5 * SECOND
    assert bench.take() == [(START, NOW - 5 * SECOND - MARGIN)]


async def test_nothing_is_claimed_while_rows_wait_on_disk() -> None:
    assert Bench().take(watermark=0) == []


async def test_nothing_is_claimed_before_the_first_message() -> None:
    bench = Bench()
    bench.session.last_message_at = [0]
    assert bench.take() == []


async def test_a_claim_of_candles_is_whole_minutes_that_were_sent() -> None:
    bench = Bench("candles")
    bench.session.last_message_at = [START + SECOND]
    assert bench.take() == []
    bench.session.last_message_at = [NOW - 5 * SECOND]
    assert bench.take() == [(START + MINUTE, NOW - 2 * MINUTE)]


@pytest.mark.parametrize("seconds", [4, 60])
async def test_late_rows_widen_the_margin_for_some_rounds(seconds: int) -> None:
    bench = Bench()
    bench.claims.late(seconds * SECOND)
    for _ in range(ROUNDS):
        assert bench.take() == [(START, NOW - int(LATE * seconds * SECOND))]
    assert bench.take() == [(START, NOW - MARGIN)]


async def test_nothing_is_claimed_until_a_blocked_reader_has_caught_up() -> None:
    bench = Bench()
    bench.claims.blocked(NOW - BLOCKED + SECOND)
    assert bench.take() == []
    assert bench.take(now=NOW + SECOND) == [(START, NOW - MARGIN)]


async def test_a_connection_that_ended_is_claimed_until_its_rows_have_an_outcome() -> None:
    bench = Bench()
    bench.task.set_result(None)
    assert bench.take(watermark=NOW - MINUTE) == [(START, NOW - MINUTE - MARGIN)]
    assert bench.take(watermark=NOW + SECOND) == [(START, NOW - MARGIN)]
    assert bench.take(watermark=NOW + SECOND) == []
