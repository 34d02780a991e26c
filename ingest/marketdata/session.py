"""The session of any exchange: routing, unreadable frames, keepalive, subscriptions, REST requests. The rest is declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from ingest.marketdata.channels import Channel, Channels, ChannelState, Market, RowHandler, TimeHandler, Topic
from ingest.marketdata.message_numbers import MessageNumbers
from ingest.marketdata.notices import Notices
from ingest.marketdata.rest import MAX_BAD, BadRows, evidence
from ingest.marketdata.subscriptions import Accepted, Batch, Member, Rejected, Resubscriber, Subscriptions
from ingest.protocol.decode import UNREADABLE, Malformed, mended
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Connection, Gap, Output, Reconnect, Send, Subscription

_decode_list = msgspec.json.Decoder(list[Raw]).decode


class Ready(Struct, frozen=True):
    """The greeting of an exchange that sends the first message: the session may now subscribe."""


class Unknown(Struct, frozen=True):
    """A frame that the exchange does not document."""

    message: str


class Notice(Struct, frozen=True):
    """A documented message of the exchange about itself. It is no evidence, whatever it says."""

    message: str


class Part(Struct, frozen=True):
    """The part of a frame that belongs to one topic, where a frame has several."""

    topic: Topic
    payload: Any
    snapshot: bool = False


class Numbered(Struct, frozen=True):
    """What a frame has, and its number among all frames of the connection. A jump breaks every book of the connection."""

    number: int
    controls: Sequence[Control]


Control = Ready | Accepted | Rejected | Unknown | Notice | Part | Numbered | Send | Reconnect | Gap
Route = tuple[Topic, Any, bool]  # (topic, payload, whether it is a snapshot), or (None, sequence of Control, False)
Frames = Callable[[bytes, int], Sequence[Output]]  # text frame, received_at


class Protocol(Struct, frozen=True, kw_only=True):
    """The websocket protocol of an exchange. Lengths of time are in microseconds."""

    name: str  # of the exchange
    route: Callable[[bytes], Route]  # raises UNREADABLE or ValueError
    slow_route: Callable[[bytes], Route] | None = None  # decodes a frame whose topic, cut out by `route`, is unknown
    bind: Callable[[RoutedSession], Frames] | None = None  # makes a faster `feed` for a busy exchange
    # from a channel's template and a symbol to the topic that `route` returns
    topic: Callable[[str, str], Topic] = lambda template, symbol: (template, symbol)
    subscribe: Callable[[Batch], str]
    unsubscribe: Callable[[Batch], str] | None = None  # sent before a book is subscribed again
    topics_per_message: int
    mixed: bool = False  # a message may name several channels
    single: bool = False  # each topic of a message has a reply of its own
    greets: bool = False  # nothing is sent before `Ready`
    hello: Callable[[int], str] | None = None  # sent before the subscriptions
    ping: Callable[[int], str] | None = None
    ping_after: int = 0  # silence before a ping
    ping_every: int = 0  # interval of pings, whether or not frames arrive


def one_url(path: str, size: int, subscriptions: Sequence[Subscription], options: ExchangeOptions) -> list[Connection]:
    """As few connections as possible, of `size` subscriptions at most, all to `path` of `ws_url`."""
    parts = (tuple(subscriptions[start : start + size]) for start in range(0, len(subscriptions), size))
    return [Connection(f"{options.ws_url}{path}", part) for part in parts]


class RoutedSession:
    """The state of one connection, a `protocol.session.Session`. The constructor makes a reader for the messages of each topic."""

    def __init__(self, protocol: Protocol, channels: Channels, connection: Connection, options: ExchangeOptions) -> None:
        self.last_message_at = [0] * len(connection.subscriptions)
        self.readers: dict[Topic, Reader] = {}
        self._protocol = protocol
        self._members = [_member(protocol, channels, item, options) for item in connection.subscriptions]
        self._resubscriber = Resubscriber(self._resubscribe)
        self._numbers = MessageNumbers()
        self._losses: list[TimeHandler] = []
        self._ticks: list[TimeHandler] = []
        self._answers: dict[str, Callable[[Response | None, int], Sequence[Output]]] = {}
        for index, subscription in enumerate(connection.subscriptions):
            self._open(index, subscription, channels[subscription.channel], options)
        place = list(channels).index  # subscribe in the order of CHANNELS
        order = [(0 if protocol.mixed else place(member.channel), index) for index, member in enumerate(self._members)]
        self._order = [index for _, index in sorted(order)]
        self._subscriptions = Subscriptions(
            self._members,
            exchange=protocol.name,
            encode=protocol.subscribe,
            size=lambda member: channels[member.channel].batch or protocol.topics_per_message,
            mixed=protocol.mixed,
            single=protocol.single,
            refused=connection.refused,
            spoke=lambda index, since: self.last_message_at[index] >= since,
        )
        self._notices = Notices(protocol.name, connection.heeded_at)
        self._ready = not protocol.greets
        self._active_at = 0  # time of the last frame or ping
        self._pinged_at = 0
        self.feed: Frames = self._bind() if protocol.bind is None else protocol.bind(self)

    @property
    def refused(self) -> dict[int, str]:
        """The reason by the index of each refused subscription."""
        return self._subscriptions.refused

    @property
    def heeded_at(self) -> int:
        """The time of the last reconnection that a notice caused, 0 for none."""
        return self._notices.heeded_at

    def start(self, now: int) -> Sequence[Output]:
        self._active_at = now
        return self._begin(now) if self._ready else ()

    def _bind(self) -> Frames:
        """Make `feed`. A closure over local names is 0.1-0.3 us a frame faster than a method that reads attributes."""
        route, find = self._protocol.route, self.readers.get
        last_message_at, control = self.last_message_at, self.control

        def feed(frame: bytes, received_at: int) -> Sequence[Output]:
            """One text frame. Bad input raises nothing: the output has a `Malformed`."""
            self._active_at = received_at
            try:
                topic, payload, snapshot = route(frame)
            except (*UNREADABLE, ValueError) as error:
                return self._unrouted(error, frame, received_at)
            reader = find(topic)
            if reader is None:
                return control(topic, payload, frame, received_at)
            index, decode, take, _ = reader
            last_message_at[index] = received_at
            try:
                return take(decode(payload), received_at, snapshot)
            except (*UNREADABLE, ValueError) as error:
                return self.unread(reader, error, Part(topic, payload, snapshot), frame, received_at)

        return feed

    def _unrouted(self, error: Exception, frame: bytes, received_at: int) -> Sequence[Output]:
        """A frame that no `route` can read. It is read again as `mended`, if that is another one."""
        better = mended(frame) if isinstance(error, UNREADABLE) else frame
        out = () if better == frame else self.feed(better, received_at)
        is_read = better != frame and not (len(out) == 1 and isinstance(out[0], Malformed))
        return out if is_read else (evidence(self._protocol.name, frame, error),)

    def unread(self, reader: Reader, error: Exception, part: Part, frame: bytes, received_at: int) -> Sequence[Output]:
        """A payload that its reader cannot read. It is read again as `mended`, if that is another one."""
        _, decode, take, unreadable = reader
        payload = part.payload
        if isinstance(error, UNREADABLE) and not isinstance(payload, list) and (better := mended(bytes(payload))) != bytes(payload):
            try:
                return take(decode(better), received_at, part.snapshot)
            except (*UNREADABLE, ValueError) as still:
                error, payload = still, better
        return unreadable(error, payload, received_at, part.snapshot, frame)

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        return self._answers[request.tag](response, now)

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        return self._answers[request.tag](None, now)

    def tick(self, now: int) -> Sequence[Output]:
        if not self._ready:
            return []
        out: list[Output] = []
        protocol = self._protocol
        silent = protocol.ping_after and now - self._active_at >= protocol.ping_after
        if protocol.ping is not None and (silent or (protocol.ping_every and now - self._pinged_at >= protocol.ping_every)):
            self._active_at = self._pinged_at = now
            out.append(Send(protocol.ping(now), keepalive=True))
        out += self._subscriptions.tick(now)
        out += self._resubscriber.due(now)
        out += self._notices.tick(now)
        for tick in self._ticks:
            out += tick(now)
        return out

    # --- control frames ---------------------------------------------------------------------------------------------------

    def control(self, topic: Topic, payload: Any, frame: bytes, now: int) -> Sequence[Output]:
        """A control frame, or a frame whose topic is not subscribed on this connection."""
        controls: Sequence[Control] = payload
        if topic is not None:
            if self._protocol.slow_route is None:
                return self._not_subscribed(topic, frame)
            try:
                topic, payload, snapshot = self._protocol.slow_route(frame)
            except (*UNREADABLE, ValueError) as error:
                return self._unrouted(error, frame, now)
            controls = payload if topic is None else (Part(topic, payload, snapshot),)
        return tuple(output for control in controls for output in self._handle(control, frame, now))

    def _handle(self, control: Control, frame: bytes, now: int) -> Sequence[Output]:  # noqa: PLR0911 - one for each kind
        match control:
            case Part():
                return self._part(control, frame, now)
            case Numbered():
                return self._numbered(control, frame, now)
            case Accepted():
                return self._subscriptions.accepted(control, now)
            case Rejected():
                return self._subscriptions.rejected(control, now)
            case Ready():
                return self._begin(now)
            case Unknown() | Notice():
                out = self._notices.announced(control.message, frame, now)
                return self._notices.unknown(control.message, frame) if not out and isinstance(control, Unknown) else out
        return (control,)

    def _part(self, part: Part, frame: bytes, received_at: int) -> Sequence[Output]:
        reader = self.readers.get(part.topic)
        if reader is None:
            return self._not_subscribed(part.topic, frame)
        index, decode, take, _ = reader
        self.last_message_at[index] = received_at
        try:
            return take(decode(part.payload), received_at, part.snapshot)
        except (*UNREADABLE, ValueError) as error:
            return self.unread(reader, error, part, frame, received_at)

    def _numbered(self, numbered: Numbered, frame: bytes, now: int) -> Sequence[Output]:
        out: list[Output] = []
        try:
            if self._numbers.lost_before(numbered.number):  # of any topic
                self._resubscriber.mark(index for index, member in enumerate(self._members) if member.channel == "book")
                out += [output for lost in self._losses for output in lost(now)]
        except ValueError as error:
            return (evidence(self._protocol.name, frame, error),)
        return out + [output for control in numbered.controls for output in self._handle(control, frame, now)]

    def _not_subscribed(self, topic: Topic, frame: bytes) -> Sequence[Output]:
        shown = " of ".join(map(str, topic)) if isinstance(topic, tuple) else repr(topic)
        return self._notices.unknown(f"{shown} is not subscribed on this connection", frame)

    def _begin(self, now: int) -> list[Output]:
        self._ready, self._pinged_at = True, now
        hello = self._protocol.hello
        return [*([] if hello is None else [Send(hello(now))]), *self._subscriptions.begin(self._order, now)]

    def _resubscribe(self, indices: list[int], now: int) -> list[Output]:
        """Unsubscribe, then subscribe, except refused topics, which `Subscriptions` retries."""
        indices = [index for index in indices if index not in self.refused]
        unsubscribe, subscriptions = self._protocol.unsubscribe, self._subscriptions
        out: list[Output] = []
        if unsubscribe is not None:  # as message 0, so that its error is not taken for that of a subscription
            out += [Send(unsubscribe(subscriptions.batch(part, 0, now))) for part in subscriptions.parts(indices)]
        return out + subscriptions.subscribe(indices, now)

    def _open(self, index: int, subscription: Subscription, channel: Channel, options: ExchangeOptions) -> None:
        resubscribe, resubscribed = partial(self._resubscriber.add, index), partial(self._resubscriber.succeeded, index)
        received = partial(self.last_message_at.__setitem__, index)
        market = Market(self._protocol.name, subscription.instrument, options, resubscribe, resubscribed, received)
        state = channel.spec.open(market)
        self.readers[self._members[index].topic] = _reader(index, self._protocol.name, channel, state)
        self._losses.append(state.lost)
        if state.tick is not None:
            self._ticks.append(state.tick)
        if state.answer is not None:
            self._answers[subscription.instrument.symbol] = state.answer


def _member(protocol: Protocol, channels: Channels, subscription: Subscription, options: ExchangeOptions) -> Member:
    channel, symbol = subscription.channel, subscription.instrument.symbol
    template = channels[channel].topic.replace("{kind}", options.trade_kind)
    return Member(channel, template, symbol, protocol.topic(template, symbol))


# --- how the messages of a topic are read ------------------------------------------------------------------------------------

Unreadable = Callable[[Exception, Any, int, bool, bytes], Sequence[Output]]  # error, payload, received_at, snapshot, frame
Reader = tuple[int, Callable[[Any], Any], RowHandler, Unreadable]  # index, decode, take the decoded row, handle an error


def _reader(index: int, name: str, channel: Channel, state: ChannelState) -> Reader:
    row, lost = channel.spec.row, state.lost

    def unreadable(error: Exception, payload: Any, received_at: int, snapshot: bool, frame: bytes) -> Sequence[Output]:
        return (evidence(name, frame, error), *lost(received_at))

    if channel.listed:
        return _list_reader(index, name, channel, state, unreadable)
    return index, msgspec.json.Decoder(row, float_hook=Decimal).decode, state.feed, unreadable


def _list_reader(index: int, name: str, channel: Channel, state: ChannelState, unreadable: Unreadable) -> Reader:
    """The reader of lists of rows: a bad row does not cost the others, and is its own evidence."""
    row: Any = channel.spec.row
    rows: Any = list[row]
    decode_row = msgspec.json.Decoder(row, float_hook=Decimal).decode
    decode_rows = msgspec.json.Decoder(rows, float_hook=Decimal).decode
    feed, lost = state.feed, state.lost

    def unless_decoded(payload: Any) -> list[Any]:
        return payload if type(payload) is list else decode_rows(payload)

    def each(rows: Sequence[Any], received_at: int, snapshot: bool, *, decoded: bool) -> Sequence[Output]:
        out: list[Output] = []
        bad: BadRows | None = None
        for number, row in enumerate(rows, 1):
            try:
                out += feed(row if decoded else decode_row(row), received_at, snapshot)
            except (*UNREADABLE, ValueError) as error:
                bad = bad or BadRows(name, msgspec.json.encode if decoded else bytes)
                bad.add(row, error)
                out += lost(received_at)
                if bad.number > MAX_BAD:
                    return [*out, *bad.evidence(len(rows) - number)]
        return out if bad is None else [*out, *bad.evidence()]

    def take(rows: list[Any], received_at: int, snapshot: bool) -> Sequence[Output]:
        if len(rows) == 1:
            return feed(rows[0], received_at, snapshot)
        return each(rows, received_at, snapshot, decoded=True)

    def one_by_one(error: Exception, payload: Any, received_at: int, snapshot: bool, frame: bytes) -> Sequence[Output]:
        """A row cannot be decoded, or the only row has a bad value."""
        try:
            parts = _decode_list(payload) if isinstance(error, UNREADABLE) else ()
        except UNREADABLE:
            parts = ()
        if len(parts) < 2:
            return unreadable(error, payload, received_at, snapshot, frame)
        return each(parts, received_at, snapshot, decoded=False)

    return index, unless_decoded if channel.decoded else decode_rows, take, one_by_one
