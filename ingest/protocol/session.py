"""One websocket connection as pure code sees it: its subscriptions, its inputs and its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.records import Instrument, Record

ChannelName = Literal["trades", "candles", "book", "quotes"]


class Subscription(Struct, frozen=True):
    """One channel of one instrument."""

    instrument: Instrument
    channel: ChannelName


class Connection(Struct, frozen=True, omit_defaults=True):
    """One websocket to open, and the subscriptions to make on it.

    `refused` has the reasons of subscriptions, by index, that the exchange refused on an earlier connection: each is tried later,
    by itself.
    """

    url: str
    subscriptions: tuple[Subscription, ...]
    refused: dict[int, str] = {}


class Send(Struct, frozen=True):
    """A text frame for the exchange."""

    text: str


class Gap(Struct, frozen=True):
    """A known gap in one channel of one instrument: (since, until) in microseconds, `until` None while it is open.

    `reason` is one of: sequence, checksum, crossed, disconnect, shed, refused, spool (a damaged record of it).
    """

    instrument_id: int
    channel: ChannelName
    reason: str
    since: int
    until: int | None = None
    first_id: int | None = None  # the first and the last missing id, where ids are dense
    last_id: int | None = None


class Refused(Struct, frozen=True):
    """The exchange refused a subscription."""

    message: str


class Reconnect(Struct, frozen=True):
    """The connection must be replaced. A `planned` one is kept until its successor delivers, else it is closed at once."""

    reason: str
    planned: bool = False


Output = Record | Send | Request | Gap | Malformed | Refused | Reconnect


class Session(Protocol):
    """The state of one connection. All times are microseconds; a session has no clock of its own.

    `last_message_at[i]` is the time of the last message of `connection.subscriptions[i]` (a record, or a heartbeat of its own), 0
    for none; it is what staleness is judged by.
    """

    last_message_at: list[int]

    @property
    def refused(self) -> Mapping[int, str]:
        """Index of each subscription that the exchange refuses at present -> the reason. The session tries it again by itself."""

    def start(self, now: int) -> Iterable[Output]:
        """The connection is open: subscribe."""

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        """One text frame. Bad input raises nothing: it yields a `Malformed`."""

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        """The response to a `Request` of this session."""

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        """A `Request` of this session failed and is not repeated by the transport: the session decides when to repeat it."""

    def tick(self, now: int) -> Sequence[Output]:
        """Called at least every 250 ms, so that a session notices silence and does what is due."""
