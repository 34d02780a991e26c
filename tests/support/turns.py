"""A turn or a history of a provider's module, run without a network: its requests, and its records of the responses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from ingest.polling.provider import PollOptions
from ingest.protocol.http import Request, Response
from ingest.records import SECOND

NOW = 1_795_176_000 * SECOND  # 2026-11-20


class TurnResult(Struct):
    """The requests of a turn, its records, and the cursor at its end."""

    requests: list[Request] = []
    records: list[Any] = []
    cursor: str = ""

    @property
    def urls(self) -> list[str]:
        return [request.url for request in self.requests]


def micros(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc, arg-type]


def drive(flow: Any, *bodies: bytes, now: int = NOW) -> TurnResult:
    """Run a turn or a history to its end. `bodies` are the responses to its requests, in order, received at `now`."""
    result, answers = TurnResult([], []), iter(bodies)
    step = next(flow)
    while True:
        try:
            if isinstance(step, Request):
                result.requests.append(step)
                step = flow.send(Response(200, next(answers), received_at=now))
            else:
                result.records += step
                step = next(flow)
        except StopIteration as done:
            result.cursor = done.value
            return result


def turn(module: Any, *bodies: bytes, cursor: str = "", now: int = NOW, **options: Any) -> TurnResult:
    return drive(module.poll(PollOptions(base_url="http://x", **options), cursor), *bodies, now=now)


def run_history(module: Any, since: int, until: int, *bodies: bytes, now: int = NOW, **options: Any) -> TurnResult:
    return drive(module.history(PollOptions(base_url="http://x", **options), since, until), *bodies, now=now)


def returned(part: Any) -> Any:
    """What a part of a turn returns that makes no request: it yields only empty lists, to let other tasks run."""
    while True:
        try:
            assert next(part) == []
        except StopIteration as done:
            return done.value
