"""Runs a history as the daemon does, with a function from request to response as the exchange."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from ingest.errors import Reject
from ingest.protocol.history import History, HistoryRequest, Page
from ingest.protocol.http import Request, Response
from ingest.protocol.session import ChannelName
from ingest.records import SECOND, Instrument, Record

LATER = 2_000_000_000 * SECOND  # a time after all recordings
LARGEST_PAGE = 6000

Exchange = Callable[[Request], bytes]


class Told(NamedTuple):
    records: list[Record]
    untils: list[int]
    requests: list[Request]


def tell(history: History, exchange: Exchange, at: int = LATER, made_at: int | None = None) -> Told:
    """Run a history to its end. A Reject of `exchange` is thrown into it, as by the transport. Responses are received `at`.

    Asserts that no page has records before the time up to which an earlier page is complete.
    """
    told = Told([], [], [])
    try:
        said = next(history)
        while True:
            said = step(history, said, exchange, told, at, made_at=made_at)
    except StopIteration:
        return told


def step(
    history: History, said: Request | Page, exchange: Exchange, told: Told, at: int, *, made_at: int | None = None
) -> Request | Page:
    if isinstance(said, Page):
        before = max(told.untils, default=0)
        assert said.until >= before
        assert all(record.time >= before for record in said.records)
        assert len(said.records) <= LARGEST_PAGE
        told.records.extend(said.records)
        told.untils.append(said.until)
        return next(history)
    told.requests.append(said)
    try:
        body = exchange(said)
    except Reject as error:
        return history.throw(error)
    if said.to_file:
        return history.send(Response(200, b"", file=BytesIO(body), received_at=at))
    return history.send(Response(200, body, received_at=at, made_at=made_at))


def path_and_query(request: Request) -> tuple[str, dict[str, str]]:
    parts = urlsplit(request.url)
    return parts.path, dict(parse_qsl(parts.query))


def ask(instrument: Instrument, channel: ChannelName, since: int, until: int, ids: tuple[int, int] | None = None) -> HistoryRequest:
    first_id, last_id = ids or (None, None)
    return HistoryRequest(instrument=instrument, channel=channel, since=since, until=until, first_id=first_id, last_id=last_id)
