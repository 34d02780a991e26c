"""Fills the gaps of one exchange from the exchange's own history.

A round detects gaps (ranges without a claim), takes the newest gap that is due, and requests a piece of it. One daemon does this
for an exchange, under the lease `heal NAME`. It uses a quarter of the exchange's request budget, and pauses while a queue of live
rows is half full. The bounds of a gap are times of receipt, which differ from the times of events, so each request extends `PAD`
beyond both ends; the unique keys drop rows that are stored already.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import cast, get_args

from msgspec import Struct
from msgspec.structs import replace

from ingest.config.sections import ExchangeSection
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.errors import Reject, Retry
from ingest.protocol.exchange import Exchange, Rate
from ingest.protocol.history import HistoryRequest
from ingest.protocol.session import ChannelName
from ingest.records import MINUTE, SECOND, Instrument
from ingest.sources.evidence import EvidenceSearch
from ingest.sources.exchange_feed import options_of
from ingest.sources.held_lease import RENEW_SECONDS, HeldLease
from ingest.sources.history_loader import INCOMPLETE, TABLES, ExchangeOrigin, HistoryLoader, LoadResult
from ingest.sources.run_state import RunState, State
from ingest.store import gap_backlog, sqlstate
from ingest.store.coverage import to_datetime
from ingest.store.gap_backlog import OpenGap, TrackedChannel
from ingest.store.pool import Connection, Pool
from ingest.store.ts_edition import Edition
from ingest.transports.client import open_client
from ingest.transports.http import Http

PAD = 5 * SECOND  # by which a request extends beyond both ends of a gap
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE
PIECE: dict[ChannelName, int] = {
    "trades": HOUR,
    "candles": 31 * DAY,
}  # the most that a round requests, and that is requested again after a kill
PUBLISHED = 2 * DAY  # the age at which a day is in the archive
RECENT = timedelta(days=2)  # how far back each round looks for ranges without a claim
THOROUGH_SECONDS = 3600.0  # how often it looks all the way back
TRIES = 5  # after so many refusals a gap is unrecoverable
LONGEST_WAIT = 600.0  # seconds until the next attempt at a gap
SOON = 15.0  # seconds until the next attempt where the exchange's history does not reach the end of the gap yet

log = logging.getLogger(__name__)


class Piece(Struct, frozen=True):
    """The part of a gap that one round requests, [since, until) in microseconds; `via` is rest or archive."""

    since: int
    until: int
    via: str


class GapFiller:
    """Fills the gaps of one exchange. Nothing is requested while `busy` returns True, because live rows wait."""

    def __init__(
        self,
        name: str,
        exchange: Exchange,
        section: ExchangeSection,
        settings: Settings,
        *,
        pool: Pool,
        edition: Edition,
        counters: Counters,
        busy: Callable[[], bool] = lambda: False,
        evidence: EvidenceSearch | None = None,
    ) -> None:
        self.name = name
        self.last_error = ""
        self.state = RunState(State.WAITING) if settings.heal.enabled else RunState(State.DISABLED, "heal.enabled = false")
        self._open_gaps: int | None = None
        self._open_seconds: float | None = None
        self._exchange = exchange
        self._section = section
        self._settings = settings
        self._pool = pool
        self._edition: Edition = edition
        self._counters = counters
        self._busy = busy
        self._evidence = evidence
        # the holder is the daemon's name: after a kill and restart it continues at once, and two daemons of one name do no harm
        self._lease = HeldLease(pool, f"heal {name}", settings.name)
        self._followed: set[tuple[int, ChannelName]] = set()
        self._thorough_due = 0.0

    def reload(self, section: ExchangeSection) -> None:
        """Apply another configuration. A change of addresses or proxy needs a restart."""
        self._section = section
        self._followed.clear()  # `history` may have changed

    def status(self) -> dict[str, object]:
        """The status of this gap filler, for `ingest status` and the status page."""
        return self.state.status() | {
            "open_gaps": self._open_gaps,
            "open_seconds": self._open_seconds,
            "last_error": self.last_error,
        }

    def report(self, state: RunState) -> None:
        """Show why `run` ended."""
        self.state, self.last_error = state, state.detail

    async def run(self) -> None:
        """Run until cancelled."""
        interval = self._settings.heal.interval.total_seconds()
        try:
            async with self._http() as http:
                while True:
                    seconds = 0.0 if await self.round(http) else interval
                    if self._evidence is not None and self.state.state is State.OK:
                        await self._evidence.ask(http, self._section, seconds)
                    else:
                        await asyncio.sleep(seconds)
        finally:
            await self._lease.release()

    async def until_done(self) -> None:
        """Repeat rounds until nothing is due, for `ingest gaps --heal`. Raises Retry while another daemon has the lease."""
        async with self._pool.acquire() as connection:
            await gap_backlog.retry_all(connection, self.name)
        async with self._http() as http:
            while await self.round(http):
                pass
        if self.state.state is not State.OK:
            raise Retry(f"{self.name}: another daemon fills its gaps, and all of them are due now")

    async def round(self, http: Http) -> bool:
        """Fill one piece of a gap. Returns whether a gap was due. Raises Retry or Hold where the database fails."""
        try:
            async with self._pool.acquire() as connection:
                if not await self._lease.acquire(connection):
                    self.state = RunState(State.STANDBY)
                    return False
                instruments = {
                    row.id: row for row in await gap_backlog.instruments_of(connection, self.name, self._section.instruments)
                }
                await self._detect(connection, instruments)
                await self._update_status(connection)
                if self._busy():
                    return False
                due = await gap_backlog.next_gaps(connection, self.name, list(instruments), self._settings.heal.after)
                gaps = [gap for gap in due if not await self._is_resolved(connection, gap)]
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"filling the gaps of {self.name}") from error
        if gaps:
            await self._fill(http, instruments[gaps[0].instrument_id], gaps)
        return bool(due)

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[Http]:
        limits = self._exchange.LIMITS
        rate = Rate(max(1, limits.weight.amount // 4), limits.weight.seconds)
        async with open_client(self._section.proxy_url) as client:
            yield Http(client, rate=rate, alternative=limits.alternative)

    # --- what is missing --------------------------------------------------------------------------------------------------

    async def _detect(self, connection: Connection, instruments: dict[int, Instrument]) -> None:
        streams = [self._tracked(id_, cast(ChannelName, channel)) for id_ in instruments for channel in self._section.channels]
        if not streams:
            return
        new = [stream for stream in streams if stream.channel in TABLES and _key(stream) not in self._followed]
        if new:
            await gap_backlog.track(connection, self.name, new)
            self._followed.update(map(_key, new))
        search_from = datetime.now(UTC) - RECENT
        if time.monotonic() >= self._thorough_due:
            self._thorough_due = time.monotonic() + THOROUGH_SECONDS
            search_from = to_datetime(0)
        await gap_backlog.detect(connection, self.name, streams, self._settings.heal.after, search_from)

    def _tracked(self, instrument_id: int, channel: ChannelName) -> TrackedChannel:
        kind = self._section.trade_kind or self._exchange.TRADE_KINDS[0]
        back = self._section.history if channel in TABLES else None
        kept = self._retention(channel)
        since = datetime.now(UTC) - min(back or timedelta(0), kept or timedelta.max)
        return TrackedChannel(instrument_id, channel, kind if channel == "trades" else None, int(since.timestamp() * SECOND))

    def _retention(self, channel: ChannelName) -> timedelta | None:
        return self._settings.retention[TABLES[channel].name] if channel in TABLES else None

    async def _update_status(self, connection: Connection) -> None:
        open_gaps = await gap_backlog.summary(connection, self.name)
        for channel in get_args(ChannelName):
            self._counters.gap_open_seconds[self.name, channel] = open_gaps.get(channel, (0, 0.0))[1]
        self._open_gaps = sum(count for count, _ in open_gaps.values())
        self._open_seconds = round(sum(seconds for _, seconds in open_gaps.values()), 1)
        self.state = RunState(State.OK)

    async def _is_resolved(self, connection: Connection, gap: OpenGap) -> bool:
        """Resolve what needs no request: rows that are stored by now or older than retention. Whether that was the whole gap."""
        kept = self._retention(gap.channel)
        oldest = 0 if kept is None else _now() - int(kept.total_seconds() * SECOND)
        if gap.since < oldest:
            until = min(oldest, gap.until)
            verdict = "older than retention"
            return await gap_backlog.resolve(connection, gap, gap.since, until, state="unrecoverable", verdict=verdict, stored=0)
        if gap.since < gap.until and not await gap_backlog.uncovered_parts(connection, self.name, gap):
            self._count_healed(gap)
            verdict = "was stored meanwhile"
            return await gap_backlog.resolve(connection, gap, gap.since, gap.until, state="healed", verdict=verdict, stored=0)
        return False

    # --- filling ----------------------------------------------------------------------------------------------------------

    async def _fill(self, http: Http, instrument: Instrument, gaps: Sequence[OpenGap]) -> None:
        newest = gaps[0]
        piece = self._piece(min(gap.since for gap in gaps), newest)
        loader = HistoryLoader(
            ExchangeOrigin(self._exchange, options_of(self._exchange, self._section, self._settings.name)),
            newest.channel,
            piece.via,
            http=http,
            pool=self._pool,
            edition=self._edition,
        )
        keeping = asyncio.create_task(self._keep_lease())
        try:
            result = await loader.fill(_request_for(instrument, newest, piece))
        finally:
            keeping.cancel()
        self._count(newest.channel, result)
        try:
            async with self._pool.acquire() as connection:
                for gap in gaps:
                    await self._settle(connection, gap, piece, result)
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"settling a gap of {self.name}") from error

    async def _keep_lease(self) -> None:
        """Renew the lease: loading an hour of a busy market takes longer than a lease lasts."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(*sqlstate.FOREIGN):  # a failing database also fails the piece, which reports it
                await self._lease.acquire()

    def _piece(self, since: int, newest: OpenGap) -> Piece:
        """The newest piece. A gap of a day or more is read from the archive where it has the day; a range of ids is never cut."""
        if newest.first_id is not None:
            return Piece(newest.since, newest.until, "rest")
        published = _now() - PUBLISHED
        published -= published % DAY
        archive = "archive" in self._exchange.VIA and newest.until - since >= DAY and newest.tries == 0
        start = max(since, newest.until - PIECE[newest.channel])
        if not archive:
            return Piece(start, newest.until, "rest")
        if newest.until > published:
            return Piece(max(start, published), newest.until, "rest")
        day = (newest.until - 1) // DAY * DAY
        return Piece(max(since, day) if newest.channel == "trades" else start, newest.until, "archive")

    async def _settle(self, connection: Connection, gap: OpenGap, piece: Piece, result: LoadResult) -> None:
        if result.missing and result.until >= gap.until and isinstance(result.error, Reject) and result.error.reason == INCOMPLETE:
            await self._settle_incomplete(connection, gap, piece, result, result.error)
            return
        until = min(result.complete_until, piece.until)
        # a filled part must be one end of the gap, and a range of ids is filled as a whole
        if until >= min(gap.until, piece.until) or (gap.since >= piece.since and gap.first_id is None):
            await self._heal(connection, gap, max(gap.since, piece.since), until, result)
        error = result.error
        if until >= gap.until or (error is None and until == piece.until):
            return  # the rest of the gap is the next piece
        if error is None:
            verdict = f"the exchange's history is complete only before {to_datetime(result.until):%Y-%m-%d %H:%M:%S}"
            await gap_backlog.postpone(connection, gap, SOON, verdict)
        elif isinstance(error, Reject):
            await self._after_refusal(connection, gap, error)
        else:
            await self._try_later(connection, gap, error)

    async def _settle_incomplete(
        self, connection: Connection, gap: OpenGap, piece: Piece, result: LoadResult, error: Reject
    ) -> None:
        """Heal the gap from its end, but for the minutes that the exchange does not have.

        These are unrecoverable if the archive would have them by now, or if they were requested often enough and are an hour old.
        """
        for missing in reversed(result.missing):
            since, until = max(missing[0], gap.since), min(missing[1], gap.until)
            if since >= until:
                continue
            if until < gap.until:
                await self._heal(connection, gap, until, gap.until, result)
                gap = replace(gap, until=until)
            if until > _now() - (PUBLISHED if gap.tries + 1 < TRIES else HOUR):
                await self._try_later(connection, gap, error)
                return
            await self._mark_unrecoverable(connection, gap, since, until, str(error))
            if since == gap.since:
                return
            gap = replace(gap, until=since)
        await self._heal(connection, gap, max(gap.since, piece.since), gap.until, result)

    async def _heal(self, connection: Connection, gap: OpenGap, since: int, until: int, result: LoadResult) -> None:
        stored = result.outcome.written + result.outcome.revised + result.outcome.duplicate
        if await gap_backlog.resolve(connection, gap, since, until, state="healed", verdict=None, stored=stored):
            self._count_healed(gap)
            log.info("%s: gap in %s of instrument %d is healed: %s", self.name, gap.channel, gap.instrument_id, gap.reason)

    async def _after_refusal(self, connection: Connection, gap: OpenGap, error: Reject) -> None:
        earliest = int(error.code) if error.reason == "history" else gap.since
        if earliest > gap.since:
            verdict = f"the exchange keeps only rows younger than {to_datetime(earliest):%Y-%m-%d %H:%M:%S}"
            await self._mark_unrecoverable(connection, gap, gap.since, min(earliest, gap.until), verdict)
        elif gap.tries + 1 >= TRIES:
            await self._mark_unrecoverable(connection, gap, gap.since, gap.until, str(error))
        else:
            await self._try_later(connection, gap, error)

    async def _mark_unrecoverable(self, connection: Connection, gap: OpenGap, since: int, until: int, verdict: str) -> None:
        log.warning("%s: gap in %s of instrument %d cannot be filled: %s", self.name, gap.channel, gap.instrument_id, verdict)
        await gap_backlog.resolve(connection, gap, since, until, state="unrecoverable", verdict=verdict, stored=0)

    async def _try_later(self, connection: Connection, gap: OpenGap, error: Reject | Retry) -> None:
        self.last_error = str(error)
        wait = max((error.after or 0.0) if isinstance(error, Retry) else 0.0, min(5.0 * 2**gap.tries, LONGEST_WAIT))
        await gap_backlog.postpone(connection, gap, wait, str(error))

    def _count_healed(self, gap: OpenGap) -> None:
        self._counters.gaps_healed[self.name, gap.channel, gap.reason] += 1

    def _count(self, channel: ChannelName, result: LoadResult) -> None:
        """Add rows from history to the row totals."""
        tally, outcome = self._counters.tallies[TABLES[channel].name], result.outcome
        tally.decoded += outcome.written + outcome.revised + outcome.duplicate + sum(outcome.rejected.values())
        tally.written += outcome.written
        tally.revised += outcome.revised
        tally.duplicate += outcome.duplicate
        tally.rejected.update(outcome.rejected)


def _key(stream: TrackedChannel) -> tuple[int, ChannelName]:
    return stream.instrument_id, stream.channel


def _request_for(instrument: Instrument, gap: OpenGap, piece: Piece) -> HistoryRequest:
    since, until = piece.since - PAD, piece.until + PAD
    if gap.channel == "candles":
        since, until = piece.since - piece.since % MINUTE, piece.until + -piece.until % MINUTE
    return HistoryRequest(
        instrument=instrument, channel=gap.channel, since=since, until=until, first_id=gap.first_id, last_id=gap.last_id
    )


def _now() -> int:
    return time.time_ns() // 1000
