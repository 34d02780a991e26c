"""Paging through a history: every row once with any window, rejected rows, and refused requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.exchanges.gate import exchange as gate
from ingest.exchanges.gate import history as gate_history
from ingest.exchanges.kucoin import exchange as kucoin
from ingest.exchanges.okx import exchange as okx
from ingest.exchanges.okx import history as okx_history
from ingest.marketdata.history import by_channel, candle_windows, page_of
from ingest.marketdata.rest import Rows
from ingest.marketdata.values import minute_bar
from ingest.protocol.history import History, Page
from ingest.protocol.http import Request, Response
from ingest.records import MINUTE, SECOND, Candle, Instrument
from tests.support.exchanges import gate as gate_session
from tests.support.exchanges import kucoin as kucoin_session
from tests.support.exchanges import okx as okx_session
from tests.support.exchanges.past import LATER, Exchange, history_request, load_history, path_and_query

T = 1_600_000_020 * SECOND  # a full minute


def pages(history: History, exchange: Exchange) -> list[Page]:
    """All pages of the history; `exchange` returns the body of each response."""
    out: list[Page] = []
    step: Request | Page | None = next(history)
    while step is not None:
        try:
            if isinstance(step, Page):
                out.append(step)
                step = next(history)
            else:
                step = history.send(Response(200, exchange(step), received_at=LATER))
        except StopIteration:
            step = None
    return out


# --- windows of candles ----------------------------------------------------------------------------------------------------------


def bar(minute: int) -> Candle:
    return minute_bar(3, T + minute * MINUTE, ["1", "2", "1", "1", "5", "6"], origin="rest", received_at=LATER)


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("size", [1, 7, 60, 1000])
def test_every_requested_bar_is_loaded_once_and_no_other(size: int, more: int) -> None:
    """With `more`, a response has a bar beyond each end of the window, too."""
    windows: list[tuple[int, int]] = []

    def make_request(_ask: Any, _options: Any, first: int, last: int) -> Request:
        windows.append(((first - T) // MINUTE, (last - T) // MINUTE))
        return Request(f"{first} {last}")

    def read(body: bytes, _instrument: Instrument, _at: int) -> Rows[Candle]:
        first, last = ((int(time) - T) // MINUTE for time in body.decode().split())
        return Rows(bar(minute) for minute in range(first - more, last + 1 + more))

    wanted = history_request(gate_session.BTC, "candles", T + 30 * SECOND, T + 61 * MINUTE)
    result = load_history(
        candle_windows(wanted, gate_session.OPTIONS, size=size, make_request=make_request, read=read),
        lambda request: request.url.encode(),
    )
    assert result.records == [bar(minute) for minute in range(1, 61)]
    assert result.untils[-1] == T + 61 * MINUTE
    assert windows == [(start, min(start + size - 1, 60)) for start in range(0, 61, size)]


# --- bad rows --------------------------------------------------------------------------------------------------------------------


def gate_trades(rows: Sequence[dict[str, str]]) -> Exchange:
    def exchange(request: Request) -> bytes:
        path, query = path_and_query(request)
        if "currency_pairs" in path:
            return b"{}"
        since, until, page = (int(query[name]) for name in ("from", "to", "page"))
        within = [row for row in rows if since <= int(row["create_time_ms"][:10]) <= until]
        return json.dumps(within[(page - 1) * gate_history.ROWS : page * gate_history.ROWS]).encode()

    return exchange


@pytest.mark.parametrize("page_size", [2, 5, 1000])
def test_a_bad_trade_is_rejected_alone_and_once_with_its_page(page_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the documented shape of Gate. A second with more rows than a response is read page by page."""
    monkeypatch.setattr(gate_history, "ROWS", page_size)
    monkeypatch.setattr(gate_history, "KEPT", {"trades": LATER, "candles": LATER})
    row = {"id": "1", "create_time_ms": f"{T // 1000}.5", "side": "buy", "amount": "1", "price": "2", "sequence_id": "1"}
    rows = [row | {"sequence_id": str(number), "price": "-2" if number == 3 else "2"} for number in range(1, 8)]
    history = gate.history(history_request(gate_session.BTC, "trades", T, T + 60 * SECOND), gate_session.OPTIONS, "rest")
    found = pages(history, gate_trades(rows))
    assert [trade.trade_id for page in found for trade in page.records] == [1, 2, 4, 5, 6, 7]
    (bad,) = [bad_row for page in found for bad_row in page.rejected]
    assert (bad.reason, bad.message) == ("value", "gate: '-2' is not a price or size")
    assert json.loads(bad.payload)["sequence_id"] == "3"


