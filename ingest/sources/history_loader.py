"""Loads a range of one market's history into the database, page by page. Backfills and the gap filler share it.

Where an exchange has a candle for every minute, candles are counted: what an answer or a file lacks is requested day by day, then
by REST, and minutes that are missing after that are an error of the load. Minutes before a market's first candle are not missing.
"""

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
from ingest.protocol.exchange import Exchange, ExchangeOptions, Rate, WithOpening
from ingest.protocol.history import Columns, HistoryRequest, Page
from ingest.protocol.session import ChannelName
from ingest.records import MINUTE, Instrument, Record
from ingest.sources.minute_count import MinuteCount, Range
from ingest.store import sqlstate
from ingest.store.batch_writer import BatchWriter
from ingest.store.coverage import to_datetime
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
INCOMPLETE = "incomplete"  # the reason of an error, and of a gap: minutes without a candle, which the exchange does not have
NAMED = 5  # missing ranges that a message names


class LoadResult(Struct, frozen=True):
    """The rows by outcome, the time up to which the history was read (microseconds), and the error that ended it, if any.

    The history is complete up to that time but for `missing`: minutes without a candle. Where it was read to its end, the reason of
    the error is then INCOMPLETE.
    """

    outcome: Outcome
    until: int
    error: Reject | Retry | None = None
    missing: tuple[Range, ...] = ()

    @property
    def complete_until(self) -> int:
        return self.missing[0][0] if self.missing else self.until


class Origin(Protocol):
    """Where a history is read from: an exchange module, or ccxt. `trade_kind` is that of its trades."""

    VIA: tuple[str, ...]
    trade_kind: str
    rate: Rate  # of requests
    alternative: str  # what an error message recommends where the exchange refuses this address
    every_minute: bool  # a minute without trades has a candle too

    async def listing(self, http: Http) -> list[Instrument]:
        """Every market of the exchange's listing. Raises Retry or Reject."""

    def pages(self, http: Http, request: HistoryRequest, via: str) -> AsyncGenerator[Page, None]:
        """The pages of the requested range; requests are made with `http`. Raises Retry or Reject."""

    async def opening(self, http: Http, instrument: Instrument) -> int | None:
        """The time of the market's first candle in microseconds, where the exchange shows it. Raises Retry or Reject."""


class ExchangeOrigin:
    """An exchange module as an origin."""

    def __init__(self, exchange: Exchange, options: ExchangeOptions) -> None:
        self._exchange = exchange
        self._options = options
        self.VIA = exchange.VIA
        self.trade_kind = options.trade_kind
        self.rate = exchange.LIMITS.weight
        self.alternative = exchange.LIMITS.alternative
        self.every_minute = exchange.COMPLETENESS.empty_candles

    async def listing(self, http: Http) -> list[Instrument]:
        return await http.run(self._exchange.listing(self._options))

    def pages(self, http: Http, request: HistoryRequest, via: str) -> AsyncGenerator[Page, None]:
        return http.pages(self._exchange.history(request, self._options, via))

    async def opening(self, http: Http, instrument: Instrument) -> int | None:
        return (
            await http.run(self._exchange.opening(instrument, self._options)) if isinstance(self._exchange, WithOpening) else None
        )


class HistoryLoader:
    """Loads the history of one channel, `via` rest or archive. With `force` its rows replace stored ones, see BatchWriter."""

    def __init__(
        self, origin: Origin, channel: ChannelName, via: str, *, http: Http, pool: Pool, edition: Edition, force: bool = False
    ) -> None:
        self._origin = origin
        self._via = via
        self._http = http
        self._channel = channel
        self._table = TABLES[channel]
        self._pool = pool
        self._edition: Edition = edition
        self._batch_writer = BatchWriter(self._table, pool, edition, force=force)

    async def fill(self, request: HistoryRequest, on_rows: Callable[[int], None] = lambda rows: None) -> LoadResult:
        """Load the requested range, as far as the exchange has it. All rows are committed when this returns."""
        queue = history_queue(self._table, self._edition)
        minutes = MinuteCount(request.since, request.until) if self._channel == "candles" and self._origin.every_minute else None
        reading = _Reading(self._origin, self._http, queue, minutes, on_rows)
        until, error = await read_and_store(queue, self._batch_writer, reading.run(request, self._via))
        outcome = outcome_of(queue)
        if reading.bad:
            await keep_rejects(self._pool, request.instrument.exchange, reading.evidence)
            outcome = replace(outcome, rejected=dict(Counter(outcome.rejected) + reading.bad))
        return LoadResult(outcome, until, error, minutes.missing(until) if minutes is not None else ())


