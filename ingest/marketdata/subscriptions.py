"""The subscriptions of one connection: accepted, refused, and retried.

An exchange that refuses one symbol often refuses its whole message. The symbol is found by its name in the error, else by halving
the message. The other symbols are subscribed at once; the refused one is retried later in a message of its own, with backoff. After
`MAX_REFUSALS` in a row the cause is not a single symbol: the rest waits and is not halved further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from ingest.marketdata.channels import Topic
from ingest.protocol.session import ChannelName, Output, Refused, Send
from ingest.records import SECOND

PAUSE = 60 * SECOND  # before the first retry of a refused subscription; doubles up to
LONGEST_PAUSE = 3600 * SECOND
RESUBSCRIBE_PAUSE = 30 * SECOND  # between two resubscriptions of one book; doubles up to
LONGEST_RESUBSCRIBE_PAUSE = 600 * SECOND  # while no good snapshot arrives
MAX_REFUSALS = 32  # in a row, without an acceptance
REPLY_TIMEOUT = 30 * SECOND  # a later reply is not expected


class Member(Struct, frozen=True):
    """One subscription of the connection, as part of a subscribe message."""

    channel: ChannelName
    template: str  # of its topic
    symbol: str
    topic: Topic


class Batch(Struct, frozen=True):
    """The members of one message. The exchange's reply repeats its `number`. `now` in microseconds."""

    number: int
    members: tuple[Member, ...]
    now: int

    @property
    def template(self) -> str:
        """The template of the first member; all members share it unless messages may mix channels."""
        return self.members[0].template


class Accepted(Struct, frozen=True):
    """The exchange accepted a message, or only some topics of it. With `only`, the other topics of the message are refused."""

    number: int | None = None
    topics: tuple[Topic, ...] | None = None
    only: bool = False


class Rejected(Struct, frozen=True):
    """The exchange refused a message. `busy`: because of a rate limit or an outage, not because of a symbol."""

    message: str
    number: int | None = None
    busy: bool = False


class _Pending(Struct):
    members: list[int]
    until: int


