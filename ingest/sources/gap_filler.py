"""The healer of one exchange: what is missing is asked for again, from the exchange's own history, until nothing is.

A round detects (what nobody claims becomes a hole), takes the newest hole that is due, and asks for a piece of it. One daemon does
this for an exchange, under a lease; it keeps to a quarter of the exchange's budget and stands back while live rows wait.
The rule one would get wrong: an event's time is not when we would have heard of it, so what is asked for reaches a little beyond
both ends of the hole; the unique keys drop what was there.
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

from ingest.config.sections import ExchangeSection
from ingest.config.settings import Settings
from ingest.counters import Counters
from ingest.errors import Reject, Retry
from ingest.protocol.exchange import Exchange, Rate
from ingest.protocol.history import HistoryRequest
from ingest.protocol.session import Channel
from ingest.records import MINUTE, SECOND, Instrument
from ingest.sources.exchange_feed import options_of
from ingest.sources.history_loader import TABLES, LoadResult, Module, Past
from ingest.store import gap_backlog, sqlstate
from ingest.store.coverage import to_datetime
from ingest.store.gap_backlog import OpenGap, TrackedChannel
from ingest.store.leases import acquire, release
from ingest.store.pool import Connection, Pool
from ingest.store.ts_edition import Edition
from ingest.transports.client import open_client
from ingest.transports.http import Http

LEASE_SECONDS = 60.0
PAD = 5 * SECOND
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE
PIECE: dict[Channel, int] = {"trades": HOUR, "candles": 31 * DAY}  # asked for at once: what a kill makes us ask for again
PUBLISHED = 2 * DAY  # what is older is in the archive by now
RECENT = timedelta(days=2)  # how far back each round looks for what nobody claims
THOROUGH_SECONDS = 3600.0  # how often it looks all the way back
TRIES = 5  # after so many refusals a hole is given up
LONGEST_WAIT = 600.0  # seconds until a hole that could not be closed is tried again
SOON = 15.0  # where the exchange's history is only a little behind

log = logging.getLogger(__name__)


class Piece(Struct, frozen=True):
    """What of a hole is asked for at once, and by which way."""

    since: int
    until: int
    via: str


class GapFiller:
    """Closes the holes of one exchange. `busy` says whether live rows wait; then nothing is fetched."""

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
    ) -> None:
        self.name = name
        self.last_error = ""
        self.state: dict[str, object] = {"healing": "waiting"}
        self._exchange = exchange
        self._section = section
        self._settings = settings
        self._pool = pool
        self._edition: Edition = edition
        self._counters = counters
        self._busy = busy
        # no more than the name: killed and started again, it goes on at once, and two of one name that both heal do no harm
        self._holder = settings.name
        self._followed: set[tuple[int, Channel]] = set()
        self._thorough_due = 0.0

    def reload(self, section: ExchangeSection) -> None:
        """Follow what another configuration names. Addresses and proxy need a restart."""
        self._section = section
        self._followed.clear()  # their history may be another

    async def run(self) -> None:
        """Until cancelled."""
        interval = self._settings.heal.interval.total_seconds()
        try:
            async with self._http() as http:
                while True:
                    if not await self.round(http):
                        await asyncio.sleep(interval)
        finally:
            with suppress(TimeoutError, *sqlstate.FOREIGN):
                async with asyncio.timeout(1), self._pool.acquire() as connection:
                    await release(connection, self._lease, self._holder)

    async def until_done(self) -> None:
        """Rounds until nothing is due: for a person who asks for it. Raises Retry while another daemon has the lease."""
        async with self._pool.acquire() as connection:
            await gap_backlog.retry_all(connection, self.name)
        async with self._http() as http:
            while await self.round(http):
                pass
        if self.state["healing"] != "ours":
            raise Retry(f"{self.name}: another daemon heals it, and was told to try every hole again now")

    async def round(self, http: Http) -> bool:
        """One piece of one hole, if one is due. Raises Retry or Hold where the database does not let us."""
        try:
            async with self._pool.acquire() as connection:
                if not await acquire(connection, self._lease, self._holder, LEASE_SECONDS):
                    self.state = {"healing": "done by another daemon"}
                    return False
                instruments = {
                    row.id: row for row in await gap_backlog.instruments_of(connection, self.name, self._section.instruments)
                }
                await self._detect(connection, instruments)
                await self._show(connection)
                if self._busy():
                    return False
                due = await gap_backlog.next_gaps(connection, self.name, list(instruments), self._settings.heal.after)
                holes = [hole for hole in due if not await self._is_settled(connection, hole)]
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"healing {self.name}") from error
        if holes:
            await self._close(http, instruments[holes[0].instrument_id], holes)
        return bool(due)

    @property
    def _lease(self) -> str:
        return f"heal {self.name}"

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[Http]:
        manners = self._exchange.LIMITS
        rate = Rate(max(1, manners.weight.amount // 4), manners.weight.seconds)
        async with open_client(self._section.proxy_url) as client:
            yield Http(client, rate=rate, alternative=manners.alternative)

    # --- what is missing --------------------------------------------------------------------------------------------------

    async def _detect(self, connection: Connection, instruments: dict[int, Instrument]) -> None:
        streams = [self._stream(one, cast(Channel, channel)) for one in instruments for channel in self._section.channels]
        if not streams:
            return
        new = [one for one in streams if one.channel in TABLES and (one.instrument_id, one.channel) not in self._followed]
        if new:
            await gap_backlog.track(connection, self.name, new)
            self._followed.update((one.instrument_id, one.channel) for one in new)
        looked_from = datetime.now(UTC) - RECENT
        if time.monotonic() >= self._thorough_due:
            self._thorough_due = time.monotonic() + THOROUGH_SECONDS
            looked_from = to_datetime(0)
        await gap_backlog.detect(connection, self.name, streams, self._settings.heal.after, looked_from)

    def _stream(self, instrument_id: int, channel: Channel) -> TrackedChannel:
        kind = self._section.trade_kind or self._exchange.TRADE_KINDS[0]
        back = self._section.history if channel in TABLES else None
        kept = self._kept(channel)
        since = datetime.now(UTC) - min(back or timedelta(0), kept or timedelta.max)
        return TrackedChannel(instrument_id, channel, kind if channel == "trades" else None, int(since.timestamp() * SECOND))

    def _kept(self, channel: Channel) -> timedelta | None:
        return self._settings.retention[TABLES[channel].name] if channel in TABLES else None

    async def _show(self, connection: Connection) -> None:
        """The gauges, and what the status says."""
        open_holes = await gap_backlog.summary(connection, self.name)
        for channel in get_args(Channel):
            self._counters.gap_open_seconds[self.name, channel] = open_holes.get(channel, (0, 0.0))[1]
        count, seconds = (sum(one) for one in zip(*open_holes.values(), strict=True)) if open_holes else (0, 0.0)
        self.state = {"healing": "ours", "open_gaps": count, "open_seconds": round(seconds, 1), "last_error": self.last_error}

    async def _is_settled(self, connection: Connection, hole: OpenGap) -> bool:
        """Whether there is nothing to ask: it is stored by now, or older than what is kept."""
        kept = self._kept(hole.channel)
        oldest = 0 if kept is None else _now() - int(kept.total_seconds() * SECOND)
        if hole.since < oldest:
            until = min(oldest, hole.until)
            verdict = "older than what retention keeps"
            return await gap_backlog.resolve(connection, hole, hole.since, until, state="unrecoverable", verdict=verdict, stored=0)
        if hole.since < hole.until and not await gap_backlog.uncovered_parts(connection, self.name, hole):
            self._count_healed(hole)
            verdict = "was stored meanwhile"
            return await gap_backlog.resolve(connection, hole, hole.since, hole.until, state="healed", verdict=verdict, stored=0)
        return False

    # --- closing ----------------------------------------------------------------------------------------------------------

    async def _close(self, http: Http, instrument: Instrument, holes: Sequence[OpenGap]) -> None:
        newest = holes[0]
        piece = self._piece(min(hole.since for hole in holes), newest)
        past = Past(
            Module(self._exchange, options_of(self._exchange, self._section, self._settings.name)),
            newest.channel,
            piece.via,
            http=http,
            pool=self._pool,
            edition=self._edition,
        )
        keeping = asyncio.create_task(self._keep_lease())
        try:
            told = await past.fill(_ask(instrument, newest, piece))
        finally:
            keeping.cancel()
        self._count(newest.channel, told)
        try:
            async with self._pool.acquire() as connection:
                for hole in holes:
                    await self._settle(connection, hole, piece, told)
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"settling a gap of {self.name}") from error

    async def _keep_lease(self) -> None:
        """A busy market's hour takes longer than a lease."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            with suppress(*sqlstate.FOREIGN):  # whoever fills now will hear of it himself
                async with self._pool.acquire() as connection:
                    await acquire(connection, self._lease, self._holder, LEASE_SECONDS)

    def _piece(self, since: int, newest: OpenGap) -> Piece:
        """The newest piece: of a whole day or more from the archive, where it is published; ids are never cut."""
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

    async def _settle(self, connection: Connection, hole: OpenGap, piece: Piece, told: LoadResult) -> None:
        until = min(told.until, piece.until)
        # a part of a hole must be one end of it, and ids are all there or none
        if until >= min(hole.until, piece.until) or (hole.since >= piece.since and hole.first_id is None):
            await self._heal(connection, hole, max(hole.since, piece.since), until, told)
        error = told.error
        if until >= hole.until or (error is None and until == piece.until):
            return  # what is left of the hole, if anything, is the next piece
        if error is None:
            vouched = f"the exchange vouches only for what was before {to_datetime(told.until):%Y-%m-%d %H:%M:%S}"
            await gap_backlog.postpone(connection, hole, SOON, vouched)
        elif isinstance(error, Reject):
            await self._refused(connection, hole, error)
        else:
            await self._later(connection, hole, error)

    async def _heal(self, connection: Connection, hole: OpenGap, since: int, until: int, told: LoadResult) -> None:
        stored = told.outcome.written + told.outcome.revised + told.outcome.duplicate
        if await gap_backlog.resolve(connection, hole, since, until, state="healed", verdict=None, stored=stored):
            self._count_healed(hole)
            log.info("%s: gap in %s of instrument %d is healed: %s", self.name, hole.channel, hole.instrument_id, hole.reason)

    async def _refused(self, connection: Connection, hole: OpenGap, error: Reject) -> None:
        earliest = int(error.code) if error.reason == "history" else hole.since
        if earliest > hole.since:
            verdict = f"the exchange keeps only what is younger than {to_datetime(earliest):%Y-%m-%d %H:%M:%S}"
            await self._give_up(connection, hole, min(earliest, hole.until), verdict)
        elif hole.tries + 1 >= TRIES:
            await self._give_up(connection, hole, hole.until, str(error))
        else:
            await self._later(connection, hole, error)

    async def _give_up(self, connection: Connection, hole: OpenGap, until: int, verdict: str) -> None:
        log.warning("%s: gap in %s of instrument %d cannot be healed: %s", self.name, hole.channel, hole.instrument_id, verdict)
        await gap_backlog.resolve(connection, hole, hole.since, until, state="unrecoverable", verdict=verdict, stored=0)

    async def _later(self, connection: Connection, hole: OpenGap, error: Reject | Retry) -> None:
        self.last_error = str(error)
        wait = max((error.after or 0.0) if isinstance(error, Retry) else 0.0, min(5.0 * 2**hole.tries, LONGEST_WAIT))
        await gap_backlog.postpone(connection, hole, wait, str(error))

    def _count_healed(self, hole: OpenGap) -> None:
        self._counters.gaps_healed[self.name, hole.channel, hole.reason] += 1

    def _count(self, channel: Channel, told: LoadResult) -> None:
        """What history brought is in the identity, too."""
        tally, outcome = self._counters.tallies[TABLES[channel].name], told.outcome
        tally.decoded += outcome.written + outcome.revised + outcome.duplicate + sum(outcome.rejected.values())
        tally.written += outcome.written
        tally.revised += outcome.revised
        tally.duplicate += outcome.duplicate
        tally.rejected.update(outcome.rejected)


def _ask(instrument: Instrument, hole: OpenGap, piece: Piece) -> HistoryRequest:
    since, until = piece.since - PAD, piece.until + PAD
    if hole.channel == "candles":
        since, until = piece.since - piece.since % MINUTE, piece.until + -piece.until % MINUTE
    return HistoryRequest(
        instrument=instrument, channel=hole.channel, since=since, until=until, first_id=hole.first_id, last_id=hole.last_id
    )


def _now() -> int:
    return time.time_ns() // 1000
