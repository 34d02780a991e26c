"""A turn or a history of a poller of large transfers, run without a network and without a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from ingest.polling.db_queries import PricesAt, ReorgedBlock
from ingest.polling.provider import Poll, PollOptions
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.records import SECOND, WhaleTransaction

NOW = 1_795_176_000 * SECOND


class TurnResult(Struct):
    """What a turn yielded, by kind, and the cursor at its end."""

    paths: list[str] = field(default_factory=list)  # of the requests: what follows the base URL
    price_requests: list[PricesAt] = field(default_factory=list)
    reorged: list[ReorgedBlock] = field(default_factory=list)
    records: list[WhaleTransaction] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    cursor: str = ""


def turn(
    module: Any, options: PollOptions, answer: Callable[[str], bytes], prices: Mapping[str, str], *, cursor: str = ""
) -> TurnResult:
    """Run a turn. `answer` makes the body of a response from the part of the URL that follows the base URL."""
    return drive(module.poll(options, cursor), options, answer, prices)


def run_history(
    module: Any, options: PollOptions, span: tuple[int, int], answer: Callable[[str], bytes], prices: Mapping[str, str]
) -> TurnResult:
    """Run the history of `span`, which is [since, until) in microseconds."""
    return drive(module.history(options, *span), options, answer, prices)


def drive(flow: Poll, options: PollOptions, answer: Callable[[str], bytes], prices: Mapping[str, str]) -> TurnResult:
    """Run a turn or a history to its end. `prices` are those of USD by symbol. No URL may contain a secret."""
    result = TurnResult()
    try:
        step = next(flow)
        while True:
            if isinstance(step, Request):
                assert not any(secret in step.url for secret in options.secret.values())
                path = step.url.removeprefix(options.base_url)
                result.paths.append(path)
                step = flow.send(Response(200, answer(path), received_at=NOW))
            elif isinstance(step, PricesAt):
                result.price_requests.append(step)
                step = flow.send({symbol: prices[symbol] for symbol in step.symbols if symbol in prices})
            elif isinstance(step, ReorgedBlock):
                result.reorged.append(step)
                step = next(flow)
            else:
                result.records += [row for row in step if isinstance(row, WhaleTransaction)]
                result.malformed += [row for row in step if isinstance(row, Malformed)]
                step = next(flow)
    except StopIteration as done:
        result.cursor = done.value
    return result
