"""The vocabulary of pure code: what a source may say and hear. A source never does I/O, it asks for it.

An exchange is a module that satisfies `Exchange`. Its `session` is the state of one websocket connection and dies with it: bytes
go in by `feed`, the clock by `tick`, HTTP answers by `answer`, and what comes out are records and the requests below.
A conversation over HTTP alone is a `Flow`: a generator that yields a `Request` and is sent the `Response`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Annotated, BinaryIO, Literal, Protocol, TypeVar, runtime_checkable

from msgspec import DecodeError, Meta, Struct, ValidationError, convert

from ingest.records import MINUTE, SECOND, Instrument, Record, Trade

Channel = Literal["trades", "candles", "book", "quotes"]


class Subscription(Struct, frozen=True):
    """One channel of one instrument."""

    instrument: Instrument
    channel: Channel


class Connection(Struct, frozen=True):
    """One websocket to open, with what is to be subscribed on it."""

    url: str
    subscriptions: tuple[Subscription, ...]


class Options(Struct, frozen=True, kw_only=True):
    """What the configuration says to an exchange module. Lengths are in microseconds."""

    ws_url: str
    rest_url: str
    trade_kind: str
    book_depth: int = 20
    book_every: int = 1_000_000
    quotes_every: int = 1_000_000
    writer: str = ""  # this daemon's name; part of the key where the exchange gives no event time
    archive_url: str = ""  # where the exchange's bulk files are; empty for its own host


class Rate(Struct, frozen=True):
    """At most `amount` in any `seconds`."""

    amount: int
    seconds: float


class Manners(Struct, frozen=True, kw_only=True):
    """What the exchange's documentation asks of a client; the transports obey it. The module's docstring says where it stands."""

    ws_url: str
    rest_url: str
    alternative: str  # what to do about HTTP 451: the host to name in the error
    sends: Rate  # messages from us, on one connection
    connects: Rate  # connection attempts, per address
    weight: Rate  # REST budget per address, already halved where it is shared with a person's own use
    subscriptions_per_connection: int
    silence_seconds: float  # a connection on which nothing at all came for this long (pings included) is dead
    stale_seconds: float = 60.0  # one subscription may be silent for so long, whatever its pace; a quiet one longer
    life_seconds: float | None = None  # age at which a connection is replaced, before the exchange closes it
    message_bytes: int = 16 << 20  # the largest frame to accept


class Evidence(Struct, frozen=True, kw_only=True):
    """What an exchange's own data says of its completeness; the audit holds what is stored against it. All by trade kind."""

    dense: tuple[str, ...] = ()  # trade ids are consecutive, per instrument: one that is missing is a trade that is
    counted: tuple[str, ...] = ()  # these are what a candle's number of trades, first and last id count
    charted: tuple[str, ...] = ()  # made into bars, these give the exchange's own candles: no more and no fewer trades
    empty_candles: bool = False  # a minute without trades has a candle as well: one that is missing is a hole


# --- what a session says, beside records ------------------------------------------------------------------------------


class Send(Struct, frozen=True):
    """A text frame for the exchange."""

    text: str


class Request(Struct, frozen=True):
    """A GET, or a POST of nothing. A session finds its question again by `tag` when `answer` is called; `weight` counts against
    `Manners.weight`.
    """

    url: str
    weight: int = 1
    tag: str = ""
    to_file: bool = False  # the body is too large for memory: it comes as an open temporary file
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = {}
    secret: dict[str, str] = {}  # parameters of the query that carry a key: the transport adds them, no URL that is shown has them


class Response(Struct, frozen=True):
    """What came back with a 2xx status, or 304 to who asked for it; other statuses are the transport's business."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    file: BinaryIO | None = None  # the body of a `Request` with `to_file`; `body` is then empty
    received_at: int = 0  # microseconds; a history vouches for nothing later, and its records carry it
    made_at: int | None = None  # microseconds, by the server's own clock; None where it does not say

    @property
    def as_of(self) -> int:
        """What happened later is not in it: our own clock may be ahead, and a cache's answer may be old."""
        return self.received_at if self.made_at is None else min(self.received_at, self.made_at)


class Gap(Struct, frozen=True):
    """A known hole in one stream: (since, until) in microseconds, `until` None while it is open; ids where ids are dense.

    `reason` is one of: sequence, checksum, crossed, disconnect, shed, refused, spool (a damaged record of it).
    """

    instrument_id: int
    channel: Channel
    reason: str
    since: int
    until: int | None = None
    first_id: int | None = None  # first and last id that are missing
    last_id: int | None = None


class Malformed(Struct, frozen=True):
    """A frame, or a part of one, that is not what the exchange documents. It is counted and kept in `rejects`."""

    payload: bytes
    reason: str  # json, shape, value, unknown
    message: str


# what msgspec raises on bytes that it cannot decode: bad UTF-8 and endless nesting are not its own errors
UNREADABLE = (DecodeError, UnicodeDecodeError, RecursionError)

Number = Annotated[str, Meta(pattern=r"\A[0-9]+(\.[0-9]+)?\Z")]  # digits in a JSON string; NaN, 1e5, -1 and "" are none


def is_number(text: str) -> bool:
    """What `Number` checks, at 0.4 of its cost, for the paths where that counts ("5." and ".5" pass, as they do in SQL)."""
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def malformed(payload: bytes, error: Exception) -> Malformed:
    """A frame that raised one of `UNREADABLE`: it is not JSON, of another shape, or has a value that is no number."""
    if not isinstance(error, ValidationError):
        return Malformed(payload, "json", str(error))
    return Malformed(payload, "value" if "matching regex" in str(error) else "shape", str(error))


