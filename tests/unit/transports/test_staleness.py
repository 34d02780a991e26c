from __future__ import annotations

from ingest.protocol.session import Subscription
from ingest.records import MINUTE, SECOND, Instrument
from ingest.transports.staleness import Staleness, Verdict, Watch

BTC = Instrument("binance", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=1)
QUIET = Instrument("binance", "QUIETUSDT", "QUIET/USDT", "QUIET", "USDT", "spot", "trading", id=2)
SUBSCRIPTIONS = (Subscription(BTC, "trades"), Subscription(QUIET, "trades"))
FINE = Verdict(0, ())


def freshness() -> Staleness:
    return Staleness(floor=30 * SECOND, factor=4, first=5 * MINUTE, memory=60 * MINUTE)


def speak(watch: Watch, pauses: list[int], since: int, until: int) -> list[int]:
    """Each subscription speaks after its pause, again and again; looked at every second. What was heard at the end."""
    last_message_at = [0] * len(pauses)
    for now in range(since + SECOND, until + 1, SECOND):
        for index, pause in enumerate(pauses):
            last_message_at[index] = since + (now - since) // pause * pause
        assert watch.check(last_message_at, now) == FINE
    return last_message_at


def test_a_lively_neighbour_does_not_hide_a_dead_subscription() -> None:
    watch = freshness().watch(SUBSCRIPTIONS, now=0)
    last_message_at = [0, 0]
    verdicts = []
    for now in range(SECOND, 6 * MINUTE, SECOND):
        last_message_at[0] = now
        verdicts.append((now, watch.check(last_message_at, now)))
    asked = [(now, verdict.reconnect) for now, verdict in verdicts if verdict.reconnect]
    assert asked == [(5 * MINUTE + SECOND, (1,))]
    assert verdicts[-1][1] == Verdict(1, ())  # asked once, and stale until it speaks


def test_each_is_judged_by_its_own_pace() -> None:
    watch = freshness().watch(SUBSCRIPTIONS, now=0)
    last_message_at = speak(watch, [SECOND, MINUTE], since=0, until=10 * MINUTE)
    end = 10 * MINUTE
    assert watch.check(last_message_at, end + 30 * SECOND) == FINE
    assert watch.check(last_message_at, end + 30 * SECOND + 1) == Verdict(1, (0,))  # the floor
    assert watch.check(last_message_at, end + 4 * MINUTE) == Verdict(1, (0,))  # again, after twice the floor
    assert watch.check(last_message_at, end + 4 * MINUTE + 1) == Verdict(2, (0, 1))  # four times its longest pause


def test_a_pause_is_remembered_for_one_to_two_memories() -> None:
    """Pauses of two minutes until minute 10, then one second: minute 70 still knows them, minute 130 does not."""
    for end, patience in ((70 * MINUTE, 8 * MINUTE), (130 * MINUTE, 30 * SECOND)):
        watch = freshness().watch(SUBSCRIPTIONS[:1], now=0)
        speak(watch, [2 * MINUTE], since=0, until=10 * MINUTE)
        last_message_at = speak(watch, [SECOND], since=10 * MINUTE, until=end)
        assert watch.check(last_message_at, end + patience) == FINE
        assert watch.check(last_message_at, end + patience + 1) == Verdict(1, (0,))


def test_a_quiet_pair_is_not_reconnected_in_a_loop() -> None:
    """Lives follow one another; the pair stays silent. Each vain reconnect doubles the patience, also for the next life."""
    kept = freshness()
    asked = []
    now = 0
    for _ in range(4):
        watch = kept.watch(SUBSCRIPTIONS[1:], now)
        began = now
        while not watch.check([0], now).reconnect:
            now += SECOND
        asked.append(now - began)
    assert asked == [5 * MINUTE + SECOND, 10 * MINUTE + SECOND, 20 * MINUTE + SECOND, 40 * MINUTE + SECOND]


def test_after_it_spoke_the_long_pause_counts_as_its_pace() -> None:
    kept = freshness()
    watch = kept.watch(SUBSCRIPTIONS[1:], 0)
    assert watch.check([0], 5 * MINUTE + 1) == Verdict(1, (0,))
    watch = kept.watch(SUBSCRIPTIONS[1:], 6 * MINUTE)
    assert watch.check([0], 7 * MINUTE) == Verdict(1, ())
    assert watch.check([16 * MINUTE], 16 * MINUTE) == FINE  # ten minutes on this connection
    assert watch.check([16 * MINUTE], 56 * MINUTE) == FINE
    assert watch.check([16 * MINUTE], 56 * MINUTE + 1) == Verdict(1, (0,))


def test_a_refused_subscription_asks_for_no_reconnect_and_is_patient_once_it_is_accepted() -> None:
    watch = freshness().watch(SUBSCRIPTIONS, now=0)
    for now in range(SECOND, 60 * MINUTE, SECOND):
        assert watch.check([now, 0], now, refused={1: "no such pair"}) == FINE
    start = 60 * MINUTE
    verdicts = [(now, watch.check([now, 0], now)) for now in range(start, start + 6 * MINUTE, SECOND)]
    assert [(now, verdict.reconnect) for now, verdict in verdicts if verdict.reconnect] == [(start + 5 * MINUTE, (1,))]
