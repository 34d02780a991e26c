"""Backfills the history of polled providers in chunks, which are done when their rows are committed.

Requests count against the monthly budget, which the daemon's turns share. The budget of a minute is halved, because both may run.
Keys are unique: a row that is stored already is a duplicate, or revised where it changed. An element that cannot be read is kept in
`rejects`, and the others are stored. Most providers have daily values: without
`--to` the range ends at the last midnight (UTC), so that the same command, given again, finds nothing to do.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from ingest import registry
from ingest.config.sections import PollerSection
from ingest.config.settings import Settings
from ingest.errors import Reject, Retry, Stop
from ingest.pipeline.table_queue import TableQueue
from ingest.polling.db_queries import Filtered, PricesAt
from ingest.polling.provider import Emitted, Missed, Poll, PollOptions, Provider, Step
from ingest.protocol.decode import Malformed
from ingest.records import Asset
from ingest.sources.chunk_runner import NOTHING, ChunkResult, ChunkRunner, range_text, refuse_empty, refuse_expired
from ingest.sources.history_loader import REJECTS, history_queue, keep_rejects, outcome_of, read_and_store
from ingest.sources.poll_plan import plan_of, symbols_of
from ingest.sources.progress import Progress
from ingest.sources.provider_access import ProviderAccess
from ingest.store import bar_views
from ingest.store.batch_writer import BatchWriter
from ingest.store.jobs import Chunk, Job, open_job, pending, to_micros
from ingest.store.pool import Connection, Pool
from ingest.store.rollup import roll_up
from ingest.store.spot_prices import usd_prices
from ingest.store.ts_edition import detect
from ingest.tables import ONCHAIN_METRICS, PRICES, SENTIMENT_SCORES, STOCK_INDICES, WHALE_TRANSACTIONS, Table
from ingest.transports.flow_driver import FlowDriver
from ingest.transports.http import Http

KINDS = {
    "prices": PRICES,
    "onchain": ONCHAIN_METRICS,
    "sentiment": SENTIMENT_SCORES,
    "indices": STOCK_INDICES,
    "whales": WHALE_TRANSACTIONS,
}


@runtime_checkable
class Historic(Protocol):
    """Further members of a `Provider` whose history can be requested."""

    CHUNK: int | None  # the length of a chunk, in microseconds; None for the whole range

    def history(self, options: PollOptions, since: int, until: int, /) -> Poll:
        """All rows of [since, until), in microseconds. They equal those that a turn would have stored."""


class ProviderBackfillRequest(Struct, frozen=True, kw_only=True):
    """A backfill command: the range [since, until) of one of KINDS.

    Without `source`, every enabled provider is used; without `symbols`, those of the configuration; `again` includes chunks that
    are done.
    """

    kind: str
    source: str | None
    symbols: tuple[str, ...]
    since: datetime
    until: datetime
    again: bool = False


def midnight(now: datetime) -> datetime:
    """The last midnight (UTC)."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def provider_backfills(settings: Settings, request: ProviderBackfillRequest) -> list[ProviderBackfill]:
    """A backfill for each provider of the request. Raises Stop where there is none; the message names those that exist."""
    refuse_empty(request.since, request.until)
    table = KINDS[request.kind]
    refuse_expired(settings, table.name, request.since)
    fitting = {name: module for name, module in registry.pollers().items() if table.name in module.TABLES}
    historic = {name: module for name, module in fitting.items() if isinstance(module, Historic)}
    if (name := request.source) is not None:
        if name not in historic:
            why = "its history cannot be requested" if name in fitting else f"no provider of {request.kind}"
            raise Stop(f"--source: '{name}': {why}; known: {', '.join(sorted(historic))}")
        if name not in settings.pollers:
            raise Stop(f"--source: '{name}' has no section in the configuration; right would be [pollers.{name}]")
        backfill = ProviderBackfill(settings.pollers[name], name, historic[name], request)
        backfill.check()
        return [backfill]
    enabled = [name for name in historic if name in settings.pollers and not plan_of(historic[name], settings.pollers[name])[1]]
    if not enabled:
        sections = ", ".join(f"[pollers.{name}]" for name in sorted(historic))
        raise Stop(f"no provider of {request.kind} is enabled; right would be one of: {sections}")
    return [ProviderBackfill(settings.pollers[name], name, historic[name], request) for name in enabled]


