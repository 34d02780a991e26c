"""The year 1 and the begin of 1970 are no times: a quote or a change of a book is kept, a trade or a bar refused."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.protocol.decode import Malformed
from ingest.protocol.session import Output, Request
from ingest.records import SECOND, BookSnapshot, Quote
from tests.support.exchanges.documented import EXCHANGES, NOW, bar, message, open_session, quote, trade

YEAR_ONE = -62_135_596_800 * SECOND
PLACEHOLDERS = [0, YEAR_ONE]
YEAR_9999 = 253_402_300_799 * SECOND
TIMED = sorted(set(EXCHANGES) - {"binance"})  # its quotes have no time
SNAPSHOTS = {
    "deribit": '{"method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"type":"snapshot","timestamp":MS,'
    '"change_id":1,"bids":[["new",5.0,1.0]],"asks":[["new",9.0,1.0]]}}}',
    "okx": '{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"bids":[["5","1","0","1"]],'
    '"asks":[["9","1","0","1"]],"ts":"MS","seqId":1,"prevSeqId":-1}]}',
}
CHANGES = {
    "deribit": '{"method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"type":"change","timestamp":MS,'
    '"change_id":CHANGE,"prev_change_id":PREVIOUS,"bids":[["new",6.0,2.0]],"asks":[]}}}',
    "okx": '{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"bids":[["6","2","0","1"]],"asks":[],'
    '"ts":"MS","seqId":CHANGE,"prevSeqId":PREVIOUS}]}',
}


def change(name: str, number: int, time: int) -> bytes:
    return message(CHANGES[name], CHANGE=number, PREVIOUS=number - 1, TIME=time)


def kinds(outputs: Any) -> list[type[Output]]:
    return [type(output) for output in outputs]


@pytest.mark.parametrize("time", PLACEHOLDERS)
@pytest.mark.parametrize("name", TIMED)
def test_a_quote_without_a_time_has_ours_and_the_name_of_the_writer(name: str, time: int) -> None:
    session = open_session(name, "quotes")
    session.feed(quote(name), NOW)  # on Coinbase the answer to the subscription
    out = [*session.feed(quote(name, bid="6", time=time), NOW + 3 * SECOND), *session.tick(NOW + 9 * SECOND)]
    assert Malformed not in kinds(out)
    last = [output for output in out if isinstance(output, Quote)][-1]
    assert ((last.bid_price or "").removesuffix(".0"), last.writer, last.time) == ("6", "here", NOW + 4 * SECOND)


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_trade_or_a_bar_without_a_time_is_refused(name: str) -> None:
    for time in PLACEHOLDERS:
        assert kinds(open_session(name, "trades").feed(trade(name, time=time), NOW)) == [Malformed]
        if name != "coinbase":
            assert kinds(open_session(name, "candles").feed(bar(name, time=time), NOW)) == [Malformed]


@pytest.mark.parametrize("time", PLACEHOLDERS)
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_change_of_a_book_without_a_time_counts_to_the_one_before(name: str, time: int) -> None:
    session = open_session(name, "book")
    session.feed(message(SNAPSHOTS[name], TIME=NOW), NOW)
    session.feed(change(name, 2, NOW + 1000), NOW)
    assert kinds(session.feed(change(name, 3, time), NOW)) == []
    (state,) = [output for output in session.tick(NOW + 9 * SECOND) if isinstance(output, BookSnapshot)]
    assert (state.time, state.writer) == (NOW + SECOND, "")


def test_three_changes_of_the_year_9999_on_binance() -> None:
    session = open_session("binance", "book")

    def depth(first: int, time: int) -> bytes:
        form = '{"stream":"btcusdt@depth@100ms","data":{"E":MS,"U":FIRST,"u":FIRST,"b":[["5","1"]],"a":[["9","1"]]}}'
        return message(form, FIRST=first, TIME=time)

    out = [output for number in range(1, 4) for output in session.feed(depth(number, YEAR_9999), NOW)]
    assert kinds(out) == [Malformed] * 3
    assert Request in kinds(session.feed(depth(4, NOW), NOW))


def test_the_first_ticker_of_a_market_without_trades_is_the_answer() -> None:
    frame = (
        b'{"type":"ticker","sequence":77,"product_id":"NEW-USD","price":"1.5","best_bid":"1.4","best_bid_size":"3",'
        b'"best_ask":"1.6","best_ask_size":"2"}'
    )
    session = open_session("coinbase", "quotes", symbols=("NEW-USD",))
    assert session.feed(frame, NOW) == ()
    session.feed(quote("coinbase", bid="1.41").replace(b"BTC-USD", b"NEW-USD"), NOW)
    (stored,) = session.tick(NOW + 9 * SECOND)
    assert isinstance(stored, Quote)
    assert (stored.bid_price, stored.writer) == ("1.41", "")


@pytest.mark.parametrize("bad", [b"null", b'"x"'])
def test_a_bad_first_ticker_is_the_answer_too(bad: bytes) -> None:
    session = open_session("coinbase", "quotes")
    assert kinds(session.feed(quote("coinbase", bid="1.41").replace(b'"1.41"', bad), NOW)) == [Malformed]
    session.feed(quote("coinbase", bid="1.42"), NOW)
    (stored,) = session.tick(NOW + 9 * SECOND)
    assert isinstance(stored, Quote)
    assert stored.bid_price == "1.42"
