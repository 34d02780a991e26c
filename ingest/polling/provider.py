"""The contract of a polled provider, and functions that providers share.

A turn is a generator. It yields requests and receives their answers, yields records, and returns the cursor for the next turn.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from msgspec import Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.polling.db_queries import Filtered, Prices, PricesAt, ReorgedBlock
from ingest.polling.html_page import refuse_page
from ingest.protocol.decode import UNREADABLE, Malformed, decode_mended, malformed
from ingest.protocol.exchange import ExchangeLimits
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Connection, Session
from ingest.records import Asset, Record
from ingest.text.sentiment_label import Score, no_score

T = TypeVar("T")
REFUSED = ("401", "403")  # HTTP statuses that refuse the key or the address, whatever the request


class Plan(Struct, frozen=True, kw_only=True):
    """The address, key, limits and terms of one plan of a provider.

    The poller derives the interval between turns from it: the requests of a turn must fit into both budgets.
    """

    base_url: str
    key: str = ""  # the header or query parameter that carries the key; empty if no key is needed
    key_in: Literal["header", "query"] = "header"
    per_minute: int  # requests
    per_month: int | None = None  # requests
    interval: float  # the least number of seconds between turns: new data does not come more often
    pause: float = 0.0  # seconds without requests after a 429, for a provider that penalises early retries
    history_days: int | None = None  # days of history that the plan includes; None: all
    spread: bool = False  # space the requests of a minute evenly, for a provider with a limit per second
    requests: int  # requests of a turn for each `per`
    per: Literal["turn", "coin", "channel"] = "turn"
    batch: int = 1  # coins or channels that one request covers
    terms: str  # the URL of the terms of use, and what they demand
    default_on: bool = True  # False if the terms forbid commercial use


class PollOptions(Struct, frozen=True, kw_only=True):
    """The configuration of a provider. `headers`, or `secret` for `Request.secret`, carry the key, so that no URL contains it."""

    base_url: str
    plan: str = ""  # its name in PLANS
    headers: dict[str, str] = {}
    secret: dict[str, str] = {}
    assets: tuple[Asset, ...] = ()
    channels: tuple[str, ...] = ()
    score: Score = no_score
    min_usd: int = 1_000_000  # smaller transfers are not reported
    labels: Mapping[str, str] = {}  # owner by address


class Missed(Struct, frozen=True):
    """A part of a turn that failed, and its error: for example a coin that the provider does not know. Other parts are reported."""

    name: str
    error: Reject


# An element of an answer that cannot be read becomes a `Malformed` among the records: it is counted and kept as evidence, and the
# other elements are stored. A `Filtered` counts the elements that a rule excludes.
Emitted: TypeAlias = Record | Malformed | Filtered | Missed
Step: TypeAlias = PricesAt | ReorgedBlock | Sequence[Emitted]
# One turn. The answer to a request or query is sent in, None after records. The return value is the cursor for the next turn.
Poll: TypeAlias = Generator[Request | Step, Response | Prices | None, str]
# some requests of a turn, and what their answers contain; an empty list lets other tasks run before the rest of an answer is read
Part: TypeAlias = Generator[Request | PricesAt | list[Any], Any, T]


class Provider(Protocol):
    """One polled provider: a module in ingest/pollers, or an entry point of the group `ingest.pollers`."""

    NAME: str
    TABLES: tuple[str, ...]
    PLANS: Mapping[str, Plan]
    ASSETS: Mapping[str, str]  # the provider's id of each coin, by symbol; empty if requests name no coin

    def poll(self, options: PollOptions, cursor: str, /) -> Poll:
        """One turn. `cursor` is the return value of the last turn, '' at first. Raises Reject for an answer that cannot be read."""


@runtime_checkable
class Streaming(Protocol):
    """Further members of a `Provider` that sends data over a websocket under the plans in `STREAMED`; the other plans are polled.

    A provider does not repeat data that it sent while no client was connected, so its data may have gaps.
    """

    STREAMED: tuple[str, ...]
    LIMITS: ExchangeLimits

    def connection(self, options: PollOptions, /) -> Connection:
        """The websocket to open, without subscriptions; the URL contains the key."""

    def session(self, options: PollOptions, /) -> Session:
        """The state of one connection that is about to open."""


def run_parts(parts: Iterable[tuple[str, Part[Sequence[Emitted]]]]) -> Generator[Any, Any, bool]:
    """Run the named parts of a turn one after the other and report their records. Returns whether all of them succeeded.

    A part that raises Reject is reported as `Missed`. If every part fails, the first error is raised; an error that refuses the key
    is raised at once. A turn with a missed part keeps its cursor.
    """
    succeeded, first_error = 0, None
    for name, part in parts:
        try:
            yield (yield from part)
            succeeded += 1
        except Reject as error:
            if error.code in REFUSED:
                raise
            first_error = first_error or error
            yield [Missed(name, error)]
    if first_error is not None and not succeeded:
        raise first_error
    return first_error is None


def run_day_parts(parts: Iterable[tuple[str, Part[Sequence[Emitted]]]], cursor: str, since: int) -> Poll:
    """A turn whose parts are series of days. Reports the days from `since` (microseconds) on, and what is malformed or filtered.

    Returns the cursor: the oldest of the newest days of the parts, in microseconds; the old cursor if a part is missed.
    """
    newest: list[int] = []

    def recent(part: Part[Sequence[Emitted]]) -> Part[Sequence[Emitted]]:
        days = yield from part
        times = [time for day in days if (time := _time(day)) is not None]
        newest.extend([max(times)] if times else [])
        return within(days, since)

    complete = yield from run_parts((name, recent(part)) for name, part in parts)
    return str(min(newest)) if complete and newest else cursor


def within(emitted: Iterable[Emitted], since: int, until: int | None = None) -> list[Emitted]:
    """The records of [since, until), microseconds, and what has no time: malformed elements, and counts of filtered ones."""
    times = ((_time(one), one) for one in emitted)
    return [one for time, one in times if time is None or (since <= time and (until is None or time < until))]


def _time(emitted: Emitted) -> int | None:
    """The time of a record; None for anything else."""
    return None if isinstance(emitted, Malformed | Filtered | Missed) else emitted.time


def must_have(rows: Sequence[T], what: str) -> None:
    """Raises Reject for an answer without rows, where the range or list that was requested must have some: it proves nothing."""
    if not rows:
        raise Reject(f"{what}: the answer is empty; right would be some rows", reason="shape")


def start_of(cursor: str, overlap: int) -> int:
    """The time from which a turn reports: `overlap` before the time in its cursor (all in microseconds); 0 without a cursor."""
    return int(cursor) - overlap if cursor else 0


def decoded(response: Response, decoder: Decoder[T]) -> T:
    """The decoded body. Raises Reject (json, shape, value) if it is anything else: an HTML page, an error, half an answer."""
    try:
        return decode_mended(decoder.decode, response.body)
    except UNREADABLE as error:
        bad = malformed(response.body, error)
        refuse_page(response.body, bad.reason, f"{bad.message}: ")
        raise Reject(bad.message, reason=bad.reason) from error
