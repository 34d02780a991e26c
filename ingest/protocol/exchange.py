"""The interface of an exchange module: limits, guarantees of its data, and functions that make sessions and histories."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Flow
from ingest.protocol.session import ChannelName, Connection, Session, Subscription
from ingest.records import Instrument


class ExchangeOptions(Struct, frozen=True, kw_only=True):
    """The settings of one exchange, as its module gets them. Lengths of time are in microseconds."""

    ws_url: str
    rest_url: str
    trade_kind: str
    book_depth: int = 20
    book_interval: int = 1_000_000
    quotes_interval: int = 1_000_000
    writer: str = ""  # this daemon's name; part of the key where the exchange sends no event time
    archive_url: str = ""  # where the exchange's bulk files are; empty for the address that the module knows


class Rate(Struct, frozen=True):
    """At most `amount` within any `seconds`."""

    amount: int
    seconds: float


class ExchangeLimits(Struct, frozen=True, kw_only=True):
    """The limits of the exchange's documentation, which the transports enforce. The module's docstring has the document's URL."""

    ws_url: str
    rest_url: str
    alternative: str  # what to use where this address is refused (HTTP 403, 451), for the error message
    sends: Rate  # messages of the client, per connection
    connects: Rate  # connection attempts, per address
    weight: Rate  # REST budget per address; below the documented one, because other programs may use the same address
    subscriptions_per_connection: int
    silence_seconds: float  # a connection that receives nothing for that long, not even a ping, is dead
    stale_seconds: float = 60.0  # a subscription is stale after this silence at the earliest; later where its messages are rare
    life_seconds: float | None = None  # the age at which a connection is replaced, before the exchange closes it
    # The largest frame to accept; a longer one ends the connection. The largest recorded one, a book of Kraken, has 79 kB. Levels
    # in random order take longest to read: half a second at this size.
    message_bytes: int = 2 << 20


Evidence = Literal["ids", "sequence", "checksum", "heartbeat", "rest"]


class CompletenessRules(Struct, frozen=True, kw_only=True):
    """What an exchange's data proves about its completeness, for the audit of the stored rows. The tuples are trade kinds.

    `evidence` is what shows that a subscription misses nothing, by channel, for trades by trade kind:

    - ids: the trade ids of an instrument are consecutive
    - sequence: consecutive numbers, or a bar of each minute
    - checksum: of the book after each message
    - heartbeat: a message of the subscription itself that has the last trade id
    - rest: the rows come by REST, with the same requests as a backfill

    A subscription without it is unverifiable in the coverage ledger, except where a request of its history shows the same rows.
    """

    dense: tuple[str, ...] = ()  # trade ids of an instrument are consecutive: a missing id is a missing trade
    counted: tuple[str, ...] = ()  # the trades that a candle's trade count, first id and last id refer to
    charted: tuple[str, ...] = ()  # bars made from these trades equal the exchange's own candles
    empty_candles: bool = False  # a minute without trades has a candle too: a missing candle is a gap
    evidence: Mapping[str, Evidence] = {}

    def has_evidence(self, channel: ChannelName, trade_kind: str) -> bool:
        """Whether each message of a subscription shows that none before it was missed."""
        return (trade_kind if channel == "trades" else channel) in self.evidence


class Exchange(Protocol):
    """One exchange protocol: a module under ingest/exchanges (or an entry point of the group `ingest.exchanges`)."""

    NAME: str
    CHANNELS: Collection[ChannelName]  # a mapping, where the exchange declares them (`ingest.marketdata.channels`)
    TRADE_KINDS: tuple[str, ...]  # the first is the default
    VIA: tuple[str, ...]  # the sources of its history of trades and candles: rest, archive
    LIMITS: ExchangeLimits
    COMPLETENESS: CompletenessRules

    def listing(self, options: ExchangeOptions) -> Flow[list[Instrument]]:
        """Every market that the exchange lists, with id 0. An attribute `rejected` of the list has the unreadable rows."""

    def connections(self, subscriptions: Sequence[Subscription], options: ExchangeOptions) -> list[Connection]:
        """The subscriptions, spread over websockets within the exchange's limits."""

    def session(self, connection: Connection, options: ExchangeOptions) -> Session:
        """The state of one connection that is about to open."""

    def history(self, request: HistoryRequest, options: ExchangeOptions, via: str) -> History:
        """The history of one market, trades or candles, in pages of at most about 5,000 records.

        Where the requested range ends in the future, the last page's `until` is earlier than its end. Raises Reject where the
        exchange does not have the range. The reason is then `history`, and for a range older than the exchange keeps, `code` is the
        earliest time that it has, in microseconds. After a Retry the caller requests the rest, from the last page's `until` on.
        """


@runtime_checkable
class Retiring(Protocol):
    """An `Exchange` that has closed markets which a configuration may still name."""

    def retired(self, instrument: str) -> str:
        """Why the exchange does not list this market any more, with the date; empty for any other market."""


@runtime_checkable
class Located(Protocol):
    """An `Exchange` whose websocket URL must be requested."""

    def locate(self, connection: Connection, options: ExchangeOptions) -> Flow[str]:
        """The URL to open instead of that of `connection`. It is requested before each opening."""


@runtime_checkable
class WithOpening(Protocol):
    """An `Exchange` that shows when a market began. Minutes before that are not missing from its candles."""

    def opening(self, instrument: Instrument, options: ExchangeOptions) -> Flow[int | None]:
        """The time of the market's first candle in microseconds; None where it has none."""
