from __future__ import annotations

from ingest.exchanges.binance import exchange as binance
from ingest.protocol.session import Subscription
from ingest.records import SECOND, Instrument
from ingest.transports.connection_health import ConnectionHealth
from ingest.transports.staleness import Staleness, Verdict, Watch

BTC = Instrument("binance", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=1)


def watch() -> Watch:
    return Staleness(first=5 * SECOND).watch((Subscription(BTC, "trades"),), now=0)


def test_silence_is_measured_from_the_last_sign_of_life() -> None:
    health = ConnectionHealth(binance.LIMITS, watch(), now=100.0, chance=0.0)
    limit = binance.LIMITS.silence_seconds
    assert not health.silent(0, 100.0 + limit)
    assert not health.silent(1, 100.0 + limit + 0.25)  # a ping just in time
    assert not health.silent(1, 100.0 + 2 * limit + 0.25)
    assert health.silent(1, 100.0 + 2 * limit + 0.5)


def test_a_time_in_which_nothing_was_read_does_not_count_as_silence() -> None:
    health = ConnectionHealth(binance.LIMITS, watch(), now=100.0, chance=0.0)
    limit = binance.LIMITS.silence_seconds
    health.unread(100.0 + limit)
    assert not health.silent(0, 100.0 + limit + 1.0)
    assert health.check([0], 100.0 + limit + 0.5, wall=int(limit) * SECOND) is None
    assert health.check([0], 100.0 + limit + 1.0, wall=int(limit) * SECOND) == Verdict(1, (0,))


def test_connections_that_opened_together_retire_at_different_times() -> None:
    max_age = binance.LIMITS.life_seconds
    assert max_age is not None
    for chance, age in ((0.0, max_age), (0.5, max_age * 0.95)):
        health = ConnectionHealth(binance.LIMITS, watch(), now=0.0, chance=chance)
        assert not health.old(age - 1.0)
        assert health.old(age)


def test_subscriptions_are_checked_once_a_second() -> None:
    health = ConnectionHealth(binance.LIMITS, watch(), now=0.0, chance=0.0)
    times = [number / 4 for number in range(9)]
    assert [now for now in times if health.check([0], now, wall=0) is not None] == [0.0, 1.0, 2.0]
