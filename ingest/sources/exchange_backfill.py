"""A historical range, chunk by chunk: the exchange's history is read page by page and committed by lanes and ladders of its own.

It runs beside the daemon, or without one, or beside another of its kind: keys are unique, so what is there already is a duplicate
and nothing more. A chunk is marked done when its rows are committed; killed at any point, the same command goes on with the chunks
that are not done. What an exchange does not vouch for yet (the last seconds) is never asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from ingest import registry
from ingest.config.sections import ExchangeSection
from ingest.config.settings import Settings
from ingest.errors import Stop
from ingest.protocol.exchange import Rate
from ingest.protocol.history import HistoryRequest
from ingest.protocol.session import ChannelName
from ingest.records import Instrument
from ingest.sources.ccxt_history import Ccxt
from ingest.sources.chunk_runner import NOTHING, Filled, Work, refuse_expired, shown
from ingest.sources.exchange_feed import options_of
from ingest.sources.history_loader import TABLES, LoadResult, Module, Origin, Past
from ingest.sources.progress import Progress
from ingest.store import bar_views
from ingest.store.coverage import to_datetime
from ingest.store.instruments import store_instruments
from ingest.store.jobs import Chunk, Job, open_job, pending, to_micros
from ingest.store.pool import Connection, Pool
from ingest.store.rollup import roll_up
from ingest.store.ts_edition import detect
from ingest.tables import Table
from ingest.transports.client import open_client
from ingest.transports.http import Http


class BackfillRequest(Struct, frozen=True, kw_only=True):
    """What a person asks for: [since, until), of which `ended` is the latest end that makes sense.

    `instruments` empty: those of the configuration; `via` None: the exchange's best way; `again`: also what was done before.
    """

    channel: ChannelName
    exchange: str
    instruments: tuple[str, ...]
    since: datetime
    until: datetime
    via: str | None = None
    again: bool = False


def ended(now: datetime) -> datetime:
    """Up to when everything is over: bars are closed, and every server of the exchange knows of them."""
    return (now - timedelta(minutes=1)).replace(second=0, microsecond=0)


def origin_of(settings: Settings, name: str, section: ExchangeSection) -> Origin:
    """Where the past of the section `name` is read from: the module of its protocol, or ccxt where there is none."""
    protocol = section.protocol or name
    module = registry.exchanges().get(protocol)
    return Module(module, options_of(module, section, settings.name)) if module else Ccxt(name, protocol, section.rest_url)


class Backfill:
    """One command's work. Raises Stop, before anything is fetched, where what is asked for cannot be had."""

    def __init__(self, settings: Settings, wanted: BackfillRequest, origin: Origin, section: ExchangeSection) -> None:
        self._settings = settings
        self._wanted = wanted
        self._origin = origin
        self._via = wanted.via or origin.VIA[-1]
        if self._via not in origin.VIA:
            raise Stop(f"--via: {wanted.exchange} has no way '{self._via}'; known: {', '.join(origin.VIA)}")
        if wanted.until <= wanted.since:
            raise Stop(f"--to {wanted.until:%Y-%m-%d %H:%M}: nothing is between it and --from {wanted.since:%Y-%m-%d %H:%M}")
        refuse_expired(settings, TABLES[wanted.channel].name, wanted.since)
        self._section = section

    async def run(self, connection: Connection, pool: Pool) -> str:
        """Fill what is pending; the account, in words. Raises Retry where a chunk failed: the same command tries it again."""
        async with self._http() as http:
            listed = await self._listed(http)
            rows = await store_instruments(pool, listed, self._trade_kind or None)
            chunks = [(row, chunk) for row in rows for chunk in await self._open(connection, row)]
            progress = Progress(len(chunks))
            edition = (await detect(connection)).edition
            past = Past(self._origin, self._wanted.channel, self._via, http=http, pool=pool, edition=edition)
            work = Work(connection, progress)

            async def fill(row: Instrument, chunk: Chunk) -> Filled:
                told = await past.fill(self._ask(row, chunk), progress.add_rows)
                return Filled(told.outcome, _verdict(chunk, told))

            await work.fill_all([(row, row.instrument, chunk) for row, chunk in chunks], fill)
        await self._refresh(connection)
        return work.account()

    async def dry_run(self, connection: Connection) -> str:
        """What `run` would fill; asks the exchange for its listing and changes nothing."""
        async with self._http() as http:
            listed = await self._listed(http)
        ids = await connection.fetch("SELECT symbol, id FROM instruments WHERE exchange = $1", self._wanted.exchange)
        known: dict[str, int] = {row["symbol"]: row["id"] for row in ids}
        rows = [replace(row, id=known.get(row.symbol, 0)) for row in listed]
        parts = [(row, part) for row in rows for part in await self._pending(connection, self._job(row))]
        return "\n".join(f"{row.instrument}: {shown(*part)}" for row, part in parts) or NOTHING

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[Http]:
        allowed = self._origin.rate
        # half of what the daemon allows itself: both may be at work from one address
        rate = Rate(max(1, allowed.amount // 2), allowed.seconds)
        async with open_client(self._section.proxy_url) as client:
            yield Http(client, rate=rate, alternative=self._origin.alternative)

    async def _listed(self, http: Http) -> list[Instrument]:
        listing = {row.instrument: row for row in await self._origin.listing(http)}
        names = self._wanted.instruments or self._section.instruments
        for name in names:
            if name not in listing:
                near = ", ".join(difflib.get_close_matches(name, listing, 3)) or "none"
                raise Stop(f"--instrument: {self._wanted.exchange} lists no '{name}'; near: {near}")
        return [replace(listing[name], exchange=self._wanted.exchange) for name in names]

    @property
    def _table(self) -> Table:
        return TABLES[self._wanted.channel]

    @property
    def _trade_kind(self) -> str:
        return self._origin.trade_kind if self._wanted.channel == "trades" else ""

    def _job(self, row: Instrument) -> Job:
        return Job(
            source=self._wanted.exchange,
            instrument_id=row.id,
            channel=self._wanted.channel,
            trade_kind=self._trade_kind,
            via=self._via,
            since=to_micros(self._wanted.since),
            until=to_micros(self._wanted.until),
        )

    async def _pending(self, connection: Connection, job: Job) -> list[tuple[int, int]]:
        cuts = cut(self._wanted.channel, job.since, job.until)
        if self._wanted.again:
            return list(pairwise(cuts))[::-1]
        return await pending(connection, job, cuts)

    async def _open(self, connection: Connection, row: Instrument) -> list[Chunk]:
        job = self._job(row)
        parts = await self._pending(connection, job)
        return await open_job(connection, job, parts) if parts else []

    def _ask(self, row: Instrument, chunk: Chunk) -> HistoryRequest:
        return HistoryRequest(instrument=row, channel=self._wanted.channel, since=chunk.since, until=chunk.until)

    async def _refresh(self, connection: Connection) -> None:
        """Roll-ups and aggregates of the range: a policy does not look so far back, and there may be no daemon."""
        while (await roll_up(connection)).taken:
            pass
        since = self._wanted.since.replace(hour=0, minute=0, second=0, microsecond=0)
        await bar_views.refresh(connection, self._table.name, since, self._wanted.until + timedelta(days=1))


def cut(channel: ChannelName, since: int, until: int) -> list[int]:
    """The edges of the chunks of [since, until), microseconds: days of trades, calendar months of candles, in UTC."""
    edges = [since]
    at = to_datetime(since)
    while True:
        day = at.replace(hour=0, minute=0, second=0, microsecond=0)
        at = day + timedelta(days=1) if channel == "trades" else (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        edge = to_micros(at)
        if edge >= until:
            return [*edges, until]
        edges.append(edge)


def _verdict(chunk: Chunk, told: LoadResult) -> str | None:
    """Why the chunk is not done; None when it is."""
    if told.error is not None:
        return str(told.error)
    return None if told.until >= chunk.until else f"the exchange vouches only for what was before {to_datetime(told.until)}"
