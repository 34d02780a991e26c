"""Paging through an exchange's history by REST. The exchange's module makes the requests and reads the responses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from ingest.errors import Reject
from ingest.marketdata.rest import Rows
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import History, HistoryRequest, Page
from ingest.protocol.http import Request, Response, answer_to
from ingest.protocol.session import ChannelName
from ingest.records import MINUTE, Candle, Instrument, Record, Trade

T = TypeVar("T")
R = TypeVar("R", bound=Record)
Fetch = Generator[Request, Response | None, T]  # requests within a history, with a result
ChannelHistory = Callable[[HistoryRequest, ExchangeOptions], History]


def by_channel(
    name: str, histories: Mapping[ChannelName, ChannelHistory], via: tuple[str, ...] = ("rest",)
) -> Callable[[HistoryRequest, ExchangeOptions, str], History]:
    """The `history` of an exchange that has these channels and these `via`; it raises Reject for any other."""

    def history(request: HistoryRequest, options: ExchangeOptions, chosen: str) -> History:
        if chosen not in via:
            raise Reject(f"{name}: via is '{chosen}'; right would be one of: {', '.join(via)}", reason="history")
        if request.channel not in histories:
            raise Reject(f"{name}: '{request.channel}' has no history; right would be: {', '.join(histories)}", reason="history")
        return histories[request.channel](request, options)

    return history


def page_of(request: HistoryRequest, records: Rows[R], response: Response, until: int | None = None) -> Page:
    """A page of these records, with the rows that could not be read."""
    return request.page(records, response, until, records.rejected)


def too_old(name: str, request: HistoryRequest, kept: str, oldest: int) -> Reject:
    """The error for a request of older records than the exchange keeps, which begin at `oldest` microseconds."""
    message = f"{name}: {request.instrument.symbol}: {kept}, since {oldest} us; requested since {request.since} us"
    return Reject(message, reason="history", code=str(oldest))


def candle_windows(
    request: HistoryRequest,
    options: ExchangeOptions,
    *,
    size: int,
    make_request: Callable[[HistoryRequest, ExchangeOptions, int, int], Request],
    read: Callable[[bytes, Instrument, int], Rows[Candle]],
    begin: int | None = None,
) -> History:
    """Pages of `size` minutes. `make_request` gets the times of the first and the last bar, both inclusive, in microseconds."""
    cursor = (request.since if begin is None else begin) // MINUTE * MINUTE
    while cursor < request.until:
        last = min(cursor + (size - 1) * MINUTE, (request.until - 1) // MINUTE * MINUTE)
        response = yield from answer_to(make_request(request, options, cursor, last))
        candles = read(response.body, request.instrument, response.received_at)
        within = candles.select(candle for candle in candles if cursor <= candle.time <= last)
        yield page_of(request, within, response, last + MINUTE)
        cursor = last + MINUTE


def trades_by_id(
    request: HistoryRequest,
    *,
    size: int,
    first: int,
    last: int,
    fetch: Callable[[int, int], Fetch[Rows[Trade]]],
    response: Response,
) -> History:
    """Pages of `size` consecutive ids from `first` to `last`. `fetch` returns the trades of an inclusive range, oldest first.
    `response` is the one that had the last id: no later time is complete.
    """
    cursor = first
    while cursor <= last:
        end = min(cursor + size - 1, last)
        trades = yield from fetch(cursor, end)
        if trades:
            yield page_of(request, trades, response, trades[-1].time)
            if request.is_past(trades[-1]):
                break
        cursor = end + 1
    yield request.page((), response)
