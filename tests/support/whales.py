"""Runs turns of the pollers of large transfers without a network, and returns their requests and results."""

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


class Told(Struct):
    """The result of one turn: requested paths, requested prices, reorganised blocks, records, malformed rows, and the cursor."""

    asked: list[str] = field(default_factory=list)
    priced: list[PricesAt] = field(default_factory=list)
    orphans: list[ReorgedBlock] = field(default_factory=list)
    records: list[WhaleTransaction] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    cursor: str = ""


def turn(module: Any, options: PollOptions, answer: Callable[[str], bytes], prices: Mapping[str, str], *, cursor: str = "") -> Told:
    """Run one turn. `answer` returns the response for a path, which is the part of the URL after the base URL."""
    return drive(module.poll(options, cursor), options, answer, prices)


def past(
    module: Any, options: PollOptions, span: tuple[int, int], answer: Callable[[str], bytes], prices: Mapping[str, str]
) -> Told:
    """Run the history of `span`, in microseconds."""
    return drive(module.history(options, *span), options, answer, prices)


def drive(flow: Poll, options: PollOptions, answer: Callable[[str], bytes], prices: Mapping[str, str]) -> Told:
    """Run a turn or history to its end."""
    told = Told()
    try:
        step = next(flow)
        while True:
            if isinstance(step, Request):
                assert not any(secret in step.url for secret in options.secret.values())
                path = step.url.removeprefix(options.base_url)
                told.asked.append(path)
                step = flow.send(Response(200, answer(path), received_at=NOW))
            elif isinstance(step, PricesAt):
                told.priced.append(step)
                step = flow.send({one: prices[one] for one in step.symbols if one in prices})
            elif isinstance(step, ReorgedBlock):
                told.orphans.append(step)
                step = next(flow)
            else:
                told.records += [one for one in step if isinstance(one, WhaleTransaction)]
                told.malformed += [one for one in step if isinstance(one, Malformed)]
                step = next(flow)
    except StopIteration as done:
        told.cursor = done.value
    return told
