"""What is polled: the contract of a provider's module. `flow` is what exchanges and providers have in common.

A turn is a generator: it yields requests and is sent their answers, and yields records; it ends with the cursor for the next turn.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

from msgspec import Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.polling.db_queries import Filtered, Prices, PricesAt, ReorgedBlock
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.http import Request, Response
from ingest.records import Asset, Record
from ingest.text.sentiment_label import Score, no_score

T = TypeVar("T")


class Plan(Struct, frozen=True, kw_only=True):
    """How a provider may be asked. Its interval is derived: `requests` of a turn must fit into both budgets."""

    base_url: str
    key: str = ""  # the header that carries the key, or the parameter of the query; empty where none is needed
    key_in: Literal["header", "query"] = "header"
    per_minute: int
    per_month: int | None = None
    interval: float  # seconds; more often there is nothing new
    pause: float = 0.0  # seconds to stay away after a 429, where the provider is known to punish who comes back soon
    history: int | None = None  # days of its past that the plan gives; None for all that there is
    spread: bool = False  # a minute's requests come evenly, not at once: where a second has a limit of its own
    requests: int  # that one turn takes ...
    each: Literal["turn", "coin", "channel"] = "turn"  # ... in all, or for each of what the settings name ...
    of: int = 1  # ... of which so many go into one request
    terms: str  # where they stand, and what they ask
    default_on: bool = True  # False where the terms forbid commercial use


class PollOptions(Struct, frozen=True, kw_only=True):
    """What the configuration says to a poller. `headers`, or `secret` for `Request.secret`, carry the key, which is in no URL."""

    base_url: str
    plan: str = ""  # which of PLANS
    headers: dict[str, str] = {}
    secret: dict[str, str] = {}
    assets: tuple[Asset, ...] = ()
    channels: tuple[str, ...] = ()
    score: Score = no_score
    min_usd: int = 1_000_000  # a smaller transfer is not told
    labels: Mapping[str, str] = {}  # whose an address is


class Missed(Struct, frozen=True):
    """A part of a turn that could not be had, and why: a coin that the provider does not know. The other parts are told."""

    name: str
    error: Reject


# One turn: the answer to a question is sent in, None after records; it ends with the cursor for the next turn. A part of an answer
# that cannot be read is a `Malformed` among the records: it is counted and kept, and the others go on; what must not be stored
# is counted by a `Filtered`.
Emitted = Record | Malformed | Filtered | Missed
Step = PricesAt | ReorgedBlock | Sequence[Emitted]
Poll = Generator[Request | Step, Response | Prices | None, str]


class Provider(Protocol):
    """One polled provider: a module under ingest/pollers (or an entry point of the group `ingest.pollers`)."""

    NAME: str
    TABLES: tuple[str, ...]
    PLANS: Mapping[str, Plan]
    ASSETS: Mapping[str, str]  # symbol -> the provider's id of that coin; empty where it is not asked for coins

    def poll(self, options: PollOptions, cursor: str, /) -> Poll:
        """One turn. `cursor` is what the last one ended with, '' at the beginning. Raises Reject for what it cannot read."""


Part = Generator[Request, Any, T]  # some questions of a turn: it ends with what they were asked for
REFUSED = ("401", "403")  # of the key or the address, whatever was asked for


def run_parts(parts: Iterable[tuple[str, Poll]]) -> Generator[Any, Any, bool]:
    """Parts of a turn, by name, one after the other; whether all could be had. A turn whose part was missed keeps its cursor.

    Raises what the first one raised where none could be had, and at once where it is the key that is refused.
    """
    had, missed = 0, None
    for name, part in parts:
        try:
            yield from part
            had += 1
        except Reject as error:
            if error.code in REFUSED:
                raise
            missed = missed or error
            yield [Missed(name, error)]
    if missed is not None and not had:
        raise missed
    return missed is None


def decoded(response: Response, decoder: Decoder[T]) -> T:
    """The body. Raises Reject (json, shape, value) where it is something else: a page of HTML, an error, half an answer."""
    try:
        return decoder.decode(response.body)
    except UNREADABLE as error:
        bad = malformed(response.body, error)
        raise Reject(bad.message, reason=bad.reason) from error
