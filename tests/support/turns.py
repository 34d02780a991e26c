"""Runs one turn of a provider's module without a network, and returns its requests and records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from ingest.polling.provider import PollOptions
from ingest.protocol.http import Request, Response
from ingest.records import SECOND

NOW = 1_795_176_000 * SECOND  # 2026-11-20


class Told(Struct):
    """The requests of a turn, its records, and the cursor that it ended with."""

    requests: list[Request] = []
    records: list[Any] = []
    cursor: str = ""

    @property
    def urls(self) -> list[str]:
        return [request.url for request in self.requests]


def micros(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc, arg-type]


def take(flow: Any, *bodies: bytes, now: int = NOW) -> Told:
    """Run the turn or history `flow` to its end; `bodies` are the responses, in order."""
    told, answers = Told([], []), iter(bodies)
    step = next(flow)
    while True:
        try:
            if isinstance(step, Request):
                told.requests.append(step)
                step = flow.send(Response(200, next(answers), received_at=now))
            else:
                told.records += step
                step = next(flow)
        except StopIteration as done:
            told.cursor = done.value
            return told


def turn(module: Any, *bodies: bytes, cursor: str = "", now: int = NOW, **options: Any) -> Told:
    return take(module.poll(PollOptions(base_url="http://x", **options), cursor), *bodies, now=now)


def past(module: Any, since: int, until: int, *bodies: bytes, now: int = NOW, **options: Any) -> Told:
    return take(module.history(PollOptions(base_url="http://x", **options), since, until), *bodies, now=now)
