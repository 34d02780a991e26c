"""What one connection of a capture vouches for. The session is Binance's own; when it heard what is set by the test."""

from __future__ import annotations

from msgspec.structs import replace

from ingest.exchanges.binance import exchange as binance
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import ChannelName, Connection, Gap, Subscription
from ingest.records import MINUTE, SECOND, Instrument
from ingest.sources.replay_coverage import WINDOW, ReplayedConnection, missing
from ingest.store.coverage import Claim
from tests.support.batches import NOW, trade

MARKET = Instrument("demo", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=7)
OPTIONS = ExchangeOptions(ws_url="wss://example", rest_url="https://example", trade_kind="trade")
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book")
START = NOW - NOW % MINUTE + 20 * SECOND


def replayed() -> ReplayedConnection:
    connection = Connection("wss://example", tuple(Subscription(MARKET, channel) for channel in CHANNELS))
    return ReplayedConnection("demo", connection, OPTIONS, binance.session(connection, OPTIONS))


def speak(one: ReplayedConnection, at: int, *channels: ChannelName) -> None:
    for channel in channels:
        one.session.last_message_at[CHANNELS.index(channel)] = at
    one.add_message(at)


def claim(channel: ChannelName, since: int, until: int) -> Claim:
    return Claim("demo", "replay", 7, channel, "trade", since, until, "replay")


def test_a_stream_is_vouched_for_from_when_it_was_heard_until_a_little_before_the_last_frame():
    one = replayed()
    speak(one, START, "book")
    speak(one, START + SECOND, "trades")
    speak(one, START + 50 * SECOND, "book")
    assert one.claims() == [
        claim("trades", START + SECOND, START + 48 * SECOND),
        claim("book", START, START + 48 * SECOND),
    ]


def test_bars_are_vouched_for_in_whole_minutes_that_were_said():
    one = replayed()
    for minute in range(5):
        speak(one, START + minute * MINUTE, "candles")
    begun = START + 40 * SECOND  # the next full minute
    assert one.claims() == [claim("candles", begun, begun + 2 * MINUTE)]


def test_late_rows_shorten_the_claim_while_they_are_recent():
    one = replayed()
    speak(one, START, "trades")
    one.add_row(trade(1, time=START - 60 * SECOND, received_at=START))  # the exchange repeats its last trades at the beginning
    assert one.claims() == []
    end = START + 100 * SECOND
    one.add_row(trade(2, time=end - WINDOW - SECOND - 1, received_at=end - WINDOW - 1))
    one.add_row(trade(3, time=end - 10 * SECOND, received_at=end))
    speak(one, end, "trades")
    assert one.claims() == [claim("trades", START, end - 15 * SECOND)]


def test_a_clock_that_is_ahead_begins_the_claim_later():
    one = replayed()
    speak(one, START, "trades")
    one.add_row(trade(1, time=START + SECOND, received_at=START))
    speak(one, START + MINUTE, "trades")
    assert one.claims() == [claim("trades", START + SECOND, START + 58 * SECOND)]


def test_a_hole_that_nobody_ended_ends_with_the_connection():
    one = replayed()
    ended, open_ = Gap(7, "book", "sequence", START), Gap(7, "book", "checksum", START + SECOND)
    for gap in (ended, replace(ended, until=START + SECOND), open_):
        one.add_gap(gap)
    speak(one, START + MINUTE, "book")
    assert one.open_gaps() == [replace(open_, until=START + MINUTE)]


def test_what_no_claim_covers_is_missing_by_stream():
    claims = [
        claim("trades", NOW + 9 * SECOND, NOW + 20 * SECOND),
        claim("trades", NOW, NOW + 5 * SECOND),
        claim("trades", NOW + SECOND, NOW + 2 * SECOND),
        claim("book", NOW + 5 * SECOND, NOW + 9 * SECOND),
    ]
    assert missing(claims, {7: "BTC/USDT"}) == [
        "demo BTC/USDT trades: nothing was recorded from 2026-09-21 14:13:25+00:00 to 2026-09-21 14:13:29+00:00 (0:00:04)"
    ]