def test_a_page_with_more_bad_rows_than_are_kept_is_not_taken_for_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a response is the number of all of its rows, not only of those that are stored or kept as rejected."""
    monkeypatch.setattr(gate_history, "ROWS", 30)
    monkeypatch.setattr(gate_history, "KEPT", {"trades": LATER, "candles": LATER})
    row = {"id": "1", "create_time_ms": f"{T // 1000}.5", "side": "buy", "amount": "1", "price": "2", "sequence_id": "1"}
    rows = [row | {"sequence_id": str(number), "price": "-2" if number <= 25 else "2"} for number in range(1, 36)]
    history = gate.history(history_request(gate_session.BTC, "trades", T, T + 60 * SECOND), gate_session.OPTIONS, "rest")
    found = pages(history, gate_trades(rows))
    assert [trade.trade_id for page in found for trade in page.records] == list(range(26, 36))


def test_a_bad_trade_among_consecutive_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(okx_history, "ROWS", 3)
    row = {"instId": "BTC-USDT", "side": "buy", "sz": "1", "px": "2", "ts": str(T // 1000)}
    rows = [row | {"tradeId": str(number), "px": "" if number == 5 else "2"} for number in range(1, 9)]

    def exchange(request: Request) -> bytes:
        path, query = path_and_query(request)
        if path.endswith("instruments"):
            return b'{"code":"0","data":[]}'
        field = {"1": "tradeId", "2": "ts"}[query["type"]]
        found = [bad_row for bad_row in rows[::-1] if int(bad_row[field]) < int(query["after"])][: int(query["limit"])]
        return json.dumps({"code": "0", "data": found}).encode()

    wanted = history_request(okx_session.BTC, "trades", T, T + SECOND, (2, 8))
    found = pages(okx.history(wanted, okx_session.OPTIONS, "rest"), exchange)
    assert [trade.trade_id for page in found for trade in page.records] == [2, 3, 4, 6, 7, 8]
    assert [json.loads(bad_row.payload)["tradeId"] for page in found for bad_row in page.rejected] == ["5"]


def test_a_page_has_its_rejected_rows() -> None:
    wanted = history_request(kucoin_session.BTC, "candles", T, T + MINUTE)
    body = {
        "code": "200000",
        "data": [[str(T // SECOND), "1", "1", "2", "1", "5", "6"], [str(T // SECOND), "x", "1", "2", "1", "5", "6"]],
    }
    (page,) = pages(kucoin.history(wanted, kucoin_session.OPTIONS, "rest"), lambda request: json.dumps(body).encode())
    assert (page.records, [bad_row.reason for bad_row in page.rejected]) == ([bar(0)], ["value"])
    assert page_of(wanted, Rows([bar(0)]), Response(200, b"", received_at=LATER)).rejected == ()


# --- refused requests ---------------------------------------------------------------------------------------------------------


def test_an_unknown_channel_or_method_is_refused_with_the_known_ones() -> None:
    history = by_channel("x", {"trades": lambda wanted, options: iter(())}, ("rest", "archive"))  # type: ignore[arg-type,return-value]
    with pytest.raises(Reject, match="x: via is 'ftp'; right would be one of: rest, archive"):
        history(history_request(gate_session.BTC, "trades", 0, 1), gate_session.OPTIONS, "ftp")
    with pytest.raises(Reject, match="x: 'book' has no history; right would be: trades") as refused:
        history(history_request(gate_session.BTC, "book", 0, 1), gate_session.OPTIONS, "rest")
    assert refused.value.reason == "history"
