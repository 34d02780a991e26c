"""A piece of one stream's past, read page by page from its origin and committed: what backfill and healing have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from ingest.counters import Tally
from ingest.errors import Reject, Retry
from ingest.pipeline.batch import Outcome
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.pipeline.writer import Writer
from ingest.protocol.exchange import Exchange, Options, Rate
from ingest.protocol.history import Columns, HistoryRequest, Page
from ingest.protocol.session import Channel
from ingest.records import Instrument, Record
from ingest.store.batch_writer import BatchWriter
from ingest.store.pool import Pool
from ingest.store.rollup import is_rolled_up
from ingest.store.ts_edition import Edition
from ingest.tables import CANDLES, TRADES, Table
from ingest.transports.http import Http

T = TypeVar("T")
TABLES: dict[Channel, Table] = {"trades": TRADES, "candles": CANDLES}
# a reader of history waits for room as long as it takes: the exchange keeps what is not fetched yet
LIMITS = Limits(max_rows=50_000, max_wait=None)


class LoadResult(Struct, frozen=True):
    """What came of it: rows by outcome, up to when the exchange vouched (microseconds), and what ended it too early, if so."""

    outcome: Outcome
    until: int
    error: Reject | Retry | None = None


class Origin(Protocol):
    """Where a past is read from: one of our modules, or ccxt. `trade_kind` is of its trades."""

    VIA: tuple[str, ...]
    trade_kind: str
    rate: Rate  # what it may be asked
    alternative: str  # what to do where it refuses us

    async def listing(self, http: Http) -> list[Instrument]:
        """Every market that it lists. Raises Retry or Reject."""

    def pages(self, http: Http, ask: HistoryRequest, via: str) -> AsyncGenerator[Page, None]:
        """As `flow.Exchange.history`, its requests answered."""


class Module:
    """One of our exchange modules as an origin."""

    def __init__(self, exchange: Exchange, options: Options) -> None:
        self._exchange = exchange
        self._options = options
        self.VIA = exchange.VIA
        self.trade_kind = options.trade_kind
        self.rate = exchange.LIMITS.weight
        self.alternative = exchange.LIMITS.alternative

    async def listing(self, http: Http) -> list[Instrument]:
        return await http.run(self._exchange.listing(self._options))

    def pages(self, http: Http, ask: HistoryRequest, via: str) -> AsyncGenerator[Page, None]:
        return http.pages(self._exchange.history(ask, self._options, via))


class Past:
    """The way of one channel's history into the database, `via` rest or archive."""

    def __init__(self, origin: Origin, channel: Channel, via: str, *, http: Http, pool: Pool, edition: Edition) -> None:
        self._origin = origin
        self._via = via
        self._http = http
        self._table = TABLES[channel]
        self._mark_minutes = is_rolled_up(self._table.name, edition)
        self._ladder = BatchWriter(self._table, pool, edition)

    async def fill(self, ask: HistoryRequest, on_rows: Callable[[int], None] = lambda rows: None) -> LoadResult:
        """Everything that is asked for, as far as the exchange has it, committed when this returns."""
        lane = TableQueue(self._table, Tally(self._table.name), LIMITS, on_gap=_never, mark_minutes=self._mark_minutes)
        until, error = await stored(lane, self._ladder, self._read(ask, lane, on_rows))
        return LoadResult(outcome_of(lane), until, error)

    async def _read(
        self, ask: HistoryRequest, lane: TableQueue, on_rows: Callable[[int], None]
    ) -> tuple[int, Reject | Retry | None]:
        said = ask.since
        try:
            async for page in self._origin.pages(self._http, ask, self._via):
                await _put(page.records, lane)
                said = max(said, page.until)
                on_rows(len(page.records))
                await asyncio.sleep(0)  # a page out of a file waits for nothing, and the writers must have their turn
        except (Reject, Retry) as error:
            return said, error
        return said, None


async def stored(lane: TableQueue, ladder: BatchWriter, reading: Awaitable[T]) -> T:
    """What `reading` says when it is done, and all that it put into the lane is committed."""
    # one connection: several pieces are at work at once, and on a new chunk all wait for the one that makes it
    writer = Writer(lane, ladder.write, workers=1)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.run())
        said = await reading
        await writer.drain()
        writing.cancel()
    return said


def outcome_of(lane: TableQueue) -> Outcome:
    """What became of all rows of a lane that is drained."""
    tally = lane.tally
    return Outcome(tally.written, tally.revised, tally.duplicate, dict(tally.rejected))


async def _put(records: Sequence[Record] | Columns, lane: TableQueue) -> None:
    if isinstance(records, Columns):
        if (room := lane.put_columns(records)) is not None:
            await room
        return
    for record in records:
        if (room := lane.put(record)) is not None:
            await room


def _never(_gap: object) -> None:
    raise AssertionError("a lane of history never sheds")
