"""The past of polled providers: as `ingest backfill` of an exchange, by jobs in chunks that are done once their rows are committed.

What is asked counts against the same month's budget as the daemon's turns, so what a backfill spends the daemon has not. A minute's
budget is halved, because both may be at work. Keys are unique: what is stored already is a duplicate, or revised where it changed.
Days are what providers have: without `--to` the past ends at the last midnight (UTC), and the same command finds nothing to do.
"""

from __future__ import annotations

import sys
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
from ingest.counters import Tally
from ingest.errors import Reject, Retry, Stop
from ingest.pipeline.table_queue import TableQueue
from ingest.polling.db_queries import Filtered, PricesAt
from ingest.polling.provider import Emitted, Missed, Poll, PollOptions, Provider, Step
from ingest.protocol.decode import Malformed
from ingest.records import Asset
from ingest.sources.chunk_runner import NOTHING, Filled, Work, refuse_expired, shown
from ingest.sources.history_loader import LIMITS, outcome_of, stored
from ingest.sources.poller import http_of, options_of, plan_of, spend_one, struck, symbols_of
from ingest.sources.progress import Progress
from ingest.store import bar_views
from ingest.store.batch_writer import BatchWriter
from ingest.store.jobs import Chunk, Job, open_job, pending, to_micros
from ingest.store.pool import Connection, Pool
from ingest.store.rollup import is_rolled_up, roll_up
from ingest.store.spot_prices import usd_prices
from ingest.store.ts_edition import detect
from ingest.tables import ONCHAIN_METRICS, PRICES, SENTIMENT_SCORES, STOCK_INDICES, WHALE_TRANSACTIONS, Table
from ingest.transports.client import open_client
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
    """What a `Provider` has besides, if its past can be asked for."""

    CHUNK: int | None  # microseconds that are asked for at once; None: all that is wanted

    def history(self, options: PollOptions, since: int, until: int, /) -> Poll:
        """Everything of [since, until), microseconds, in the rows that a turn would have stored."""


class ProviderBackfillRequest(Struct, frozen=True, kw_only=True):
    """What a person asks for: [since, until) of one of KINDS. Without `source` every provider of it that is enabled; without
    `symbols` those of the configuration; `again`: also what was done before.
    """

    kind: str
    source: str | None
    symbols: tuple[str, ...]
    since: datetime
    until: datetime
    again: bool = False


