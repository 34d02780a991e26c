"""Plays recorded frames, some of them mutated, through the session of an exchange, and judges what comes out.

A session may only yield the declared outputs, and no record that its table refuses. What the mutated row was not part of must come
out as without it: every record of the other subscriptions, and the other trades of its message. A message that could not be read
changes no state: the records are then those of the unchanged recording, or of the recording without the bad row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, get_args

from msgspec import Struct, field

from ingest import registry
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Connection, Gap, Output, Reconnect, Refused, Session, Subscription
from ingest.records import SECOND, BookSnapshot, Candle, Quote, Record, Trade
from tests.support.fuzz.faults import MAX_EVIDENCE, Faults
from tests.support.mutations import Choice, Mutant, rows, shortened
from tests.support.recordings.files import Line
from tests.support.recordings.frames import RECORDED, frames, instruments, snapshots
from tests.support.row_checks import refusal

CHANNEL = {Trade: "trades", Candle: "candles", Quote: "quotes", BookSnapshot: "book"}
OUTPUTS = get_args(Output)
REASONS = ("json", "shape", "value", "unknown", "checksum")
EVIDENCE = (Malformed, Gap, Refused, Reconnect)
FRAMES = 6  # of each subscription
BOOK_FRAMES = 14
TICK = 8  # frames between two ticks of the clock
REPORTED = 3700  # seconds after which a session has reported the frames that it only counts
# the books of Coinbase have a websocket of their own
SESSIONS = (*sorted(registry.exchanges()), "coinbase book")
LEVELS = 40  # of a recorded list that are kept: longer ones take most of the time and show nothing more

Topic = tuple[int, str]  # id of the instrument, channel
WELCOME = b'{"id":"1","type":"welcome"}'  # of KuCoin; the others do not know it


class Step(Struct, frozen=True):
    """One frame of a scenario and the subscriptions that it belongs to; none of a reply."""

    line: Line
    topics: frozenset[Topic]


class Scenario(Struct, frozen=True):
    """A part of the recording of an exchange: a few subscriptions with their first frames, and the snapshots of their books."""

    name: str
    subscriptions: tuple[Subscription, ...]
    steps: tuple[Step, ...]
    answers: dict[str, bytes]  # by symbol


class Played(Struct):
    """What a session yielded, step by step. `crash` is the exception that a call raised."""

    name: str  # of the scenario
    outputs: list[list[Output]] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)  # symbols
    crash: str = ""
    slowest: float = 0.0  # seconds of CPU

    def records(self) -> dict[Topic, Counter[Record]]:
        found: dict[Topic, Counter[Record]] = {}
        for outputs in self.outputs:
            for one in outputs:
                if type(one) in CHANNEL:
                    found.setdefault((one.instrument_id, CHANNEL[type(one)]), Counter())[one] += 1  # type: ignore[union-attr]
        return found


def open_session(exchange: Exchange, subscriptions: Sequence[Subscription], now: int) -> Session:
    kind = RECORDED[exchange.NAME].trade_kind or exchange.TRADE_KINDS[0]
    grid = {"book_interval": SECOND // 10, "quotes_interval": SECOND // 10}
    options = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind=kind, writer="one", **grid)
    session = exchange.session(Connection("wss://test", tuple(subscriptions)), options)
    list(session.start(now))
    session.feed(WELCOME, now)
    return session


def exchange_of(name: str) -> Exchange:
    """The exchange of one of SESSIONS."""
    return registry.exchanges()[name.partition(" ")[0]]


@cache
def scenario(name: str) -> Scenario:
    """The scenario of one of SESSIONS. Of each channel it has the two instruments with the most frames."""
    exchange = exchange_of(name)
    own, _, only = name.partition(" ")
    apart = {one for one in exchange.CHANNELS if f"{own} {one}" in SESSIONS}
    channels = [only] if only else [one for one in exchange.CHANNELS if one not in apart]
    lines = [line._replace(text=shortened(line.frame, LEVELS).decode()) for line in frames(own)]
    every = [Subscription(market, channel) for channel in channels for market in instruments(own, exchange)]
    session = open_session(exchange, every, lines[0].time)
    topics = [_topics(session, every, line) for line in lines]
    count = Counter(topic for found in topics for topic in found)
    chosen: set[Topic] = set()
    for channel in channels:
        chosen.update([topic for topic, _ in count.most_common() if topic[1] == channel][:2])
    taken: Counter[Topic | None] = Counter()
    steps: list[Step] = []
    for line, found in zip(lines, topics, strict=True):
        places: list[Topic | None] = [topic for topic in found if topic in chosen] or [None] * (not found)
        if any(taken[place] < (BOOK_FRAMES if place is not None and place[1] == "book" else FRAMES) for place in places):
            taken.update(places)
            steps.append(Step(line, found))
    subscriptions = tuple(one for one in every if (one.instrument.id, one.channel) in chosen)
    symbols = {one.instrument.symbol for one in subscriptions}
    answers = {symbol: shortened(body.encode(), LEVELS) for symbol, body in snapshots(own).items() if symbol in symbols}
    return Scenario(name, subscriptions, tuple(steps), answers)


def _topics(session: Session, subscriptions: Sequence[Subscription], line: Line) -> frozenset[Topic]:
    before = list(session.last_message_at)
    session.feed(line.frame, line.time)
    pairs = zip(before, session.last_message_at, subscriptions, strict=True)
    return frozenset((one.instrument.id, one.channel) for old, new, one in pairs if old != new)


def play(
    of: Scenario, order: Iterable[int], bodies: Mapping[int, bytes], answers: Mapping[str, bytes], without: Container[int] = ()
) -> Played:
    """Feed the frames `order` of a scenario. `bodies` and `answers` replace the recorded ones; time passes for those `without`."""
    played = Played(of.name, [[] for _ in of.steps] + [[]])
    start = of.steps[0].line.time
    session = open_session(exchange_of(of.name), of.subscriptions, start)

    def take(place: int, call: Any, *arguments: Any) -> None:
        began = time.thread_time()
        outputs = list(call(*arguments))
        played.slowest = max(played.slowest, time.thread_time() - began)
        played.outputs[place] += outputs
        for one in outputs:
            if isinstance(one, Request):
                ask(place, one, arguments[-1])

    def ask(place: int, request: Request, now: int) -> None:
        body = answers.get(request.tag, of.answers.get(request.tag))
        if body is None or request.tag in played.answered:  # a snapshot joins the frames of its time only
            take(place, session.failed, request, now)
        else:
            played.answered.add(request.tag)
            take(place, session.answer, request, Response(200, body, received_at=now), now)

    now, ticked = start, 0
    try:
        for place in order:
            while ticked <= place:  # the clock does not depend on the frames
                take(ticked, session.tick, of.steps[ticked].line.time)
                ticked += TICK
            now = max(now, of.steps[place].line.time)
            if place in without:
                continue
            take(place, session.feed, bodies.get(place, of.steps[place].line.frame), now)
        for later in (1, 5, 70, REPORTED):
            take(len(of.steps), session.tick, now + later * SECOND)
    except Exception as error:
        played.crash = f"{type(error).__name__}: {error}"[:300]
    return played


# --- mutated inputs --------------------------------------------------------------------------------------------------------


class Changed(Struct):
    """The inputs of a run: some frames and snapshots mutated, some frames repeated, moved or lost."""

    order: list[int]
    bodies: dict[int, bytes] = {}
    answers: dict[str, bytes] = {}
    kept: dict[int, bytes] = {}  # the same frames without the row that was touched
    kept_answers: dict[str, bytes] = {}
    lost: set[int] = set()  # frames without anything that must be kept
    rows: int = 0  # touched
    loose: set[Topic] = set()  # topics of which any record may differ
    touched: dict[Topic, set[int]] = {}  # the steps that were changed
    kinds: list[str] = []


@cache
def normal(name: str) -> Played:
    """The scenario with nothing changed."""
    of = scenario(name)
    played = play(of, range(len(of.steps)), {}, {})
    assert not played.crash, played.crash
    return played


def change(of: Scenario, choices: Sequence[tuple[int, Choice]]) -> Changed:
    """Apply each choice to the frame of its number, or to a snapshot."""
    changed = Changed(list(range(len(of.steps))))
    symbols = sorted(normal(of.name).answered)
    books = {one.instrument.symbol: (one.instrument.id, "book") for one in of.subscriptions}
    for number, choice in choices:
        place = number % (len(of.steps) + len(symbols))
        if place >= len(of.steps):
            symbol = symbols[place - len(of.steps)]
            if symbol not in changed.answers:
                mutant = rows(of.answers[symbol]).mutate(choice)
                changed.answers[symbol], changed.kept_answers[symbol] = mutant.body, mutant.rest or of.answers[symbol]
                _note(changed, mutant.kind, {books[symbol]}, len(of.steps))
                if not mutant.exact or mutant.rest is None:
                    changed.loose.add(books[symbol])
        elif place not in changed.bodies and place not in changed.lost:
            if choice.kind % 20 == 19:
                _move(of, changed, place, choice.kind // 20)
            else:
                _mutate(of, changed, place, rows(of.steps[place].line.frame).mutate(choice))
    return changed


def _note(changed: Changed, kind: str, topics: Iterable[Topic], place: int) -> None:
    changed.kinds.append(kind)
    for topic in topics:
        changed.touched.setdefault(topic, set()).add(place)


def _mutate(of: Scenario, changed: Changed, place: int, mutant: Mutant) -> None:
    changed.bodies[place] = mutant.body
    changed.rows += mutant.rows
    empty = mutant.rest is None and mutant.kind == "value b'[]'"  # a message without rows, as a market without trades has
    _note(changed, "rows dropped" if empty else mutant.kind, of.steps[place].topics, place)
    if mutant.rest is None:
        changed.lost.add(place)
    else:
        changed.kept[place] = mutant.rest
    if not mutant.exact and (mutant.rest is not None or mutant.kind.startswith("byte")):
        changed.loose.update(of.steps[place].topics)


def _move(of: Scenario, changed: Changed, place: int, way: int) -> None:
    """A whole frame repeated, sent after the next one, or lost."""
    at = changed.order.index(place)
    match way % 3:
        case 0:
            changed.order.insert(at, place)
        case 1:
            changed.order[at : at + 2] = reversed(changed.order[at : at + 2])
        case _:
            changed.lost.add(place)
            changed.order.remove(place)
    moved = of.steps[place].topics.union(*(of.steps[other].topics for other in changed.order[at : at + 2]))
    _note(changed, ("frame repeated", "frames reordered", "frame lost")[way % 3], moved, place)
    changed.loose.update(topic for topic in moved if topic[1] != "trades")


def judge(name: str, choices: Sequence[tuple[int, Choice]]) -> Faults:
    """Play the mutated frames, and again without the rows that were touched, and compare."""
    of = scenario(name)
    changed = change(of, choices)
    played = play(of, changed.order, changed.bodies, changed.answers)
    faults = Faults(kinds=changed.kinds, inputs=[*changed.bodies.values(), *changed.answers.values()])
    faults.judge_time(played.slowest)
    if played.crash:
        faults.found.append(f"crash: {played.crash}")
        return faults
    for outputs in played.outputs:
        faults.found += [f"output: {type(one).__name__} is not declared" for one in outputs if not isinstance(one, OUTPUTS)]
        faults.found += [
            f"output: the reason {one.reason!r}" for one in outputs if type(one) is Malformed and one.reason not in REASONS
        ]
        faults.judge_evidence(outputs, 2 * MAX_EVIDENCE)  # a repeated frame is one step
    kept = play(of, changed.order, changed.kept, changed.kept_answers, changed.lost)
    before, after, without = normal(name).records(), played.records(), kept.records()
    for topic in before.keys() | after.keys():
        right, now, rest = before.get(topic, Counter()), after.get(topic, Counter()), without.get(topic, Counter())
        for record in now.keys() - right.keys():
            if why := refusal(record, record.received_at):
                faults.found.append(f"wrong row: {why}: {record}")
        if topic not in changed.touched:
            faults.found += _difference("a subscription that was not touched", topic, right - now, now.keys() - right.keys())
        elif topic[1] == "trades":
            faults.found += _judge_trades(faults, played, changed, topic, (right, now, rest))
        elif topic not in changed.loose and len(changed.touched[topic]) == 1:
            faults.found += _judge_states(of, played, changed, topic, now.keys() - right.keys() - rest.keys())
    return faults


def _judge_states(of: Scenario, played: Played, changed: Changed, topic: Topic, states: set[Record]) -> list[str]:
    """After a message that could not be read, no state may come that the recording has neither with it nor without it."""
    (place,) = changed.touched[topic]
    if not states or not _is_told(played, changed, topic):
        return []
    without = play(of, changed.order, {}, {}, {place}).records()
    wrong = states - without.get(topic, Counter()).keys()
    return [f"wrong row: a state that never was, after an unreadable message: {one}" for one in wrong][:2]


def _judge_trades(
    faults: Faults, played: Played, changed: Changed, topic: Topic, records: tuple[Counter[Record], ...]
) -> list[str]:
    """Trades depend on no state: those of the rows that were not touched are the same, and none is lost without a word."""
    right, now, rest = records
    more = now.keys() - rest.keys() - right.keys()  # a row of the recording may come back, as with a doubled member
    found = [] if topic in changed.loose else _difference("beside the touched row", topic, rest - now, more, changed.rows)
    whole = changed.touched[topic] <= changed.bodies.keys() and not faults.may_be_silent()
    told = _is_told(played, changed, topic) or _is_counted(played)
    if whole and right - now and not told and not now.keys() - right.keys():
        found.append(f"silent: {topic} has lost {(right - now).total()} trades without a word")
    return found


def _difference(where: str, topic: Topic, lost: Counter[Record], more: Collection[Record], extra: int = 0) -> list[str]:
    found = [f"lost neighbour: {where}, {topic}: {lost.total()} records, such as {next(iter(lost))}"] if lost else []
    return found + (
        [f"wrong row: {where}, {topic}: {len(more)} more records, such as {next(iter(more))}"] if len(more) > extra else []
    )


def _is_told(played: Played, changed: Changed, topic: Topic) -> bool:
    """Whether an output says that a message of the topic could not be read."""
    return any(isinstance(one, EVIDENCE) for place in changed.touched[topic] for one in played.outputs[place])


def _is_counted(played: Played) -> bool:
    """Whether the hourly report has other frames than that of the recording: of each kind only the first is evidence by itself."""
    usual = normal(played.name).outputs[-1]
    return any(type(one) is Malformed and one not in usual for one in played.outputs[-1])
