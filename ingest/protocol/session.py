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

    `refused` maps the index of each subscription that the exchange refused on an earlier connection to the reason. Such a
    subscription is tried later, in a message of its own.
    """

    url: str
    subscriptions: tuple[Subscription, ...]
    refused: dict[int, str] = {}
    heeded_at: int = 0  # when a notice last caused a reconnection, in microseconds


class Send(Struct, frozen=True):
    """A text frame for the exchange. A `keepalive` is not held back by the limit of messages."""

    text: str
    keepalive: bool = False


class Gap(Struct, frozen=True):
    """A known gap in one channel of one instrument: (since, until) in microseconds, `until` None while it is open.

    `reason` is one of: sequence, checksum, crossed, disconnect, shed, refused, spool (a damaged record in the spool), missed.
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


class Relist(Struct, frozen=True):
    """Messages contradict the listing, which must be read again. `message` says what does, for the status."""

    message: str


class Reconnect(Struct, frozen=True):
    """The connection must be replaced. If this is `planned`, it is kept until its successor delivers, else it is closed at once."""

    reason: str
    planned: bool = False


Output = Record | Send | Request | Gap | Malformed | Refused | Relist | Reconnect


class Session(Protocol):
    """The state of one connection. All times are microseconds; a session has no clock of its own.

    `last_message_at[i]` is the time of the last message of `connection.subscriptions[i]` (a record, or a heartbeat of its own), 0
    before the first. Staleness is judged by it.
    """

    last_message_at: list[int]

    @property
    def refused(self) -> Mapping[int, str]:
        """The subscriptions that the exchange refuses at present, by index, with the reason. The session retries them by itself."""

    @property
    def heeded_at(self) -> int:
        """When a notice last caused a reconnection, on this connection or the one before; 0 for never."""

    def start(self, now: int) -> Iterable[Output]:
        """Called when the connection is open; subscribes."""

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        """Called with each text frame. Bad input raises nothing: the output has a `Malformed`."""

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        """Called with the response to a `Request` of this session."""

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        """Called when a `Request` of this session failed. The transport does not repeat it; the session decides when to."""

    def tick(self, now: int) -> Sequence[Output]:
        """Called at least every 250 ms, so that a session notices silence and does what is due."""
