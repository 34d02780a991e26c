"""Trades, candles and quotes of any exchange: gaps of ids, closed bars, and the effect of a malformed message."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.marketdata.channels import Candles, ChannelState, Market, Trades
from ingest.marketdata.values import minute_bar
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Gap
from ingest.records import MINUTE, SECOND, Candle, Quote, Trade
from tests.support.exchanges import deribit as deribit_session
from tests.support.exchanges import gate as gate_session
from tests.support.exchanges import kucoin as kucoin_session
from tests.support.exchanges import okx as okx_session
from tests.support.exchanges.gate import BTC

NOW = 1_790_000_000 * SECOND
T = 1_600_000_020 * SECOND  # a full minute
OPTIONS = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind="trade")


def trades(*ids: int, first: int | None = None, dense: tuple[str, ...] = ("trade",)) -> list[Any]:
    """The outputs of trades with these ids. `first` is the first id of every row, else the id itself."""
    spec = Trades(int, lambda row, number, at: Trade(number, T + row, row, "1", "1", "buy", at), dense, lambda row: first or row)
    state = spec.open(Market("x", BTC, OPTIONS))
    return [output for row_id in ids for output in state.feed(row_id, NOW, False)]


def test_a_jump_of_a_dense_id_is_a_gap() -> None:
    assert [type(output) for output in trades(5, 6, 9, 7, 10)] == [Trade, Trade, Gap, Trade, Trade, Trade]
    (gap,) = [output for output in trades(5, 6, 9) if isinstance(output, Gap)]
    assert gap == Gap(3, "trades", "sequence", T + 6, T + 9, 7, 8)
    assert [type(output) for output in trades(5, 9, dense=())] == [Trade, Trade]


def test_a_row_of_several_trades_is_no_jump() -> None:
    assert [type(output) for output in trades(5, 9, first=6)] == [Trade, Trade]
    (gap,) = [output for output in trades(5, 9, first=8) if isinstance(output, Gap)]
    assert (gap.first_id, gap.last_id) == (6, 7)


# --- candles -------------------------------------------------------------------------------------------------------------------


def bar(minute: int, close: str = "1") -> Candle:
    return minute_bar(3, T + minute * MINUTE, ["1", "2", "1", close, "5", "6"], origin="ws", received_at=NOW)


def forming() -> ChannelState:
    return Candles(Candle, lambda row, number, at, origin: row, grace=5 * SECOND).open(Market("x", BTC, OPTIONS))


def test_a_bar_is_closed_by_the_next_bar_or_by_the_clock() -> None:
    state = forming()
    assert state.tick is not None
    assert list(state.feed(bar(0), NOW, False)) == []
    assert list(state.feed(bar(0, "2"), NOW, False)) == []
    assert list(state.feed(bar(1), NOW, False)) == [bar(0, "2")]
    assert list(state.tick(T + 2 * MINUTE + 5 * SECOND - 1)) == []
    assert list(state.tick(T + 2 * MINUTE + 5 * SECOND)) == [bar(1)]
    assert list(state.feed(bar(1, "2"), NOW, False)) == [bar(1, "2")]  # a late change: the row is revised
    assert list(state.feed(bar(0), NOW, False)) == [bar(0)]


def test_a_bar_is_discarded_by_a_malformed_message() -> None:
    state = forming()
    assert state.tick is not None
    state.feed(bar(0), NOW, False)
    assert list(state.lost(NOW)) == []
    assert list(state.feed(bar(1), NOW, False)) == []
    assert list(state.tick(T + 2 * MINUTE + 5 * SECOND)) == [bar(1)]


@pytest.mark.parametrize(
    ("session", "frame", "good", "bad"),
    [
        (
            deribit_session.open_session(deribit_session.BTC, channel="candles"),
            deribit_session.nautilus("ws_chart"),
            b'"low": ',
            b'"low": -',
        ),
        (
            kucoin_session.open_session(kucoin_session.BTC, channel="candles"),
            kucoin_session.message(
                "/market/candles:BTC-USDT_1min",
                {
                    "symbol": "BTC-USDT",
                    "candles": ["1589968800", "9786.9", "9740.8", "9806.1", "9732", "27.45", "268280.0"],
                    "time": 1,
                },
            ),
            b'"9732"',
            b'"-9732"',
        ),
    ],
    ids=["deribit", "kucoin"],
)
def test_a_bar_whose_last_state_is_malformed_is_not_written(session: Any, frame: bytes, good: bytes, bad: bytes) -> None:
    """The malformed state may be the last one: the state before it is discarded, and gap filling loads the minute."""
    assert good in frame
    assert list(session.feed(frame, NOW)) == []
    assert [type(output) for output in session.feed(frame.replace(good, bad), NOW)] == [Malformed]
    assert [output for output in session.tick(NOW + 10**9 * SECOND) if isinstance(output, Candle)] == []


def test_a_missing_minute_is_a_gap_if_every_minute_has_a_bar() -> None:
    for every_minute in (True, False):
        state = Candles(Candle, lambda row, number, at, origin: row, every_minute=every_minute).open(Market("x", BTC, OPTIONS))
        out = [output for minute in (0, 1, 4, 2) for output in state.feed(bar(minute), NOW, False)]
        gaps = [output for output in out if isinstance(output, Gap)]
        assert gaps == ([Gap(3, "candles", "sequence", T + 2 * MINUTE, T + 4 * MINUTE)] if every_minute else [])
        assert [output for output in out if isinstance(output, Candle)] == [bar(minute) for minute in (0, 1, 4, 2)]


# --- quotes --------------------------------------------------------------------------------------------------------------------


def quotes(session: Any) -> list[Quote]:
    """The quotes that a tick yields long afterwards."""
    return [output for output in session.tick(NOW + 3650 * 86_400 * SECOND) if isinstance(output, Quote)]


def kucoin_quote(**fields: Any) -> bytes:
    """The documented example with these fields changed."""
    data = {"sequence": "1545896668986", "price": "0.08", "size": "0.011", "time": 1704873323416}
    data |= {"bestAsk": "0.08", "bestAskSize": "0.18", "bestBid": "0.049", "bestBidSize": "0.036"}
    return kucoin_session.message("/market/ticker:BTC-USDT", data | fields)


@pytest.mark.parametrize("size", ["0", "0.000", "", None])
def test_a_side_of_size_zero_is_empty_on_every_exchange(size: str | None) -> None:
    session = kucoin_session.open_session(kucoin_session.BTC, channel="quotes")
    session.feed(kucoin_quote(bestAskSize=size), NOW)
    (quote,) = quotes(session)
    assert (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size) == ("0.049", "0.036", None, None)
    if size is None:
        return
    frame = okx_session.nautilus("ws_tickers").replace(b'"askSz": "11"', b'"askSz": "%s"' % size.encode())
    okx = okx_session.open_session(okx_session.BTC, channel="quotes")
    okx.feed(frame, NOW)
    (quote,) = quotes(okx)
    assert (quote.ask_price, quote.ask_size) == (None, None)
    best = {"t": 1606293275123, "u": 48733182, "s": "BTC_USDT", "b": "19177.79", "B": "0.0003341504", "a": "19179.38", "A": size}
    gate = gate_session.open_session(gate_session.BTC, channel="quotes")
    gate.feed(gate_session.update("spot.book_ticker", best), NOW)
    (quote,) = quotes(gate)
    assert (quote.ask_price, quote.ask_size) == (None, None)


def test_a_side_of_size_zero_is_empty_on_deribit() -> None:
    session = deribit_session.open_session(deribit_session.BTC, channel="quotes")
    session.feed(deribit_session.edited("ws_ticker", best_ask_amount=0.0), NOW)
    (quote,) = quotes(session)
    assert (quote.ask_price, quote.ask_size) == (None, None)
    assert quote.bid_price is not None


@pytest.mark.parametrize("fields", [{"bestBid": "-1"}, {"bestBid": "9" * 5000}, {"bestAskSize": "NaN"}, {"time": 5}])
def test_a_malformed_quote_discards_the_quote_before_it(fields: dict[str, Any]) -> None:
    session = kucoin_session.open_session(kucoin_session.BTC, channel="quotes")
    session.feed(kucoin_quote(), NOW)
    assert [type(output) for output in session.feed(kucoin_quote(**fields), NOW)] == [Malformed]
    assert quotes(session) == []


# --- times -----------------------------------------------------------------------------------------------------------------------


def test_an_event_more_than_a_day_after_it_was_received_is_refused() -> None:
    """Accepted, they would stop the grid of a quote or a book: its next tick would be at their time."""
    session = kucoin_session.open_session(kucoin_session.BTC, channel="quotes")
    milliseconds = NOW // 1000
    for days in (2, 30_000):
        (bad,) = session.feed(kucoin_quote(time=milliseconds + days * 86_400_000), NOW)
        assert (type(bad), bad.reason) == (Malformed, "value")
    session.feed(kucoin_quote(time=milliseconds + 80_000_000), NOW)  # the local clock may be behind
    session.feed(kucoin_quote(time=milliseconds), NOW)
    (quote,) = quotes(session)
    assert quote.time == NOW + SECOND
    book = gate_session.open_session(gate_session.BTC, channel="book")
    row = {"t": milliseconds + 2 * 86_400_000, "e": "depthUpdate", "s": "BTC_USDT", "U": 1, "u": 2, "b": [], "a": []}
    assert [type(output) for output in book.feed(gate_session.update("spot.order_book_update", row), NOW)] == [Malformed]
    with pytest.raises(ValueError, match="more than a day after it was received"):
        forming().feed(bar(0), T - 2 * 1440 * MINUTE, False)
    with pytest.raises(ValueError, match="more than a day after it was received"):
        trades_at(T, T - 2 * 1440 * MINUTE)


def trades_at(time: int, received_at: int) -> Any:
    spec = Trades(int, lambda row, number, at: Trade(number, time, row, "1", "1", "buy", at))
    return spec.open(Market("x", BTC, OPTIONS)).feed(1, received_at, False)
