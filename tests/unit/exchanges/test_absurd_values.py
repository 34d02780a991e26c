"""Zero, enormous and unreadable values of any exchange are refused before a queue, a grid or a ledger sees them."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.protocol.decode import MAX_MESSAGE, MAX_PAYLOAD, Malformed
from ingest.protocol.session import Gap, Output
from ingest.records import MINUTE, SECOND, Quote, Record, Trade
from tests.support.exchanges.documented import EXCHANGES, NOW, bar, open_session, quote, text_time, trade

BAD_PRICES = ["0", "0.00", "0e5", "-1", "1e18", "1" + "0" * 40, "9" * 5000, "1e31", "NaN", "1.2.3"]
BAD_SIZES = ["0", "0.000", "-0.5", "1e24", "1" + "0" * 40, "9" * 5000, "Infinity"]
BAD_TIMES = [NOW + 2880 * MINUTE, 253_402_300_799_000_000]  # more than a day ahead; the year 9999


def refused(outputs: Any) -> list[Malformed]:
    """The evidence in these outputs, which have no record."""
    assert [output for output in outputs if isinstance(output, Record)] == []
    bad = [output for output in outputs if isinstance(output, Malformed)]
    assert all(len(each.payload) <= MAX_PAYLOAD and len(each.message) <= MAX_MESSAGE for each in bad)
    return bad


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_bad_price_or_size_of_a_trade_is_refused_and_the_next_trade_is_stored(name: str) -> None:
    session = open_session(name, "trades")
    for bad in BAD_PRICES:
        assert len(refused(session.feed(trade(name, price=bad), NOW))) == 1, bad
    for bad in BAD_SIZES:
        assert len(refused(session.feed(trade(name, size=bad), NOW))) == 1, bad
    (good,) = session.feed(trade(name), NOW)
    assert isinstance(good, Trade)
    assert (good.price, good.size) == ("62345.1", "0.5")


@pytest.mark.parametrize("time", BAD_TIMES)
@pytest.mark.parametrize("name", EXCHANGES)
def test_a_trade_of_another_time_is_refused_and_its_id_is_forgotten(name: str, time: int) -> None:
    session = open_session(name, "trades")
    session.feed(trade(name, trade_id=7), NOW)
    assert len(refused(session.feed(trade(name, trade_id=9, time=time), NOW))) == 1
    (good,) = session.feed(trade(name, trade_id=8), NOW)  # no gap
    assert isinstance(good, Trade)


@pytest.mark.parametrize("number", [str(1 << 63), "9" * 500, "-1"])
@pytest.mark.parametrize("name", EXCHANGES)
def test_an_id_that_fits_no_bigint_is_refused(name: str, number: str) -> None:
    session = open_session(name, "trades")
    assert len(refused(session.feed(trade(name, trade_id=number), NOW))) == 1
    (good,) = session.feed(trade(name), NOW)
    assert isinstance(good, Trade)


@pytest.mark.parametrize("name", sorted(set(EXCHANGES) - {"kucoin"}))  # its ids have gaps anyway
def test_a_trade_id_far_ahead_is_refused_and_later_gaps_are_seen(name: str) -> None:
    session = open_session(name, "trades")
    session.feed(trade(name, trade_id=7), NOW)
    assert len(refused(session.feed(trade(name, trade_id=9 * 10**17), NOW))) == 1
    (good,) = session.feed(trade(name, trade_id=8), NOW)
    assert isinstance(good, Trade)
    gap, _ = session.feed(trade(name, trade_id=20), NOW)
    assert gap == Gap(1, "trades", "sequence", NOW, NOW, 9, 19)


@pytest.mark.parametrize("name", sorted(set(EXCHANGES) - {"kucoin"}))
def test_ids_that_go_on_from_a_jump_are_believed(name: str) -> None:
    session = open_session(name, "trades")
    session.feed(trade(name, trade_id=7), NOW)
    assert len(refused(session.feed(trade(name, trade_id=9 * 10**17, time=NOW + SECOND), NOW))) == 1
    gap, good = session.feed(trade(name, trade_id=9 * 10**17 + 1, time=NOW + 2 * SECOND), NOW)
    assert gap == Gap(1, "trades", "sequence", NOW, NOW + 2 * SECOND)  # it has no ids, and covers the refused trade
    assert isinstance(good, Trade)
    (following,) = session.feed(trade(name, trade_id=9 * 10**17 + 2), NOW)
    assert isinstance(following, Trade)


@pytest.mark.parametrize("name", sorted(set(EXCHANGES) - {"kucoin"}))
def test_a_wrong_first_id_is_forgotten(name: str) -> None:
    session = open_session(name, "trades")
    session.feed(trade(name, trade_id=9 * 10**17), NOW)
    for number in (7, 8):
        assert [type(output) for output in session.feed(trade(name, trade_id=number), NOW)][-1] is Trade
    gap, _ = session.feed(trade(name, trade_id=20), NOW)
    assert gap == Gap(1, "trades", "sequence", NOW, NOW, 9, 19)


def test_a_heartbeat_far_ahead_is_refused() -> None:
    session = open_session("coinbase", "trades")

    def heartbeat(last: int, second: int) -> list[Output]:
        time = text_time(NOW + second * SECOND)
        return list(
            session.feed(
                b'{"type":"heartbeat","sequence":1,"product_id":"BTC-USD","last_trade_id":%d,"time":"%b"}' % (last, time.encode()),
                NOW + second * SECOND,
            )
        )

    session.feed(trade("coinbase", trade_id=7), NOW)
    assert heartbeat(8, 1) == []
    assert len(refused(heartbeat(9 * 10**17, 2))) == 1
    assert heartbeat(8, 3) == [Gap(1, "trades", "sequence", NOW, NOW + 3 * SECOND, 8, 8)]
    (good,) = session.feed(trade("coinbase", trade_id=9), NOW)
    assert isinstance(good, Trade)


@pytest.mark.parametrize("native", ["\\u0000", "x" * 8000, "", "a\\nb"])
def test_an_id_in_text_is_short_and_printable(native: str) -> None:
    """One of 8,000 characters would not fit the index; PostgreSQL refuses NUL."""
    session = open_session("deribit", "trades")
    frame = trade("deribit").replace(b'"trade_id":"7"', b'"trade_id":"%b"' % native.encode())
    (bad,) = refused(session.feed(frame, NOW))
    assert bad.reason == "value"


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_bad_quote_is_refused(name: str) -> None:
    session = open_session(name, "quotes")
    for bad in ("1e18", "9" * 5000, "-1"):
        assert len(refused(session.feed(quote(name, bid=bad), NOW))) == 1, bad
        assert len(refused(session.feed(quote(name, size=bad.replace("18", "24")), NOW))) == 1, bad
    if name == "coinbase":
        session.feed(quote(name), NOW)  # the answer to the subscription
    session.feed(quote(name, bid="0"), NOW)
    (side,) = session.tick(NOW + 9 * SECOND)
    assert isinstance(side, Quote)
    assert (side.bid_price, side.bid_size, side.ask_price) == (None, None, "70000")  # an empty side is no bad one


@pytest.mark.parametrize("name", [name for name in EXCHANGES if name != "coinbase"])
def test_a_bar_of_zeros_is_refused_and_one_without_volume_is_stored(name: str) -> None:
    session = open_session(name, "candles")
    for bad in ("0", "1e18", "-1", "9" * 5000):
        assert len(refused(session.feed(bar(name, close=bad), NOW))) == 1, bad
    for bad in ("1e24", "-1", "9" * 5000):
        assert len(refused(session.feed(bar(name, volume=bad), NOW))) == 1, bad
    out = [*session.feed(bar(name, volume="0"), NOW), *session.tick(NOW + 3 * MINUTE)]
    (good,) = [output for output in out if isinstance(output, Record)]
    assert good.volume == "0"  # type: ignore[union-attr]


LOWS = {"binance": b'"l":"62345"', "deribit": b'"low":62345', "gate": b'"l":"62345"', "kraken": b'"low":62345'}


@pytest.mark.parametrize("name", [name for name in EXCHANGES if name != "coinbase"])
def test_a_bar_whose_high_is_below_its_low_is_refused(name: str) -> None:
    """The table has a CHECK. A close above the high is stored: some exchanges open a bar at an older price."""
    session = open_session(name, "candles")
    low = LOWS.get(name, b'"62345"')  # of the lists of KuCoin and OKX it is the last one
    before, _, after = bar(name).rpartition(low)
    (bad,) = refused([*session.feed(before + low.replace(b"62345", b"62345.01") + after, NOW), *session.tick(NOW + 3 * MINUTE)])
    assert (bad.reason, bad.message) == ("value", f"{name}: high 62345 is below low 62345.01")
