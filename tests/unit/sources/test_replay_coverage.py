"""The claims of one connection of a capture. The session is Binance's; the test sets the times of its last messages."""

from __future__ import annotations

from msgspec.structs import replace

from ingest.exchanges.binance import exchange as binance
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import ChannelName, Connection, Gap, Subscription
from ingest.records import MINUTE, SECOND, Instrument
from ingest.sources.replay_coverage import WINDOW, ReplayedConnection, missing
from ingest.store.coverage import Claim, ClaimState
from tests.support.batches import NOW, trade

MARKET = Instrument("demo", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=7)
OPTIONS = ExchangeOptions(ws_url="wss://example", rest_url="https://example", trade_kind="trade")
CHANNELS: tuple[ChannelName, ...] = ("trades", "candles", "book")
START = NOW - NOW % MINUTE + 20 * SECOND


def replayed_connection() -> ReplayedConnection:
    connection = Connection("wss://example", tuple(Subscription(MARKET, channel) for channel in CHANNELS))
    return ReplayedConnection("demo", connection, OPTIONS, binance.session(connection, OPTIONS), binance.COMPLETENESS)


def receive(replayed: ReplayedConnection, at: int, *channels: ChannelName) -> None:
    for channel in channels:
        replayed.session.last_message_at[CHANNELS.index(channel)] = at
    replayed.add_message(at)


def claim(channel: ChannelName, since: int, until: int, state: ClaimState = "covered") -> Claim:
    return Claim("demo", "replay", 7, channel, "trade", since, until, "replay", state)


def test_a_stream_is_covered_from_its_first_to_its_last_message_and_unverifiable_until_the_last_frame():
    replayed = replayed_connection()
    receive(replayed, START, "book")
    receive(replayed, START + SECOND, "trades")
    receive(replayed, START + 20 * SECOND, "trades")
    receive(replayed, START + 50 * SECOND, "book")
    assert replayed.claims() == [
        claim("trades", START + SECOND, START + 18 * SECOND),
        claim("trades", START + SECOND, START + 48 * SECOND, "unverifiable"),
        claim("book", START, START + 48 * SECOND),
    ]


def test_candles_are_claimed_in_whole_minutes():
    replayed = replayed_connection()
    for minute in range(5):
        receive(replayed, START + minute * MINUTE, "candles")
    since = START + 40 * SECOND  # the next full minute
    assert replayed.claims() == [claim("candles", since, since + 2 * MINUTE)]


def test_late_rows_shorten_the_claim_while_they_are_recent():
    replayed = replayed_connection()
    receive(replayed, START, "trades")
    replayed.add_row(trade(1, time=START - 60 * SECOND, received_at=START))  # the exchange sends old trades first
    assert replayed.claims() == []
    end = START + 100 * SECOND
    replayed.add_row(trade(2, time=end - WINDOW - SECOND - 1, received_at=end - WINDOW - 1))
    replayed.add_row(trade(3, time=end - 10 * SECOND, received_at=end))
    receive(replayed, end, "trades")
    assert replayed.claims() == [claim("trades", START, end - 15 * SECOND)]


def test_a_clock_that_is_ahead_begins_the_claim_later():
    replayed = replayed_connection()
    receive(replayed, START, "trades")
    replayed.add_row(trade(1, time=START + SECOND, received_at=START))
    receive(replayed, START + MINUTE, "trades")
    assert replayed.claims() == [claim("trades", START + SECOND, START + 58 * SECOND)]


def test_an_open_gap_ends_with_the_connection():
    replayed = replayed_connection()
    ended, open_ = Gap(7, "book", "sequence", START), Gap(7, "book", "checksum", START + SECOND)
    for gap in (ended, replace(ended, until=START + SECOND), open_):
        replayed.add_gap(gap)
    receive(replayed, START + MINUTE, "book")
    assert replayed.open_gaps() == [replace(open_, until=START + MINUTE)]


def test_times_without_a_claim_are_missing_by_stream():
    claims = [
        claim("trades", NOW + 9 * SECOND, NOW + 20 * SECOND),
        claim("trades", NOW, NOW + 5 * SECOND),
        claim("trades", NOW + SECOND, NOW + 2 * SECOND),
        claim("book", NOW + 5 * SECOND, NOW + 9 * SECOND),
    ]
    assert missing(claims, {7: "BTC/USDT"}) == [
        "demo BTC/USDT trades: nothing was recorded from 2026-09-21 14:13:25+00:00 to 2026-09-21 14:13:29+00:00 (0:00:04)"
    ]
