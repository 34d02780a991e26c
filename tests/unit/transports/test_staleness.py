from __future__ import annotations

from ingest.protocol.session import Subscription
from ingest.records import MINUTE, SECOND, Instrument
from ingest.transports.staleness import Staleness, Verdict, Watch

BTC = Instrument("binance", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=1)
QUIET = Instrument("binance", "QUIETUSDT", "QUIET/USDT", "QUIET", "USDT", "spot", "trading", id=2)
SUBSCRIPTIONS = (Subscription(BTC, "trades"), Subscription(QUIET, "trades"))
FINE = Verdict(0, ())


def staleness() -> Staleness:
    return Staleness(floor=30 * SECOND, factor=4, first=5 * MINUTE, memory=60 * MINUTE)


def receive(watch: Watch, pauses: list[int], since: int, until: int) -> list[int]:
    """Each subscription has a message after each pause, and is checked every second. Returns the times of the last messages."""
    last_message_at = [0] * len(pauses)
    for now in range(since + SECOND, until + 1, SECOND):
        for index, pause in enumerate(pauses):
            last_message_at[index] = since + (now - since) // pause * pause
        assert watch.check(last_message_at, now) == FINE
    return last_message_at


def test_an_active_subscription_does_not_hide_a_silent_one() -> None:
    watch = staleness().watch(SUBSCRIPTIONS, now=0)
    last_message_at = [0, 0]
    verdicts = []
    for now in range(SECOND, 6 * MINUTE, SECOND):
        last_message_at[0] = now
        verdicts.append((now, watch.check(last_message_at, now)))
    reconnects = [(now, verdict.reconnect) for now, verdict in verdicts if verdict.reconnect]
    assert reconnects == [(5 * MINUTE + SECOND, (1,))]
    assert verdicts[-1][1] == Verdict(1, ())  # one reconnect; it is stale until its next message


def test_each_subscription_has_its_own_limit() -> None:
    watch = staleness().watch(SUBSCRIPTIONS, now=0)
    last_message_at = receive(watch, [SECOND, MINUTE], since=0, until=10 * MINUTE)
    end = 10 * MINUTE
    assert watch.check(last_message_at, end + 30 * SECOND) == FINE
    assert watch.check(last_message_at, end + 30 * SECOND + 1) == Verdict(1, (0,))  # the floor
    assert watch.check(last_message_at, end + 4 * MINUTE) == Verdict(1, (0,))  # again, because twice the floor has passed
    assert watch.check(last_message_at, end + 4 * MINUTE + 1) == Verdict(2, (0, 1))  # four times the longest pause of the second


def test_a_pause_is_remembered_for_one_to_two_memories() -> None:
    """After pauses of two minutes until minute 10, and of a second later, minute 70 remembers them and minute 130 does not."""
    for end, patience in ((70 * MINUTE, 8 * MINUTE), (130 * MINUTE, 30 * SECOND)):
        watch = staleness().watch(SUBSCRIPTIONS[:1], now=0)
        receive(watch, [2 * MINUTE], since=0, until=10 * MINUTE)
        last_message_at = receive(watch, [SECOND], since=10 * MINUTE, until=end)
        assert watch.check(last_message_at, end + patience) == FINE
        assert watch.check(last_message_at, end + patience + 1) == Verdict(1, (0,))


def test_a_quiet_pair_is_not_reconnected_in_a_loop() -> None:
    """A subscription is silent on successive connections. Each useless reconnect doubles the limit for the next connection."""
    kept = staleness()
    reconnects = []
    now = 0
    for _ in range(4):
        watch = kept.watch(SUBSCRIPTIONS[1:], now)
        started = now
        while not watch.check([0], now).reconnect:
            now += SECOND
        reconnects.append(now - started)
    assert reconnects == [5 * MINUTE + SECOND, 10 * MINUTE + SECOND, 20 * MINUTE + SECOND, 40 * MINUTE + SECOND]


def test_the_pause_before_the_first_message_counts() -> None:
    kept = staleness()
    watch = kept.watch(SUBSCRIPTIONS[1:], 0)
    assert watch.check([0], 5 * MINUTE + 1) == Verdict(1, (0,))
    watch = kept.watch(SUBSCRIPTIONS[1:], 6 * MINUTE)
    assert watch.check([0], 7 * MINUTE) == Verdict(1, ())
    assert watch.check([16 * MINUTE], 16 * MINUTE) == FINE  # its first message after ten minutes on this connection
    assert watch.check([16 * MINUTE], 56 * MINUTE) == FINE
    assert watch.check([16 * MINUTE], 56 * MINUTE + 1) == Verdict(1, (0,))


def test_a_refused_subscription_causes_no_reconnect_and_its_time_begins_when_it_is_accepted() -> None:
    watch = staleness().watch(SUBSCRIPTIONS, now=0)
    for now in range(SECOND, 60 * MINUTE, SECOND):
        assert watch.check([now, 0], now, refused={1: "no such pair"}) == FINE
    start = 60 * MINUTE
    verdicts = [(now, watch.check([now, 0], now)) for now in range(start, start + 6 * MINUTE, SECOND)]
    assert [(now, verdict.reconnect) for now, verdict in verdicts if verdict.reconnect] == [(start + 5 * MINUTE, (1,))]