def midnight(now: datetime) -> datetime:
    """The last one (UTC)."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def chronicles(settings: Settings, sought: ProviderBackfillRequest) -> list[ProviderBackfill]:
    """One for each provider that is asked. Raises Stop where what is sought cannot be had, and says what could."""
    if sought.until <= sought.since:
        raise Stop(f"--to {sought.until:%Y-%m-%d %H:%M}: nothing is between it and --from {sought.since:%Y-%m-%d %H:%M}")
    table = KINDS[sought.kind]
    refuse_expired(settings, table.name, sought.since)
    fitting = {name: module for name, module in registry.pollers().items() if table.name in module.TABLES}
    past = {name: module for name, module in fitting.items() if isinstance(module, Historic)}
    if sought.source is not None:
        if sought.source not in past:
            why = "its past cannot be asked for" if sought.source in fitting else f"no provider of {sought.kind}"
            raise Stop(f"--source: '{sought.source}': {why}; known: {', '.join(sorted(past))}")
        if sought.source not in settings.pollers:
            raise Stop(f"--source: '{sought.source}' has no section in the configuration; right would be [pollers.{sought.source}]")
        one = ProviderBackfill(settings.pollers[sought.source], sought.source, past[sought.source], sought)
        one.check()
        return [one]
    enabled = [name for name in past if name in settings.pollers and not plan_of(past[name], settings.pollers[name])[1]]
    if not enabled:
        sections = ", ".join(f"[pollers.{name}]" for name in sorted(past))
        raise Stop(f"no provider of {sought.kind} is enabled; right would be one of: {sections}")
    return [ProviderBackfill(settings.pollers[name], name, past[name], sought) for name in enabled]


class ProviderBackfill:
    """One provider's part of the command."""

    def __init__(self, section: PollerSection, name: str, module: Provider, sought: ProviderBackfillRequest) -> None:
        assert isinstance(module, Historic)
        self.name = name
        self._module = module
        self._provider: Provider = module
        self._section = section.model_copy(update={"symbols": sought.symbols}) if sought.symbols else section
        self._sought = sought
        self._table: Table = KINDS[sought.kind]
        self._plan, self._disabled = plan_of(module, section)

    def check(self) -> None:
        """Raises Stop where it may not be asked, or has nothing so far back."""
        if self._disabled:
            raise Stop(f"{self.name}: disabled: {self._disabled}")
        since, days = self._sought.since, self._plan.history
        if days is not None and since < (oldest := datetime.now(UTC) - timedelta(days=days)):
            raise Stop(
                f"--from {since:%Y-%m-%d}: {self.name} gives {days} days with this plan; begin at "
                f"{oldest + timedelta(days=1):%Y-%m-%d}, or take another (pollers.{self.name}.plan)"
            )

    async def run(self, connection: Connection, pool: Pool) -> str:
        """Fill what is pending; the account, in words. Raises Retry where a chunk failed: the same command tries it again."""
        options = await options_of(self.name, self._provider, self._plan, self._section, pool)
        parts = [(one, part) for one in _subjects(options) for part in await self._pending(connection, one)]
        jobs = [(one, chunk) for one, part in parts for chunk in await open_job(connection, self._job(one), [part])]
        work = Work(connection, progress := Progress(len(jobs)))
        edition = (await detect(connection)).edition
        plan = replace(self._plan, per_minute=max(1, self._plan.per_minute // 2))
        async with open_client(self._section.proxy.get_secret_value() if self._section.proxy else None) as client:
            http = http_of(self.name, plan, self._section, client)
            reader = _Reader(http, partial(spend_one, self.name, self._plan, pool), progress.add_rows, pool)
            ladder = BatchWriter(self._table, pool, edition)

            async def fill(one: PollOptions, chunk: Chunk) -> Filled:
                lane = TableQueue(
                    self._table,
                    Tally(self._table.name),
                    LIMITS,
                    on_gap=_never,
                    mark_minutes=is_rolled_up(self._table.name, edition),
                )
                flow = self._module.history(one, chunk.since, chunk.until)
                verdict = await stored(lane, ladder, reader.read(flow, lane))
                return Filled(outcome_of(lane), verdict and struck(verdict, self._section))

            await work.fill_all([(one, self._shown(one), chunk) for one, chunk in jobs], fill)
        await self._refresh(connection)
        return work.account()

    async def dry_run(self, connection: Connection) -> str:
        """What `run` would fill; asks nobody and changes nothing."""
        symbols = symbols_of(self._provider, self._section) if self._provider.ASSETS else ()
        assets = tuple(Asset(symbol, "") for symbol in symbols)
        subjects = _subjects(PollOptions(base_url="", assets=assets))
        parts = [(one, part) for one in subjects for part in await self._pending(connection, one)]
        return "\n".join(f"{self._shown(one)}: {shown(*part)}" for one, part in parts) or NOTHING

    def _shown(self, one: PollOptions) -> str:
        return " ".join([self.name, *(asset.symbol for asset in one.assets)])

    def _job(self, one: PollOptions) -> Job:
        return Job(
            source=self.name,
            instrument_id=0,
            channel=self._table.name,
            trade_kind="",
            via="rest",
            since=to_micros(self._sought.since),
            until=to_micros(self._sought.until),
            symbol=one.assets[0].symbol if one.assets else "",
        )

    async def _pending(self, connection: Connection, one: PollOptions) -> list[tuple[int, int]]:
        job = self._job(one)
        cuts = cut(self._module.CHUNK, job.since, job.until)
        return list(pairwise(cuts))[::-1] if self._sought.again else await pending(connection, job, cuts)

    async def _refresh(self, connection: Connection) -> None:
        """Roll-ups and aggregates of the range: a policy does not look so far back, and there may be no daemon."""
        while (await roll_up(connection)).taken:
            pass
        await bar_views.refresh(connection, self._table.name, midnight(self._sought.since), self._sought.until + timedelta(days=1))


async def fill(asked: Sequence[ProviderBackfill], connection: Connection, pool: Pool, *, dry_run: bool) -> int:
    """One after the other, saying of each what was done; the exit code. What fails with one keeps no other from its turn."""
    code = 0
    for one in asked:
        try:
            one.check()
            print(f"{one.name}: {await (one.dry_run(connection) if dry_run else one.run(connection, pool))}")
        except (Retry, Stop) as error:
            print(f"{one.name}: {error}", file=sys.stderr)
            code = 1
    return code


def _subjects(options: PollOptions) -> Sequence[PollOptions]:
    """Coin by coin, where a provider is asked for coins: one that is added later is asked for alone."""
    return [replace(options, assets=(asset,)) for asset in options.assets] or [options]


def cut(chunk: int | None, since: int, until: int) -> list[int]:
    """The edges of the chunks of [since, until): multiples of `chunk`, so that another range has the same ones. Microseconds."""
    if chunk is None:
        return [since, until]
    return [since, *range(since - since % chunk + chunk, until, chunk), until]


class _Reader:
    """Drives histories: a request is counted, then made."""

    def __init__(self, http: Http, spend: Callable[[], Awaitable[object]], on_rows: Callable[[int], None], pool: Pool) -> None:
        self._http = http
        self._spend = spend
        self._on_rows = on_rows
        self._pool = pool

    async def read(self, flow: Poll, lane: TableQueue) -> str | None:
        """Put everything that `flow` tells into the lane; why that was not all, if so."""
        try:
            await self._drive(flow, lane)
        except (Reject, Retry) as error:
            return str(error)
        return None

    async def _drive(self, flow: Poll, lane: TableQueue) -> None:
        with FlowDriver[Step, str](flow, partial(self._http.insist, before=self._spend)) as steps:
            async for step in steps:
                if isinstance(step, PricesAt):
                    async with self._pool.acquire() as connection:
                        steps.reply(await usd_prices(connection, step.symbols, step.time))
                elif isinstance(step, Sequence):
                    await self._put(step, lane)
                else:
                    raise TypeError(f"a history asks by requests and for prices, not by {step}")

    async def _put(self, records: Sequence[Emitted], lane: TableQueue) -> None:
        for record in records:
            if isinstance(record, Malformed):
                raise Reject(record.message, reason=record.reason)
            if isinstance(record, Filtered | Missed):
                raise TypeError("a history leaves nothing out")
            if (room := lane.put(record)) is not None:
                await room
        self._on_rows(len(records))


def _never(_gap: object) -> None:
    raise AssertionError("a lane of history never sheds")
