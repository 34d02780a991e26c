"""The live feed of one exchange: it reads the listing, keeps the connections open, and passes on the outputs of the sessions."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from typing import cast

import aiohttp
from msgspec.structs import replace

from ingest.config.sections import ExchangeSection
from ingest.errors import IngestError, Retry
from ingest.metrics import Metrics
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Exchange, ExchangeOptions, Located, Retiring
from ingest.protocol.session import ChannelName, Connection, Gap, Output, Refused, Relist, Session, Subscription
from ingest.records import SECOND, Candle, Instrument, Record
from ingest.sources.connection_slot import ReconnectingConnection, Stream
from ingest.sources.coverage_claims import CoverageClaims, Watermarks
from ingest.sources.run_state import RunState, State
from ingest.store.coverage import Claim
from ingest.transports.client import open_client
from ingest.transports.http import Http
from ingest.transports.rate_limiter import RateLimiter
from ingest.transports.recorder import Recorder
from ingest.transports.staleness import Staleness
from ingest.transports.websocket import WebSocketConnection, wall_clock

LISTING_SECONDS = 3600.0  # between two reads of the listing: status and precision may change
LISTING_RETRY_SECONDS = 60.0  # after a listing that could not be read
LAG_EVERY = 64  # rows, of which one is measured for its lag

log = logging.getLogger(__name__)

Put = Callable[[Record], Awaitable[None] | None]
StoreInstruments = Callable[[Sequence[Instrument], str | None], Awaitable[list[Instrument]]]


class ExchangeFeed:
    """Runs until cancelled. `puts` are the queues' methods by record type; `on_gap` and `on_malformed` receive other outputs."""

    def __init__(
        self,
        name: str,
        exchange: Exchange,
        section: ExchangeSection,
        *,
        writer: str,
        puts: dict[type, Put],
        store_instruments: StoreInstruments,
        on_gap: Callable[[str, Gap, str], None],
        on_malformed: Callable[[str, Malformed], None],
        metrics: Metrics,
        make_recorder: Callable[[], Recorder] | None = None,
    ) -> None:
        self.name = name
        self.last_error = ""
        self._last_error_at: datetime | None = None
        self._ended: RunState | None = RunState(State.WAITING)
        self._exchange = exchange
        self._section = section
        self._writer = writer
        self._puts = puts
        self._store_instruments = store_instruments
        self._on_gap = on_gap
        self._on_malformed = on_malformed
        self._metrics = metrics
        self._make_recorder = make_recorder
        self._lag = metrics.lag.labels(self.name)
        self._rows = 0
        self._options = self._make_options()
        self._staleness = Staleness(floor=int(exchange.LIMITS.stale_seconds * SECOND))
        self._limiter = RateLimiter(exchange.LIMITS.connects)
        self._connections: dict[ReconnectingConnection, asyncio.Task[None]] = {}
        self._lost: dict[Stream, int] = {}
        self._claims = CoverageClaims(name, writer, exchange.COMPLETENESS)
        self._reload = asyncio.Event()
        self._listed_at = 0.0  # time of the loop
        metrics.preset_exchange(name, section.channels)
        self._show_subscriptions()

    def reload(self, section: ExchangeSection) -> None:
        """Apply another configuration; unchanged subscriptions are not touched. Addresses, proxy and `capture` need a restart."""
        self._section = section
        self._show_subscriptions()
        self._reload.set()

    @property
    def state(self) -> RunState:
        """Whether the connections are open, or why `run` ended."""
        if self._ended is not None:
            return self._ended
        if not self._connections:  # the listing is being read, or names none of the configured instruments
            return RunState(State.FAILING, self.last_error) if self.last_error else RunState(State.CONNECTING)
        states = [connection.state for connection in self._connections]
        bad = [state for state in states if state.state is not State.OK]
        if not bad:
            return RunState(State.OK)
        worst = max(bad, key=lambda state: state.state is State.FAILING)
        if len(bad) == len(states):
            return worst
        return RunState(State.PARTIAL, f"{len(bad)} of {len(states)} connections are not open: {worst}")

    def report(self, state: RunState) -> None:
        """Show why `run` ended."""
        self._ended = state
        self.last_error, self._last_error_at = state.detail, datetime.now(UTC)

    def status(self) -> dict[str, object]:
        """The status of this feed, for `ingest status` and the status page."""
        return self.state.status() | {
            "connections": len(self._connections),
            "subscriptions": sum(len(current.connection.subscriptions) for current in self._connections),
            "refused": {
                f"{subscription.channel} {subscription.instrument.symbol}": reason
                for current in self._connections
                for subscription, reason in current.refused.items()
            },
            "unverified": dict(self._claims.unverified),
            "last_error": self.last_error,
            "last_error_at": self._last_error_at.isoformat(timespec="seconds") if self._last_error_at else None,
        }

    def claims(self, watermarks: Watermarks) -> Sequence[Claim]:
        """The coverage claims of this feed. Called once a second."""
        return self._claims.take(wall_clock(), watermarks, self._options.trade_kind)

    def retire_silent(self, instrument_id: int, channel: ChannelName, event_at: int) -> bool:
        """Replace the connection of a subscription that did not send an event of the exchange's history (microseconds)."""
        return self._claims.retire_silent(instrument_id, channel, event_at)

    async def run(self) -> None:
        """Run until cancelled. Raises the error of a first listing that cannot be read or stored, and of a wrong setting."""
        limits = self._exchange.LIMITS
        self._connections.clear()
        self._ended = None
        recorder = self._make_recorder() if self._make_recorder else None
        recording = recorder.running() if recorder else nullcontext()
        async with (
            open_client(self._section.proxy_url) as client,
            recording,
            asyncio.TaskGroup() as group,
        ):
            http = Http(client, rate=limits.weight, alternative=limits.alternative)
            self._begin = partial(self._make_websocket, client, http, recorder)
            while True:
                self._reload.clear()
                self._listed_at = asyncio.get_running_loop().time()
                wait = LISTING_SECONDS
                section, options = self._section, self._make_options()
                try:
                    self._follow(group, await self._subscriptions(http, section, options), options)
                except IngestError as error:  # open connections go on
                    if not self._connections:
                        raise
                    self._note_error(str(error))
                    wait = LISTING_RETRY_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._reload.wait()

    async def _subscriptions(self, http: Http, section: ExchangeSection, options: ExchangeOptions) -> list[Subscription]:
        """The configured subscriptions, with their instruments from the listing."""
        rows = await http.run(self._exchange.listing(options), self._note_retry)
        for bad in getattr(rows, "rejected", ()):
            self._on_malformed(self.name, bad)
        listing = {row.instrument: row for row in rows}
        chosen, unknown = [], False
        for name in section.instruments:
            row = listing.get(name)
            if row is None:
                unknown = True
                near = ", ".join(difflib.get_close_matches(name, listing, 3)) or "none"
                why = self._exchange.retired(name) if isinstance(self._exchange, Retiring) else ""
                self._note_error(f"unknown instrument '{name}'; {why or f'near: {near}'} ({len(listing)} are listed)")
            elif row.status == "delisted":
                self._note_error(f"instrument '{name}' is delisted: it sends nothing")
            else:
                chosen.append(replace(row, exchange=self.name))
        kind = options.trade_kind if "trades" in section.channels else None
        stored = await self._store_instruments(chosen, kind)
        for bad in getattr(stored, "rejected", ()):
            self._on_malformed(self.name, bad)
        wanted = [Subscription(row, cast(ChannelName, channel)) for row in stored for channel in section.channels]
        return [*wanted, *self._unconfigured(section)] if unknown else wanted

    def _unconfigured(self, section: ExchangeSection) -> list[Subscription]:
        """The subscriptions whose instrument is not configured any more. They stay while a configured name is unknown."""
        subscriptions = [each for current in self._connections for each in current.connection.subscriptions]
        kept = [each for each in subscriptions if each.instrument.instrument not in section.instruments]
        for name in dict.fromkeys(each.instrument.instrument for each in kept):
            log.warning("%s: %s stays subscribed until every configured instrument is known", self.name, name)
        return kept

    def _follow(self, group: asyncio.TaskGroup, wanted: list[Subscription], options: ExchangeOptions) -> None:
        """Open, replace and close connections so that they have the wanted subscriptions; unchanged connections stay."""
        before, self._options = self._options, options
        missing = dict.fromkeys(wanted)
        for current in [current for current, task in self._connections.items() if not task.done()]:
            kept = [subscription for subscription in current.connection.subscriptions if subscription in missing]
            for subscription in kept:
                del missing[subscription]
            if not kept:
                current.close()
                del self._connections[current]
            elif len(kept) < len(current.connection.subscriptions) or self._options != before:
                current.replace(Connection(current.connection.url, tuple(kept)))
        for connection in self._exchange.connections(list(missing), self._options) if missing else []:
            opened = ReconnectingConnection(
                connection,
                begin=self._begin,
                lost=self._lost,
                on_gap=self._gap,
                on_error=self._note_error,
                watch=self._claims.watch,
            )
            self._connections[opened] = group.create_task(opened.run())

    def _make_websocket(
        self, client: aiohttp.ClientSession, http: Http, recorder: Recorder | None, connection: Connection
    ) -> tuple[WebSocketConnection, Session]:
        session = self._exchange.session(connection, self._options)
        if recorder is not None:
            session = recorder.session(session, connection, self._options)
        exchange = self._exchange
        websocket = WebSocketConnection(
            connection,
            session,
            limits=self._exchange.LIMITS,
            client=client,
            http=http,
            limiter=self._limiter,
            sink=self._sink,
            metrics=self._metrics,
            source=self.name,
            staleness=self._staleness,
            locate=partial(exchange.locate, connection, self._options) if isinstance(exchange, Located) else None,
        )
        return websocket, session

    def _show_subscriptions(self) -> None:
        """The wanted subscriptions are those of the configuration: one that is not listed, refused or silent is not live."""
        for channel in self._exchange.CHANNELS:
            wanted = len(self._section.instruments) if channel in self._section.channels else 0
            self._metrics.source_wanted_subscriptions.labels(self.name, channel).set(wanted)
            self._metrics.source_live_subscriptions.labels(self.name, channel).set_function(partial(self._live, channel))
            unverified = self._metrics.source_unverified_subscriptions.labels(self.name, channel)
            unverified.set_function(partial(self._claims.unverified.__getitem__, channel))

    def _live(self, channel: ChannelName) -> int:
        return sum(each.channel == channel for current in self._connections for each in current.live)

    def _sink(self, output: Output) -> Awaitable[None] | None:
        put = self._puts.get(type(output))
        if put is None:
            self._note(output)
            return None
        self._rows += 1
        if not self._rows % LAG_EVERY:
            self._observe_lag(cast(Record, output))
        wait = put(output)  # type: ignore[arg-type] # an output with a queue is a Record
        if wait is not None:
            self._claims.blocked(wall_clock())
        return wait

    def _observe_lag(self, record: Record) -> None:
        if not isinstance(record, Candle):  # its time is the start of its minute, not an event
            self._lag.observe((record.received_at - record.time) / SECOND)
            self._claims.late(record.received_at - record.time)

    def _note(self, output: Output) -> None:
        match output:
            case Gap():
                self._gap(output)
            case Malformed():
                self._on_malformed(self.name, output)
            case Refused():
                self._note_error(output.message)
            case Relist():
                self._note_error(output.message)
                self._relist()
            case _:
                raise TypeError(f"{self.name}: no queue for a {type(output).__name__}")

    def _relist(self) -> None:
        """Read the listing again, at most once in LISTING_RETRY_SECONDS."""
        asyncio.get_running_loop().call_at(self._listed_at + LISTING_RETRY_SECONDS, self._reload.set)

    def _gap(self, gap: Gap) -> None:
        self._on_gap(self.name, gap, self._options.trade_kind)

    def _note_error(self, message: str) -> None:
        self.last_error, self._last_error_at = message, datetime.now(UTC)
        self._metrics.counters.errors[self.name, "source", "refused"] += 1
        log.error("%s: %s", self.name, message)

    def _note_retry(self, error: Retry) -> None:
        """An attempt to read the listing failed. An exchange that is not reached says so before the last attempt."""
        if not self._connections:
            self.last_error, self._last_error_at = str(error), datetime.now(UTC)
        self._metrics.counters.errors[self.name, "http", "Retry"] += 1
        log.warning("%s: reading the listing: %s", self.name, error)

    def _make_options(self) -> ExchangeOptions:
        return options_of(self._exchange, self._section, self._writer)


def options_of(exchange: Exchange, section: ExchangeSection, writer: str) -> ExchangeOptions:
    """The options for the exchange's module from its section of the configuration; `writer` is this daemon's name."""
    limits = exchange.LIMITS
    return ExchangeOptions(
        ws_url=(section.ws_url or limits.ws_url).rstrip("/"),
        rest_url=(section.rest_url or limits.rest_url).rstrip("/"),
        archive_url=(section.archive_url or "").rstrip("/"),
        trade_kind=section.trade_kind or exchange.TRADE_KINDS[0],
        book_depth=section.book.depth,
        book_interval=int(section.book.interval.total_seconds() * SECOND),
        quotes_interval=int(section.quotes.interval.total_seconds() * SECOND),
        writer=writer,
    )
