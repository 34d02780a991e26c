"""How an exchange declares itself: its limits, what its data guarantees, and how its sessions and histories are made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from ingest.protocol.history import History, HistoryRequest
from ingest.protocol.http import Flow
from ingest.protocol.session import ChannelName, Connection, Session, Subscription
from ingest.records import Instrument


class Options(Struct, frozen=True, kw_only=True):
    """What the configuration says to an exchange module. Lengths are in microseconds."""

    ws_url: str
    rest_url: str
    trade_kind: str
    book_depth: int = 20
    book_interval: int = 1_000_000
    quotes_interval: int = 1_000_000
    writer: str = ""  # this daemon's name; part of the key where the exchange gives no event time
    archive_url: str = ""  # where the exchange's bulk files are; empty for its own host


class Rate(Struct, frozen=True):
    """At most `amount` in any `seconds`."""

    amount: int
    seconds: float


class ExchangeLimits(Struct, frozen=True, kw_only=True):
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


class CompletenessRules(Struct, frozen=True, kw_only=True):
    """What an exchange's own data says of its completeness; the audit holds what is stored against it. All by trade kind."""

    dense: tuple[str, ...] = ()  # trade ids are consecutive, per instrument: one that is missing is a trade that is
    counted: tuple[str, ...] = ()  # these are what a candle's number of trades, first and last id count
    charted: tuple[str, ...] = ()  # made into bars, these give the exchange's own candles: no more and no fewer trades
    empty_candles: bool = False  # a minute without trades has a candle as well: one that is missing is a hole


class Exchange(Protocol):
    """One exchange protocol: a module under ingest/exchanges (or an entry point of the group `ingest.exchanges`)."""

    NAME: str
    CHANNELS: Collection[ChannelName]  # a mapping, where the exchange declares them (`ingest.marketdata.channels`)
    TRADE_KINDS: tuple[str, ...]  # the first is the default
    VIA: tuple[str, ...]  # the ways to its past, of trades and of candles: rest, archive
    LIMITS: ExchangeLimits
    COMPLETENESS: CompletenessRules

    def listing(self, options: Options) -> Flow[list[Instrument]]:
        """Every market that the exchange lists, with id 0. The list may have `rejected`: the rows that could not be read."""

    def connections(self, subscriptions: Sequence[Subscription], options: Options) -> list[Connection]:
        """How the subscriptions are spread over websockets, within the exchange's limits."""

    def session(self, connection: Connection, options: Options) -> Session:
        """The state for one connection that is about to open."""

    def history(self, ask: HistoryRequest, options: Options, via: str) -> History:
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
