"""Loads a range of one market's history into the database, page by page. Backfills and the gap filler share it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ingest.counters import Tally
from ingest.errors import Reject, Retry
from ingest.pipeline.batch import Outcome
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.pipeline.writer import Writer
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Exchange, ExchangeOptions, Rate
from ingest.protocol.history import Columns, HistoryRequest, Page
from ingest.protocol.session import ChannelName
from ingest.records import Instrument, Record
from ingest.store import sqlstate
from ingest.store.batch_writer import BatchWriter
from ingest.store.pool import Pool
from ingest.store.rejects import insert_rejects, undecoded
from ingest.store.rollup import is_rolled_up
from ingest.store.ts_edition import Edition
from ingest.tables import CANDLES, TRADES, Table
from ingest.transports.http import Http

T = TypeVar("T")
TABLES: dict[ChannelName, Table] = {"trades": TRADES, "candles": CANDLES}
# a reader of history waits for room without a limit: the exchange keeps the rows that are not requested yet
LIMITS = Limits(max_rows=50_000, max_wait=None)
REJECTS = 200  # bad rows of one piece that are kept as evidence; all are counted


class LoadResult(Struct, frozen=True):
    """The rows by outcome, the time up to which the history is complete (microseconds), and the error that ended it, if any."""

    outcome: Outcome
    until: int
    error: Reject | Retry | None = None


class Origin(Protocol):
    """Where a history is read from: an exchange module, or ccxt. `trade_kind` is that of its trades."""

    VIA: tuple[str, ...]
    trade_kind: str
    rate: Rate  # of requests
    alternative: str  # what an error message recommends where the exchange refuses this address

    async def listing(self, http: Http) -> list[Instrument]:
        """Every market of the exchange's listing. Raises Retry or Reject."""

    def pages(self, http: Http, request: HistoryRequest, via: str) -> AsyncGenerator[Page, None]:
        """The pages of the requested range; requests are made with `http`. Raises Retry or Reject."""


class ExchangeOrigin:
    """An exchange module as an origin."""

    def __init__(self, exchange: Exchange, options: ExchangeOptions) -> None:
        self._exchange = exchange
        self._options = options
        self.VIA = exchange.VIA
        self.trade_kind = options.trade_kind
        self.rate = exchange.LIMITS.weight
        self.alternative = exchange.LIMITS.alternative

    async def listing(self, http: Http) -> list[Instrument]:
        return await http.run(self._exchange.listing(self._options))

    def pages(self, http: Http, request: HistoryRequest, via: str) -> AsyncGenerator[Page, None]:
        return http.pages(self._exchange.history(request, self._options, via))


class HistoryLoader:
    """Loads the history of one channel, `via` rest or archive."""

    def __init__(self, origin: Origin, channel: ChannelName, via: str, *, http: Http, pool: Pool, edition: Edition) -> None:
        self._origin = origin
        self._via = via
        self._http = http
        self._table = TABLES[channel]
        self._pool = pool
        self._edition: Edition = edition
        self._batch_writer = BatchWriter(self._table, pool, edition)

    async def fill(self, request: HistoryRequest, on_rows: Callable[[int], None] = lambda rows: None) -> LoadResult:
        """Load the requested range, as far as the exchange has it. All rows are committed when this returns."""
        queue = history_queue(self._table, self._edition)
        rejected: list[Malformed] = []
        until, error = await read_and_store(queue, self._batch_writer, self._read(request, queue, rejected, on_rows))
        outcome = outcome_of(queue)
        if rejected:
            await self._keep(request.instrument.exchange, rejected[:REJECTS])
            reasons = Counter(outcome.rejected) + Counter(bad.reason for bad in rejected)
            outcome = replace(outcome, rejected=dict(reasons))
        return LoadResult(outcome, until, error)

    async def _keep(self, source: str, rejected: Sequence[Malformed]) -> None:
        """Store rows that could not be read in `rejects`. Raises Retry or Hold."""
        try:
            async with self._pool.acquire() as connection:
                await insert_rejects(connection, [undecoded(source, bad) for bad in rejected])
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"writing {len(rejected)} rejects of {source}") from error

    async def _read(
        self, request: HistoryRequest, queue: TableQueue, rejected: list[Malformed], on_rows: Callable[[int], None]
    ) -> tuple[int, Reject | Retry | None]:
        until = request.since
        try:
            async for page in self._origin.pages(self._http, request, self._via):
                await _put(page.records, queue)
                rejected += page.rejected
                until = max(until, page.until)
                on_rows(len(page.records))
                await asyncio.sleep(0)  # reading pages of a file never waits: let the writers run
        except (Reject, Retry) as error:
            return until, error
        return until, None


def history_queue(table: Table, edition: Edition) -> TableQueue:
    """A queue for rows of history: its readers wait for room, and it sheds nothing."""
    mark_minutes = is_rolled_up(table.name, edition)
    return TableQueue(table, Tally(table.name), LIMITS, on_gap=_never, mark_minutes=mark_minutes)


async def read_and_store(queue: TableQueue, batch_writer: BatchWriter, reading: Awaitable[T]) -> T:
    """Await `reading`, which fills the queue, and return its result once all rows of the queue are committed."""
    # one connection: several ranges are loaded at once, and those in a new chunk wait for the transaction that creates it
    writer = Writer(queue, batch_writer.write, workers=1)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.run())
        result = await reading
        await writer.drain()
        writing.cancel()
    return result


def outcome_of(queue: TableQueue) -> Outcome:
    """The outcomes of all rows of a drained queue."""
    tally = queue.tally
    return Outcome(tally.written, tally.revised, tally.duplicate, dict(tally.rejected))


async def _put(records: Sequence[Record] | Columns, queue: TableQueue) -> None:
    if isinstance(records, Columns):
        if (room := queue.put_columns(records)) is not None:
            await room
        return
    for record in records:
        if (room := queue.put(record)) is not None:
            await room


def _never(_gap: object) -> None:
    raise AssertionError("a queue of history never sheds")
