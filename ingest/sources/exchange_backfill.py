"""Backfills a historical range of an exchange chunk by chunk. A chunk is read page by page from its history, and committed.

It may run beside the daemon or another backfill: keys are unique, so a row that is stored already is only a duplicate. A chunk is
marked done when its rows are committed. After a kill, the same command continues with the chunks that are not done. The last
seconds, for which the exchange's history is not complete yet, are never requested. Minutes that lack a candle, at an exchange that
has one for every minute, fail the chunk and are gaps of the ledger.
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
from ingest.errors import Reject, Stop
from ingest.protocol.exchange import Rate
from ingest.protocol.history import HistoryRequest
from ingest.protocol.session import ChannelName
from ingest.records import Instrument
from ingest.sources.ccxt_history import Ccxt
from ingest.sources.chunk_runner import NOTHING, ChunkResult, ChunkRunner, range_text, refuse_empty, refuse_expired
from ingest.sources.exchange_feed import options_of
from ingest.sources.history_loader import INCOMPLETE, TABLES, ExchangeOrigin, HistoryLoader, LoadResult, Origin
from ingest.sources.minute_count import Range
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
    """A backfill command: the range [since, until); `until` is at most `latest_end`.

    Without `instruments`, those of the configuration are filled; without `via`, the last way of the exchange's `VIA` is used;
    `again` includes chunks that are done, and replaces stored rows by others, whatever their origin.
    """

    channel: ChannelName
    exchange: str
    instruments: tuple[str, ...]
    since: datetime
    until: datetime
    via: str | None = None
    again: bool = False


def latest_end(now: datetime) -> datetime:
    """The time up to which candles are closed and every server of the exchange has them."""
    return (now - timedelta(minutes=1)).replace(second=0, microsecond=0)


def origin_of(settings: Settings, name: str, section: ExchangeSection) -> Origin:
    """The origin of the history of the section `name`: the module of its protocol, or ccxt where there is no module."""
    protocol = section.protocol or name
    module = registry.exchanges().get(protocol)
    return ExchangeOrigin(module, options_of(module, section, settings.name)) if module else Ccxt(name, protocol, section.rest_url)


class Backfill:
    """One backfill command. The constructor raises Stop for a wrong range or way, or a range that retention would drop."""

    def __init__(self, settings: Settings, request: BackfillRequest, origin: Origin, section: ExchangeSection) -> None:
        self._settings = settings
        self._request = request
        self._origin = origin
        self._via = request.via or origin.VIA[-1]
        if self._via not in origin.VIA:
            raise Stop(f"--via: {request.exchange} has no history by '{self._via}'; known: {', '.join(origin.VIA)}")
        refuse_empty(request.since, request.until)
        refuse_expired(settings, TABLES[request.channel].name, request.since)
        self._section = section

    async def run(self, connection: Connection, pool: Pool) -> str:
        """Fill the pending chunks and return a summary. Raises Retry where a chunk failed: the same command tries it again."""
        async with self._http() as http:
            listed = await self._list_instruments(http)
            rows = await store_instruments(pool, listed, self._trade_kind or None)
            chunks = [(row, chunk) for row in rows for chunk in await self._open(connection, row)]
            progress = Progress(len(chunks))
            edition = (await detect(connection)).edition
            asked = self._request
            loader = HistoryLoader(self._origin, asked.channel, self._via, http=http, pool=pool, edition=edition, force=asked.again)
            runner = ChunkRunner(connection, progress)

            async def fill(row: Instrument, chunk: Chunk) -> ChunkResult:
                result = await loader.fill(self._request_for(row, chunk), progress.add_rows)
                return ChunkResult(result.outcome, _verdict(chunk, result), self._missing(result))

            await runner.run([(row, row.instrument, chunk) for row, chunk in chunks], fill)
        await self._refresh(connection)
        return runner.summary()

    async def dry_run(self, connection: Connection) -> str:
        """List the ranges that `run` would fill. Requests the exchange's listing and changes nothing."""
        async with self._http() as http:
            listed = await self._list_instruments(http)
        ids = await connection.fetch("SELECT symbol, id FROM instruments WHERE exchange = $1", self._request.exchange)
        known: dict[str, int] = {row["symbol"]: row["id"] for row in ids}
        rows = [replace(row, id=known.get(row.symbol, 0)) for row in listed]
        parts = [(row, part) for row in rows for part in await self._pending(connection, self._job(row))]
        return "\n".join(f"{row.instrument}: {range_text(*part)}" for row, part in parts) or NOTHING

    @asynccontextmanager
    async def _http(self) -> AsyncIterator[Http]:
        allowed = self._origin.rate
        # half of the daemon's rate: both may run from one address
        rate = Rate(max(1, allowed.amount // 2), allowed.seconds)
        async with open_client(self._section.proxy_url) as client:
            yield Http(client, rate=rate, alternative=self._origin.alternative)

    async def _list_instruments(self, http: Http) -> list[Instrument]:
        listing = {row.instrument: row for row in await self._origin.listing(http)}
        names = self._request.instruments or self._section.instruments
        for name in names:
            if name not in listing:
                near = ", ".join(difflib.get_close_matches(name, listing, 3)) or "none"
                raise Stop(f"--instrument: {self._request.exchange} lists no '{name}'; near: {near}")
        return [replace(listing[name], exchange=self._request.exchange) for name in names]

    @property
    def _table(self) -> Table:
        return TABLES[self._request.channel]

    @property
    def _trade_kind(self) -> str:
        return self._origin.trade_kind if self._request.channel == "trades" else ""

    def _job(self, row: Instrument) -> Job:
        return Job(
            source=self._request.exchange,
            instrument_id=row.id,
            channel=self._request.channel,
            trade_kind=self._trade_kind,
            via=self._via,
            since=to_micros(self._request.since),
            until=to_micros(self._request.until),
        )

    async def _pending(self, connection: Connection, job: Job) -> list[tuple[int, int]]:
        edges = chunk_edges(self._request.channel, job.since, job.until)
        if self._request.again:
            return list(pairwise(edges))[::-1]
        return await pending(connection, job, edges)

    async def _open(self, connection: Connection, row: Instrument) -> list[Chunk]:
        job = self._job(row)
        parts = await self._pending(connection, job)
        return await open_job(connection, job, parts) if parts else []

    def _request_for(self, row: Instrument, chunk: Chunk) -> HistoryRequest:
        return HistoryRequest(instrument=row, channel=self._request.channel, since=chunk.since, until=chunk.until)

    def _missing(self, result: LoadResult) -> tuple[Range, ...] | None:
        """The minutes without a candle, for the ledger; None where the chunk was not read to its end."""
        was_read = result.error is None or (isinstance(result.error, Reject) and result.error.reason == INCOMPLETE)
        return result.missing if self._request.channel == "candles" and was_read else None

    async def _refresh(self, connection: Connection) -> None:
        """Refresh roll-ups and aggregates of the range: policies do not go back so far, and no daemon may be running."""
        while (await roll_up(connection)).taken:
            pass
        since = self._request.since.replace(hour=0, minute=0, second=0, microsecond=0)
        await bar_views.refresh(connection, self._table.name, since, self._request.until + timedelta(days=1))


def chunk_edges(channel: ChannelName, since: int, until: int) -> list[int]:
    """The edges of the chunks of [since, until), in microseconds: days of trades, calendar months of candles, in UTC."""
    edges = [since]
    at = to_datetime(since)
    while True:
        day = at.replace(hour=0, minute=0, second=0, microsecond=0)
        at = day + timedelta(days=1) if channel == "trades" else (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        edge = to_micros(at)
        if edge >= until:
            return [*edges, until]
        edges.append(edge)


def _verdict(chunk: Chunk, result: LoadResult) -> str | None:
    """The reason why the chunk is not done; None where it is."""
    if result.error is not None:
        return str(result.error)
    return None if result.until >= chunk.until else f"the exchange's history is complete only before {to_datetime(result.until)}"