class ProviderBackfill:
    """One provider's part of a backfill command."""

    def __init__(self, section: PollerSection, name: str, module: Provider, request: ProviderBackfillRequest) -> None:
        assert isinstance(module, Historic)
        self.name = name
        self._module: Historic = module
        self._access = ProviderAccess(
            name, module, section.model_copy(update={"symbols": request.symbols}) if request.symbols else section
        )
        self._request = request
        self._table: Table = KINDS[request.kind]

    def check(self) -> None:
        """Raises Stop where the provider is disabled or its plan does not go back so far."""
        if self._access.disabled:
            raise Stop(f"{self.name}: disabled: {self._access.disabled}")
        since, days = self._request.since, self._access.plan.history_days
        if days is not None and since < (oldest := datetime.now(UTC) - timedelta(days=days)):
            raise Stop(
                f"--from {since:%Y-%m-%d}: {self.name} has {days} days of history with this plan; begin at "
                f"{oldest + timedelta(days=1):%Y-%m-%d}, or choose another plan (pollers.{self.name}.plan)"
            )

    async def run(self, connection: Connection, pool: Pool) -> str:
        """Fill the pending chunks and return a summary. Raises Retry where a chunk failed: the same command tries it again."""
        access = self._access
        options = await access.options(pool)
        parts = [(coin, part) for coin in _per_coin(options) for part in await self._pending(connection, coin)]
        jobs = [(coin, chunk) for coin, part in parts for chunk in await open_job(connection, self._job(coin), [part])]
        runner = ChunkRunner(connection, progress := Progress(len(jobs)))
        edition = (await detect(connection)).edition
        plan = replace(access.plan, per_minute=max(1, access.plan.per_minute // 2))
        async with access.open_client() as client:
            http, spend = access.http(client, plan), partial(access.spend, pool)
            batch_writer = BatchWriter(self._table, pool, edition)

            async def fill(coin: PollOptions, chunk: Chunk) -> ChunkResult:
                queue = history_queue(self._table, edition)
                reader = _Reader(http, spend, progress.add_rows, pool, queue)
                flow = self._module.history(coin, chunk.since, chunk.until)
                verdict = await read_and_store(queue, batch_writer, reader.read(flow))
                await keep_rejects(pool, self.name, [access.redacted_element(bad) for bad in reader.evidence])
                outcome = outcome_of(queue)
                outcome = replace(outcome, rejected=Counter(outcome.rejected) + reader.bad)
                return ChunkResult(outcome, verdict and access.redacted(verdict), filtered=reader.filtered)

            await runner.run([(coin, self._label(coin), chunk) for coin, chunk in jobs], fill)
        await self._refresh(connection)
        return runner.summary()

    async def dry_run(self, connection: Connection) -> str:
        """List the ranges that `run` would fill. Makes no request and changes nothing."""
        access = self._access
        symbols = symbols_of(access.module, access.section) if access.module.ASSETS else ()
        assets = tuple(Asset(symbol, "") for symbol in symbols)
        coins = _per_coin(PollOptions(base_url="", assets=assets))
        parts = [(coin, part) for coin in coins for part in await self._pending(connection, coin)]
        return "\n".join(f"{self._label(coin)}: {range_text(*part)}" for coin, part in parts) or NOTHING

    def _label(self, options: PollOptions) -> str:
        return " ".join([self.name, *(asset.symbol for asset in options.assets)])

    def _job(self, options: PollOptions) -> Job:
        return Job(
            source=self.name,
            instrument_id=0,
            channel=self._table.name,
            trade_kind="",
            via="rest",
            since=to_micros(self._request.since),
            until=to_micros(self._request.until),
            symbol=options.assets[0].symbol if options.assets else "",
        )

    async def _pending(self, connection: Connection, options: PollOptions) -> list[tuple[int, int]]:
        job = self._job(options)
        edges = chunk_edges(self._module.CHUNK, job.since, job.until)
        return list(pairwise(edges))[::-1] if self._request.again else await pending(connection, job, edges)

    async def _refresh(self, connection: Connection) -> None:
        """Refresh roll-ups and aggregates of the range: policies do not go back so far, and no daemon may be running."""
        while (await roll_up(connection)).taken:
            pass
        since, until = midnight(self._request.since), self._request.until + timedelta(days=1)
        await bar_views.refresh(connection, self._table.name, since, until)


async def fill(backfills: Sequence[ProviderBackfill], connection: Connection, pool: Pool, *, dry_run: bool) -> int:
    """Run the backfills in turn and print each result. A failure does not stop the others. Returns the exit code."""
    code = 0
    for backfill in backfills:
        try:
            backfill.check()
            print(f"{backfill.name}: {await (backfill.dry_run(connection) if dry_run else backfill.run(connection, pool))}")
        except (Retry, Stop) as error:
            print(f"{backfill.name}: {error}", file=sys.stderr)
            code = 1
    return code


def _per_coin(options: PollOptions) -> Sequence[PollOptions]:
    """The options of each coin, so that a coin that is added later is requested alone; `options` where there are no coins."""
    return [replace(options, assets=(asset,)) for asset in options.assets] or [options]


def chunk_edges(chunk: int | None, since: int, until: int) -> list[int]:
    """The edges of the chunks of [since, until), in microseconds: multiples of `chunk`, the same for every range."""
    if chunk is None:
        return [since, until]
    return [since, *range(since - since % chunk + chunk, until, chunk), until]


class _Reader:
    """Reads one history into `queue`. `spend` counts each request before it is made.

    `bad` counts the elements that cannot be read, by reason, and `evidence` has the first ones; `filtered` is the number of
    elements that a rule of the module excludes.
    """

    def __init__(
        self,
        http: Http,
        spend: Callable[[], Awaitable[object]],
        on_rows: Callable[[int], None],
        pool: Pool,
        queue: TableQueue,
    ) -> None:
        self.bad: Counter[str] = Counter()
        self.evidence: list[Malformed] = []
        self.filtered = 0
        self._http = http
        self._spend = spend
        self._on_rows = on_rows
        self._pool = pool
        self._queue = queue

    async def read(self, flow: Poll) -> str | None:
        """Read `flow` to its end. Returns the error that ended it early, None if there was none."""
        try:
            await self._drive(flow)
        except (Reject, Retry) as error:
            return str(error)
        return None

    async def _drive(self, flow: Poll) -> None:
        with FlowDriver[Step, str](flow, partial(self._http.get_with_retry, before=self._spend)) as steps:
            async for step in steps:
                if isinstance(step, PricesAt):
                    async with self._pool.acquire() as connection:
                        steps.reply(await usd_prices(connection, step.symbols, step.time))
                elif isinstance(step, Sequence):
                    await self._put(step)
                else:
                    raise TypeError(f"a history yields requests, price queries and records, not {step}")

    async def _put(self, records: Sequence[Emitted]) -> None:
        for record in records:
            match record:
                case Malformed():
                    self._reject(record)
                case Filtered():
                    self.filtered += record.count
                case Missed():
                    raise record.error
                case _:
                    if (room := self._queue.put(record)) is not None:
                        await room
        self._on_rows(len(records))

    def _reject(self, bad: Malformed) -> None:
        self.bad[bad.reason] += 1
        if len(self.evidence) < REJECTS:
            self.evidence.append(bad)
