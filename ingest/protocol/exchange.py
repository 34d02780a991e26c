"""How an exchange declares itself: its limits, the guarantees of its data, and how its sessions and histories are made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Flow
from ingest.protocol.session import ChannelName, Connection, Session, Subscription
from ingest.records import Instrument


class Options(Struct, frozen=True, kw_only=True):
    """The configuration of an exchange module. Lengths of time are in microseconds."""

    ws_url: str
    rest_url: str
    trade_kind: str
    book_depth: int = 20
    book_interval: int = 1_000_000
    quotes_interval: int = 1_000_000
    writer: str = ""  # this daemon's name; part of the key where the exchange gives no event time
    archive_url: str = ""  # the host of the exchange's bulk files; empty for the exchange's own


class Rate(Struct, frozen=True):
    """At most `amount` within any `seconds`."""

    amount: int
    seconds: float


class ExchangeLimits(Struct, frozen=True, kw_only=True):
    """The limits of the exchange's documentation, which the transports keep to. The module's docstring has the document's URL."""

    ws_url: str
    rest_url: str
    alternative: str  # the host that the error of an HTTP 451 recommends
    sends: Rate  # messages of the client, per connection
    connects: Rate  # connection attempts, per address
    weight: Rate  # REST budget per address, halved already where a person uses the same address
    subscriptions_per_connection: int
    silence_seconds: float  # a connection that received nothing for so long, not even a ping, is dead
    stale_seconds: float = 60.0  # the least silence of one subscription that is stale; more where its messages are rare
    life_seconds: float | None = None  # the age at which a connection is replaced, before the exchange closes it
    message_bytes: int = 16 << 20  # the largest frame to accept


class CompletenessRules(Struct, frozen=True, kw_only=True):
    """What an exchange's data says about its own completeness; the audit compares the stored rows with it. All by trade kind."""

    dense: tuple[str, ...] = ()  # trade ids of an instrument are consecutive: a missing id is a missing trade
    counted: tuple[str, ...] = ()  # the trades that a candle's trade count, first id and last id refer to
    charted: tuple[str, ...] = ()  # bars made from these trades equal the exchange's own candles
    empty_candles: bool = False  # a minute without trades has a candle, too: a missing one is a gap


class Exchange(Protocol):
    """One exchange protocol: a module under ingest/exchanges (or an entry point of the group `ingest.exchanges`)."""

    NAME: str
    CHANNELS: Collection[ChannelName]  # a mapping, where the exchange declares them (`ingest.marketdata.channels`)
    TRADE_KINDS: tuple[str, ...]  # the first is the default
    VIA: tuple[str, ...]  # the ways to its history of trades and candles: rest, archive
    LIMITS: ExchangeLimits
    COMPLETENESS: CompletenessRules

    def listing(self, options: Options) -> Flow[list[Instrument]]:
        """Every market that the exchange lists, with id 0. The list may have `rejected`: the rows that could not be read."""

    def connections(self, subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
        """The subscriptions, spread over websockets within the exchange's limits."""

    def session(self, connection: Connection, options: Options) -> Session:
        """The state for one connection that is about to open."""

    def history(self, ask: HistoryRequest, options: Options, via: str) -> History:
        """The history of one market, trades or candles, in pages of at most about 5,000 records.

        The last page's `until` is earlier than the requested one where that time is not over yet. Raises Reject where the exchange
        does not have the range: for what is older than it keeps, the reason is `history` and `code` the earliest time that it has,
        in microseconds. After a Retry the caller requests the rest, from the last page's `until` on.
        """


@runtime_checkable
class Located(Protocol):
    """What an `Exchange` has in addition where the URL of a websocket must be requested."""

    def locate(self, connection: Connection, options: Options) -> Flow[str]:
        """The URL to open instead of the connection's own. It is requested before each opening."""
