"""Run an exchange's history as the daemon does, against a fake exchange: a function from a request to the body of its response."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

from ingest.errors import Reject
from ingest.protocol.decode import Malformed
from ingest.protocol.history import History, HistoryRequest, Page
from ingest.protocol.http import Flow, Request, Response
from ingest.protocol.session import ChannelName
from ingest.records import SECOND, Instrument, Record

T = TypeVar("T")
LATER = 2_000_000_000 * SECOND  # a time after every recording
LARGEST_PAGE = 6000

Exchange = Callable[[Request], bytes]


class HistoryResult(NamedTuple):
    """The records of all pages, the `until` of each page, the requests in the order in which they were sent, and the bad rows."""

    records: list[Record]
    untils: list[int]
    requests: list[Request]
    rejected: list[Malformed]


def load_history(history: History, exchange: Exchange, at: int = LATER, made_at: int | None = None) -> HistoryResult:
    """Run `history` to its end. Responses are received at `at`, and `made_at` is their time by the exchange's clock, microseconds.

    A Reject that `exchange` raises is thrown into the history, as the transport does. Fails where `until` goes back, where a record
    is older than the `until` of an earlier page, and where a page is too large.
    """
    result = HistoryResult([], [], [], [])
    try:
        output = next(history)
        while True:
            output = _step(history, output, exchange, result, at=at, made_at=made_at)
    except StopIteration:
        return result


def _step(
    history: History, output: Request | Page, exchange: Exchange, result: HistoryResult, *, at: int, made_at: int | None
) -> Request | Page:
    if isinstance(output, Page):
        before = max(result.untils, default=0)
        assert output.until >= before
        assert all(record.time >= before for record in output.records)
        assert len(output.records) <= LARGEST_PAGE
        result.records.extend(output.records)
        result.untils.append(output.until)
        result.rejected.extend(output.rejected)
        return next(history)
    result.requests.append(output)
    try:
        body = exchange(output)
    except Reject as error:
        return history.throw(error)
    if output.to_file:
        return history.send(Response(200, b"", file=BytesIO(body), received_at=at))
    return history.send(Response(200, body, received_at=at, made_at=made_at))


def run_flow(flow: Flow[T], exchange: Exchange) -> T:
    """The result of a flow of requests."""
    try:
        request = next(flow)
        while True:
            request = flow.send(Response(200, exchange(request), received_at=LATER))
    except StopIteration as stop:
        return stop.value


def path_and_query(request: Request) -> tuple[str, dict[str, str]]:
    """The path of a request's URL, and its query parameters."""
    parts = urlsplit(request.url)
    return parts.path, dict(parse_qsl(parts.query))


def history_request(
    instrument: Instrument, channel: ChannelName, since: int, until: int, ids: tuple[int, int] | None = None
) -> HistoryRequest:
    """A request for [since, until), microseconds; `ids` are the first and the last trade id of a gap."""
    first_id, last_id = ids or (None, None)
    return HistoryRequest(instrument=instrument, channel=channel, since=since, until=until, first_id=first_id, last_id=last_id)
