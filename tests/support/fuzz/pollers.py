"""Runs a turn or a history of a poller whose answers are mutated, and judges what comes out.

A turn may yield the declared steps and end, or raise Reject or Retry. It yields no record that its table refuses, and asks for no
more than `MAX_REQUESTS`. Where one row of an answer was mutated, the records of the others come out as without that row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_args

from msgspec import Struct, field

from ingest import registry
from ingest.errors import Reject, Retry
from ingest.polling.checked import EARLIEST, LATEST
from ingest.polling.db_queries import Filtered, PricesAt, ReorgedBlock
from ingest.polling.provider import Missed
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.records import Record
from tests.support.fuzz.faults import MAX_EVIDENCE, Faults
from tests.support.mutations import MANY, Choice, Mutant, rows
from tests.support.provider_cases import CASES, HISTORIES, Case
from tests.support.row_checks import refusal

RECORDS = get_args(Record)
MAX_CURSOR = 1_000_000  # characters: it is written after each turn
MAX_REQUESTS = 2 * MANY  # of a turn: a poller may ask for each row of an answer


class Turned(Struct):
    """What a turn yielded. `error` is the Reject or Retry that it raised, `crash` any other exception."""

    bodies: list[bytes] = field(default_factory=list)
    records: Counter[Record] = field(default_factory=Counter)
    told: list[Malformed | Filtered | Missed] = field(default_factory=list)
    undeclared: list[str] = field(default_factory=list)
    error: str = ""
    crash: str = ""
    slowest: float = 0.0


@cache
def case(name: str) -> Case:
    return (CASES | HISTORIES)[name]()


@cache
def normal(name: str) -> Turned:
    """The turn with nothing changed."""
    turned = run(name, {})
    assert turned.records and not (turned.crash or turned.error or turned.undeclared), (name, turned)
    return turned


def run(name: str, bodies: Mapping[int, bytes]) -> Turned:
    """One turn or history. `bodies` replace the answers to the requests of these numbers."""
    of, turned = case(name), Turned()
    answer = of.answer()
    module: Any = registry.pollers()[name.partition(" ")[0]]
    flow = module.poll(of.options, of.cursor) if of.span is None else module.history(of.options, *of.span)
    sent: Any = None
    thrown: Exception | None = None
    try:
        while len(turned.bodies) <= MAX_REQUESTS:
            began = time.thread_time()
            step = flow.throw(thrown) if thrown is not None else flow.send(sent)
            turned.slowest = max(turned.slowest, time.thread_time() - began)
            sent, thrown = None, None
            match step:
                case Request():
                    number = len(turned.bodies)
                    try:
                        body = answer(step.url.removeprefix("http://x"))
                    except (AssertionError, KeyError, StopIteration, ValueError) as error:  # the server has no such block
                        thrown, body = Reject(f"404: {error!r}"[:80], reason="http", code="404"), b""
                    turned.bodies.append(body)
                    sent = Response(200, bodies.get(number, body), received_at=of.now)
                case PricesAt():
                    if not EARLIEST <= step.time < LATEST:
                        turned.undeclared.append(f"output: a query for prices at {step.time}")
                    sent = {symbol: of.prices[symbol] for symbol in step.symbols if symbol in of.prices}
                case ReorgedBlock():
                    pass
                case _:
                    _take(turned, step)
        turned.undeclared.append(f"output: more than {MAX_REQUESTS} requests")
    except StopIteration as done:
        if not isinstance(done.value, str) or "\0" in done.value or len(done.value) > MAX_CURSOR:
            turned.undeclared.append(f"output: the cursor {done.value!r:.200}")
    except (Reject, Retry) as error:
        turned.error = f"{type(error).__name__}: {error}"[:200]
    except Exception as error:
        turned.crash = f"{type(error).__name__}: {error}"[:300]
    return turned


def _take(turned: Turned, step: Any) -> None:
    if not isinstance(step, Sequence):
        turned.undeclared.append(f"output: {type(step).__name__} is not declared")
        return
    for one in step:
        if isinstance(one, Malformed | Filtered | Missed):
            turned.told.append(one)
        elif isinstance(one, RECORDS):
            turned.records[one] += 1
        else:
            turned.undeclared.append(f"output: {type(one).__name__} is not declared")


def judge(name: str, choices: Sequence[tuple[int, Choice]]) -> Faults:
    """Mutate the answers of these numbers, run the turn, and again without the rows that were touched, and compare."""
    of, usual = case(name), normal(name)
    mutants: dict[int, Mutant] = {}
    for number, choice in choices:
        place = number % len(usual.bodies)
        if place not in mutants:
            mutants[place] = rows(usual.bodies[place], outermost=True, pattern=of.pattern).mutate(choice)
    turned = run(name, {place: mutant.body for place, mutant in mutants.items()})
    faults = Faults(kinds=[mutant.kind for mutant in mutants.values()], inputs=[mutant.body for mutant in mutants.values()])
    faults.judge_time(turned.slowest)
    if turned.crash:
        faults.found.append(f"crash: {turned.crash}")
        return faults
    faults.found += turned.undeclared
    faults.judge_evidence(turned.told, MAX_EVIDENCE * len(usual.bodies))
    for record in turned.records.keys() - usual.records.keys():
        if why := refusal(record, of.now):
            faults.found.append(f"wrong row: {why}: {record}")
    if of.apart and all(mutant.exact and mutant.rest is not None for mutant in mutants.values()):
        _judge_rows(faults, name, mutants, turned)
    return faults


def _judge_rows(faults: Faults, name: str, mutants: Mapping[int, Mutant], turned: Turned) -> None:
    """Only the records of the touched rows may differ, and none is lost without a word."""
    of, usual = case(name), normal(name)
    rest = run(name, {place: mutant.rest for place, mutant in mutants.items() if mutant.rest is not None})
    touched = sum(mutant.rows for mutant in mutants.values())
    joined = not of.joined.isdisjoint(mutants)
    lost = usual.records - turned.records if joined else rest.records - turned.records
    if lost.total() > (2 * touched if joined else 0) and not rest.error:
        faults.found.append(f"lost neighbour: {turned.error or lost.total()}, such as {next(iter(lost))}")
    new = turned.records.keys() - rest.records.keys() - usual.records.keys()
    if len(new) > (1 + joined) * touched * max(1, (usual.records - rest.records).total()):
        faults.found.append(f"wrong row: {len(new)} more records, such as {next(iter(new))}")
    lost = usual.records - turned.records
    markup = of.pattern is not None and b"<" in usual.bodies[0]  # an element of another name or class is no row
    # a row that completes a record may lack values, as `{}` does: the record is there
    completes = joined and turned.records.total() >= usual.records.total()
    if lost and not new and not (completes or turned.told or turned.error or markup or of.selects or faults.may_be_silent()):
        faults.found.append(f"silent: {lost.total()} records are lost without a word, such as {next(iter(lost))}")