class _Reading:
    """Reads a range into a queue, and counts: `bad` rows by reason, of which `evidence` has some, and `minutes` with a candle."""

    def __init__(
        self, origin: Origin, http: Http, queue: TableQueue, minutes: MinuteCount | None, on_rows: Callable[[int], None]
    ) -> None:
        self.bad: Counter[str] = Counter()
        self.evidence: list[Malformed] = []
        self._origin = origin
        self._http = http
        self._queue = queue
        self._minutes = minutes
        self._on_rows = on_rows

    async def run(self, request: HistoryRequest, via: str) -> tuple[int, Reject | Retry | None]:
        """Returns the time up to which the range was read, and the error that ended it or says what is missing."""
        until, error = await self._read(request, via)
        if self._minutes is not None and error is None:
            try:
                error = await self._complete(self._minutes, request, until, via)
            except (Reject, Retry) as raised:
                error = raised
        return until, error

    async def _read(self, request: HistoryRequest, via: str) -> tuple[int, Reject | Retry | None]:
        until = request.since
        try:
            async for page in self._origin.pages(self._http, request, via):
                await _put(page.records, self._queue)
                self._count(page)
                until = max(until, page.until)
                await asyncio.sleep(0)  # reading pages of a file never waits: let the writers run
        except (Reject, Retry) as error:
            return until, error
        return until, None

    def _count(self, page: Page) -> None:
        self.bad.update(bad.reason for bad in page.rejected)
        self.evidence += page.rejected[: REJECTS - len(self.evidence)]
        if self._minutes is not None:
            records = page.records
            self._minutes.add(records.times if isinstance(records, Columns) else (record.time for record in records))
        self._on_rows(len(page.records))

    async def _complete(self, minutes: MinuteCount, request: HistoryRequest, until: int, via: str) -> Reject | Retry | None:
        """Request the minutes before `until` that lack a candle once more. Returns the error that names what is still missing."""
        missing = minutes.missing(until)
        if not missing:
            return None
        has_candles = len(minutes) > 0
        if missing[0][0] - request.since < MINUTE and (opening := await self._origin.opening(self._http, request.instrument)):
            minutes.skip(min(opening, missing[0][1]))
        refusal = ""
        for way in dict.fromkeys((via, "rest")) if has_candles else ():  # of a range without a candle no part has one
            for since, end in minutes.missing_days(until):
                _, error = await self._read(replace(request, since=since, until=end), way)
                if isinstance(error, Retry):
                    return error
                refusal = f"; {error}" if error else refusal
        missing = minutes.missing(until)
        return _incomplete(request, missing, refusal) if missing else None


def _incomplete(request: HistoryRequest, missing: Sequence[Range], refusal: str) -> Reject:
    count = sum(until - since for since, until in missing) // MINUTE
    named = ", ".join(
        f"{to_datetime(since):%Y-%m-%d %H:%M} to {to_datetime(until):%Y-%m-%d %H:%M}" for since, until in missing[:NAMED]
    )
    others = f" and {len(missing) - NAMED} more ranges" if len(missing) > NAMED else ""
    market = f"{request.instrument.exchange}: {request.instrument.symbol}"
    message = f"{market}: incomplete: {count:,} minutes have no candle at the exchange: {named}{others}{refusal}"
    return Reject(message, reason=INCOMPLETE)


async def keep_rejects(pool: Pool, source: str, bad: Sequence[Malformed]) -> None:
    """Store elements that could not be read in `rejects`. Raises Retry or Hold."""
    if not bad:
        return
    try:
        async with pool.acquire() as connection:
            await insert_rejects(connection, [undecoded(source, one) for one in bad])
    except sqlstate.FOREIGN as error:
        raise sqlstate.translate(error, f"writing {len(bad)} rejects of {source}") from error


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
