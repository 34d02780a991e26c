"""Paging through an exchange's history by REST. The exchange gives the questions and reads the answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from ingest.errors import Reject
from ingest.marketdata.rest import Rows
from ingest.protocol.exchange import Options
from ingest.protocol.history import History, HistoryRequest, Page
from ingest.protocol.http import Request, Response, answer_to
from ingest.protocol.session import ChannelName
from ingest.records import MINUTE, Candle, Instrument, Record, Trade

T = TypeVar("T")
R = TypeVar("R", bound=Record)
Fetch = Generator[Request, Response | None, T]  # questions within a history, and what their answers say
ChannelHistory = Callable[[HistoryRequest, Options], History]


def by_channel(
    name: str, histories: Mapping[ChannelName, ChannelHistory], via: tuple[str, ...] = ("rest",)
) -> Callable[[HistoryRequest, Options, str], History]:
    """The `history` of an exchange that has these channels' past; it raises Reject for any other."""

    def history(ask: HistoryRequest, options: Options, chosen: str) -> History:
        if chosen not in via:
            raise Reject(f"{name}: no way '{chosen}' to the past; known: {', '.join(via)}", reason="history")
        if ask.channel not in histories:
            raise Reject(f"{name}: no past of '{ask.channel}'; there is one of: {', '.join(histories)}", reason="history")
        return histories[ask.channel](ask, options)

    return history


def page_of(ask: HistoryRequest, records: Rows[R], response: Response, until: int | None = None) -> Page:
    """A page with the evidence of the rows that are bad."""
    return ask.page(records, response, until, records.rejected)


def too_old(name: str, ask: HistoryRequest, kept: str, oldest: int) -> Reject:
    """What is asked for is older than what the exchange keeps; `oldest` in microseconds."""
    message = f"{name}: {ask.instrument.symbol}: {kept}, since {oldest} us; asked for since {ask.since} us"
    return Reject(message, reason="history", code=str(oldest))


def candle_windows(
    ask: HistoryRequest,
    options: Options,
    *,
    size: int,
    question: Callable[[HistoryRequest, Options, int, int], Request],
    read: Callable[[bytes, Instrument, int], Rows[Candle]],
    begin: int | None = None,
) -> History:
    """Windows of `size` minutes. `question` is for the bars [first, last], both inclusive: their times in microseconds."""
    cursor = (ask.since if begin is None else begin) // MINUTE * MINUTE
    while cursor < ask.until:
        last = min(cursor + (size - 1) * MINUTE, (ask.until - 1) // MINUTE * MINUTE)
        response = yield from answer_to(question(ask, options, cursor, last))
        candles = read(response.body, ask.instrument, response.received_at)
        within = candles.select(candle for candle in candles if cursor <= candle.time <= last)
        yield page_of(ask, within, response, last + MINUTE)
        cursor = last + MINUTE


def trades_by_id(
    ask: HistoryRequest,
    *,
    size: int,
    first: int,
    last: int,
    fetch: Callable[[int, int], Fetch[Rows[Trade]]],
    response: Response,
) -> History:
    """Consecutive ids [first, last], `size` at a time; `fetch` gives those of [first, last], oldest first. `response` is the one
    that gave the last id: nothing later is known to be complete.
    """
    cursor = first
    while cursor <= last:
        end = min(cursor + size - 1, last)
        trades = yield from fetch(cursor, end)
        if trades:
            yield page_of(ask, trades, response, trades[-1].time)
            if ask.is_past(trades[-1]):
                break
        cursor = end + 1
    yield ask.page((), response)