class Refused(Struct, frozen=True):
    """The exchange said no to a subscription."""

    message: str


class Reconnect(Struct, frozen=True):
    """This connection must be replaced. `planned` keeps it until its successor delivers (overlap), else it is closed at once."""

    reason: str
    planned: bool = False


Output = Record | Send | Request | Gap | Malformed | Refused | Reconnect

T = TypeVar("T")
Flow = Generator[Request, Response, T]


class Columns(Struct, frozen=True):
    """Records of one kind, at least one and in time order, as a bulk file gives them: column by column.

    `values` are by the record's field: a list where rows differ, of text that was checked (digits or one of our own words), else
    the value of all. No object is made for a row that goes straight to its table, which is most of what such a row costs.
    """

    record: type[Record]
    times: list[int]  # microseconds
    values: Mapping[str, list[str] | str | int | None]

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Record]:
        columns = [value if isinstance(value, list) else repeat(value) for value in self.values.values()]
        names = ("time", *self.values)
        for row in zip(self.times, *columns, strict=False):  # `repeat` has no end
            yield convert(dict(zip(names, row, strict=True)), self.record, strict=False)


class Page(Struct, frozen=True):
    """One step of a history, in time order: with it everything of what was asked before `until` has been said."""

    records: Sequence[Record] | Columns
    until: int


SETTLED = 10 * SECOND  # so old must an answer's rows be: younger ones may be on their way to the servers of REST, or a running bar


class Ask(Struct, frozen=True, kw_only=True):
    """What of one stream's past is wanted: [since, until) in microseconds, or, where ids are dense, first_id..last_id.

    With ids, the times only say where to look: fills of one moment may lie on both sides of a hole's edge.
    """

    instrument: Instrument
    channel: Channel
    since: int
    until: int
    first_id: int | None = None
    last_id: int | None = None

    def wants(self, record: Record) -> bool:
        if self.first_id is not None and isinstance(record, Trade):
            return self.first_id <= record.trade_id and (self.last_id is None or record.trade_id <= self.last_id)
        return self.since <= record.time < self.until

    def is_past(self, record: Record) -> bool:
        """Whether nothing that is wanted comes after this record."""
        if self.last_id is not None and isinstance(record, Trade):
            return record.trade_id >= self.last_id
        return record.time >= self.until

    def settled(self, response: Response) -> int:
        """Up to where an answer can vouch that it left nothing out, and that a bar in it is closed."""
        time = response.as_of - SETTLED
        if self.channel == "candles":
            time -= time % MINUTE
        return max(self.since, min(self.until, time))

    def page(self, records: Iterable[Record], response: Response, until: int | None = None) -> Page:
        """What is wanted of `records`; with it all before `until` was said, or all that was asked where that is None."""
        settled = self.settled(response)
        told = [r for r in records if self.wants(r) and (self.channel != "candles" or r.time < settled)]
        return Page(told, settled if until is None else max(self.since, min(until, settled)))


# Pages as they come. A request's response is sent in, None after a page; it ends when all that the exchange has was said.
History = Generator[Request | Page, Response | None, None]


def answer_to(request: Request) -> Generator[Request, object, Response]:
    """One question within a history or a turn. What the transport throws in (Retry, Reject) is raised here."""
    response = yield request
    if not isinstance(response, Response):
        raise TypeError(f"{request.url}: a request is answered by sending its response")
    return response


class Session(Protocol):
    """The state of one connection. All times are microseconds; a session has no clock of its own.

    `heard[i]` is when `connection.subscriptions[i]` last said something (a record, a heartbeat of its own), 0 for never:
    the freshness watch reads it.
    """

    heard: list[int]

    def start(self, now: int) -> Iterable[Output]:
        """The connection is open: subscribe."""

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        """One text frame. Never raises on bad input: that is a `Malformed`."""

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        """The response to a `Request` of this session."""

    def tick(self, now: int) -> Sequence[Output]:
        """Called at least every 250 ms, so that silence is noticed and paced things happen."""


class Exchange(Protocol):
    """One exchange protocol: a module under ingest/exchanges (or an entry point of the group `ingest.exchanges`)."""

    NAME: str
    CHANNELS: tuple[Channel, ...]
    TRADE_KINDS: tuple[str, ...]  # the first is the default
    VIA: tuple[str, ...]  # the ways to its past, of trades and of candles: rest, archive
    MANNERS: Manners
    EVIDENCE: Evidence

    def listing(self, options: Options) -> Flow[list[Instrument]]:
        """Every market that the exchange lists, with id 0."""

    def connections(self, subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
        """How the subscriptions are spread over websockets, within the exchange's limits."""

    def session(self, connection: Connection, options: Options) -> Session:
        """The state for one connection that is about to open."""

    def history(self, ask: Ask, options: Options, via: str) -> History:
        """The past of one stream, trades or candles, in pages of at most about 5,000 records.

        The last page's `until` falls short of what was asked where that was not over yet. Raises Reject where the exchange cannot
        give it: for what is older than it keeps, the reason is `history`, and `code` the earliest time it has, in microseconds.
        A Retry ends it too: it is asked for anew, from the last page's `until` on.
        """


@runtime_checkable
class Located(Protocol):
    """What an `Exchange` has besides, if it says only on request where a websocket is to be opened."""

    def locate(self, connection: Connection, options: Options) -> Flow[str]:
        """The URL to open instead of the connection's own; asked for before each opening."""
