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
    vitals = ConnectionHealth(binance.LIMITS, watch(), now=100.0, chance=0.0)
    limit = binance.LIMITS.silence_seconds
    assert not vitals.silent(0, 100.0 + limit)
    assert not vitals.silent(1, 100.0 + limit + 0.25)  # a ping, just in time
    assert not vitals.silent(1, 100.0 + 2 * limit + 0.25)
    assert vitals.silent(1, 100.0 + 2 * limit + 0.5)


def test_a_time_in_which_nothing_was_read_counts_against_nobody() -> None:
    vitals = ConnectionHealth(binance.LIMITS, watch(), now=100.0, chance=0.0)
    limit = binance.LIMITS.silence_seconds
    vitals.unread(100.0 + limit)
    assert not vitals.silent(0, 100.0 + limit + 1.0)
    assert vitals.check([0], 100.0 + limit + 0.5, wall=int(limit) * SECOND) is None
    assert vitals.check([0], 100.0 + limit + 1.0, wall=int(limit) * SECOND) == Verdict(1, (0,))


def test_connections_that_opened_together_retire_apart() -> None:
    life = binance.LIMITS.life_seconds
    assert life is not None
    for chance, age in ((0.0, life), (0.5, life * 0.95)):
        vitals = ConnectionHealth(binance.LIMITS, watch(), now=0.0, chance=chance)
        assert not vitals.old(age - 1.0)
        assert vitals.old(age)


def test_subscriptions_are_looked_at_once_a_second() -> None:
    vitals = ConnectionHealth(binance.LIMITS, watch(), now=0.0, chance=0.0)
    times = [number / 4 for number in range(9)]
    assert [now for now in times if vitals.check([0], now, wall=0) is not None] == [0.0, 1.0, 2.0]