class Subscriptions:
    """The state of all subscriptions. `refused` maps the index of a refused member to the reason.

    `mixed`: a message may name several channels. `single`: each topic of a message has a reply of its own.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        exchange: str,
        encode: Callable[[Batch], str],
        size: Callable[[Member], int],
        mixed: bool = False,
        single: bool = False,
        refused: Mapping[int, str] | None = None,
    ) -> None:
        """`refused`: the members that an earlier connection found refused; they are retried later."""
        self.refused = dict(refused or {})
        self._members = members
        self._index = {member.topic: index for index, member in enumerate(members)}
        self._exchange = exchange
        self._encode, self._size, self._mixed, self._single = encode, size, mixed, single
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._retries: list[tuple[int, list[int]]] = []  # (time, members)
        self._pauses: dict[int, int] = {}
        self._refusals = 0

    def begin(self, indices: Sequence[int], now: int) -> list[Output]:
        """Subscribe to these members, except the refused ones."""
        for index in self.refused:
            self._retry_later([index], now)
        return self.subscribe([index for index in indices if index not in self.refused], now)

    def subscribe(self, indices: Sequence[int], now: int) -> list[Output]:
        """Subscribe to these members in as few messages as possible."""
        return [self._send(part, now) for part in self.parts(indices)]

    def parts(self, indices: Sequence[int]) -> Iterator[list[int]]:
        """These members, divided into messages."""
        groups: dict[str, list[int]] = {}
        for index in indices:
            groups.setdefault("" if self._mixed else self._members[index].template, []).append(index)
        for group in groups.values():
            size = self._size(self._members[group[0]])
            yield from (group[start : start + size] for start in range(0, len(group), size))

    def batch(self, indices: Sequence[int], number: int, now: int) -> Batch:
        return Batch(number, tuple(self._members[index] for index in indices), now)

    def accepted(self, reply: Accepted, now: int) -> list[Output]:
        """Take a reply that accepts. A reply without a number concerns the pending messages with its topics."""
        out: list[Output] = []
        for number in [reply.number] if reply.number is not None else list(self._pending):
            pending = self._pending.get(number)
            if pending is None or (reply.number is None and reply.topics is None):
                continue
            accepted = pending.members if reply.topics is None else [self._index.get(topic) for topic in reply.topics]
            for index in [index for index in pending.members if index in accepted]:
                self._refusals = 0
                self.refused.pop(index, None)
                self._pauses.pop(index, None)
            left = pending.members = [index for index in pending.members if index not in accepted]
            if reply.only or not left:
                del self._pending[number]
            if reply.only:
                out += [self._refuse(i, f"{self._exchange}: not subscribed: {self._members[i].topic}", now) for i in left]
        return out

    def rejected(self, reply: Rejected, now: int) -> list[Output]:
        """Take a reply that refuses: remove the refused symbols or halve the message, and subscribe to the rest again."""
        number = self._find(reply)
        pending = self._pending.pop(number, None) if number is not None else None
        if pending is None or number is None:
            return [Refused(reply.message)]
        self._refusals += 1
        members = pending.members
        named = self._named(reply.message, members)
        left = [index for index in members if index not in named]
        if reply.busy or (self._refusals > MAX_REFUSALS and not named):
            self._retry_later(members, now)
            return [Refused(reply.message)] if reply.busy or self._refusals == MAX_REFUSALS + 1 else []
        if len(members) == 1 or (named and left):
            out: list[Output] = [self._refuse(index, reply.message, now) for index in named or members]
            if self._single and left:  # each of the others has a reply of its own
                self._pending[number] = _Pending(left, pending.until)
                return out
            return out + self.subscribe([index for index in left if len(members) > 1], now)
        middle = len(members) // 2  # an error that names every topic isolates none
        return [self._send(members[:middle], now), self._send(members[middle:], now)]

    def tick(self, now: int) -> list[Output]:
        """On a clock tick: the messages of the retries that are due."""
        if not self._retries and not self._pending:
            return []
        for number in [number for number, pending in self._pending.items() if now >= pending.until]:
            del self._pending[number]
        due = [members for at, members in self._retries if now >= at]
        self._retries = [(at, members) for at, members in self._retries if now < at]
        return [self._send(members, now) for members in due]

    def _send(self, indices: list[int], now: int) -> Send:
        self._number += 1
        self._pending[self._number] = _Pending(list(indices), now + REPLY_TIMEOUT)
        return Send(self._encode(self.batch(indices, self._number, now)))

    def _refuse(self, index: int, message: str, now: int) -> Refused:
        self.refused[index] = message
        self._retry_later([index], now)
        return Refused(message)

    def _retry_later(self, indices: list[int], now: int) -> None:
        pause = max(self._pauses.get(index, PAUSE) for index in indices)
        for index in indices:
            self._pauses[index] = min(2 * pause, LONGEST_PAUSE)
        self._retries.append((now + pause, indices))

    def _find(self, reply: Rejected) -> int | None:
        """The refused message: by number; without one, the oldest with a symbol that the error names, else the oldest."""
        if reply.number is not None:
            return reply.number
        numbers = list(self._pending)
        naming = [number for number in numbers if self._named(reply.message, self._pending[number].members)]
        return next(iter(naming or numbers), None)

    def _named(self, message: str, indices: Sequence[int]) -> list[int]:
        """The members whose symbols the error names."""
        return [index for index in indices if _mentions(message, self._members[index].symbol)]


def _mentions(text: str, symbol: str) -> bool:
    """Whether the symbol is a word of the text: BTC-USDT is one in `match:BTC-USDT_1min`, not in `WBTC-USDT`."""
    return symbol in text and re.search(rf"(?<![A-Za-z0-9_-]){re.escape(symbol)}(?![A-Za-z0-9-])", text) is not None


class Resubscriber:
    """Broken books that must be subscribed again, with backoff until a snapshot arrives. Books that are due share messages."""

    def __init__(self, send: Callable[[list[int], int], list[Output]]) -> None:
        self._send = send
        self._broken: set[int] = set()
        self._allowed_at: dict[int, int] = {}
        self._pause: dict[int, int] = {}

    def add(self, index: int, now: int) -> list[Output]:
        """A book is broken. Returns the messages to send now."""
        self._broken.add(index)
        return self.due(now)

    def mark(self, indices: Iterable[int]) -> None:
        """These books break together: the next `add` subscribes to all of them again."""
        self._broken.update(indices)

    def succeeded(self, index: int) -> None:
        """A good snapshot arrived."""
        self._broken.discard(index)
        self._pause.pop(index, None)

    def due(self, now: int) -> list[Output]:
        """On a clock tick: the messages for the books whose pause is over."""
        due = sorted(index for index in self._broken if now >= self._allowed_at.get(index, 0))
        for index in due:
            pause = self._pause.get(index, RESUBSCRIBE_PAUSE)
            self._allowed_at[index] = now + pause
            self._pause[index] = min(2 * pause, LONGEST_RESUBSCRIBE_PAUSE)
        return self._send(due, now) if due else []
