"""One websocket connection as pure code sees it: what it subscribes to, what goes in, and what comes out."""

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
    """One websocket to open, with what is to be subscribed on it.

    `refused` maps the index of a subscription that an earlier connection was refused to the reason: it is tried later, by itself.
    """

    url: str
    subscriptions: tuple[Subscription, ...]
    refused: dict[int, str] = {}


class Send(Struct, frozen=True):
    """A text frame for the exchange."""

    text: str


class Gap(Struct, frozen=True):
    """A known hole in one stream: (since, until) in microseconds, `until` None while it is open; ids where ids are dense.

    `reason` is one of: sequence, checksum, crossed, disconnect, shed, refused, spool (a damaged record of it).
    """

    instrument_id: int
    channel: ChannelName
    reason: str
    since: int
    until: int | None = None
    first_id: int | None = None  # first and last id that are missing
    last_id: int | None = None


class Refused(Struct, frozen=True):
    """The exchange said no to a subscription."""

    message: str


class Reconnect(Struct, frozen=True):
    """This connection must be replaced. `planned` keeps it until its successor delivers (overlap), else it is closed at once."""

    reason: str
    planned: bool = False


Output = Record | Send | Request | Gap | Malformed | Refused | Reconnect


class Session(Protocol):
    """The state of one connection. All times are microseconds; a session has no clock of its own.

    `heard[i]` is when `connection.subscriptions[i]` last said something (a record, a heartbeat of its own), 0 for never:
    the freshness watch reads it.
    """

    last_message_at: list[int]

    @property
    def refused(self) -> Mapping[int, str]:
        """Index of each subscription that the exchange refuses at present -> the reason. The session tries it again by itself."""

    def start(self, now: int) -> Iterable[Output]:
        """The connection is open: subscribe."""

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        """One text frame. Never raises on bad input: that is a `Malformed`."""

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        """The response to a `Request` of this session."""

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        """A `Request` of this session has no response and is not repeated: the session asks again when that makes sense."""

    def tick(self, now: int) -> Sequence[Output]:
        """Called at least every 250 ms, so that silence is noticed and paced things happen."""
