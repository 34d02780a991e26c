"""Polls one provider: in turns, as often as its budget allows, while this daemon holds the lease `poll NAME`.

The provider's module is pure: it yields requests and decodes the answers. The clock, the lease, the budget and the errors are
handled here. The number of requests of the month and the time of the next turn are stored in the database, so that a restart
repeats no request.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable
from functools import partial

import aiohttp
from msgspec import Struct, field
from msgspec.structs import replace

from ingest.errors import Reject, Retry, first
from ingest.polling.db_queries import Filtered, Prices, PricesAt, ReorgedBlock
from ingest.polling.provider import REFUSED, Emitted, Missed, Poll, PollOptions, Step
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.sources.held_lease import RENEW_SECONDS
from ingest.sources.poll_plan import MONTH_SECONDS, interval_of
from ingest.sources.provider_task import ProviderTask
from ingest.sources.run_state import RunState, State
from ingest.store.chain_reorgs import remove_block
from ingest.store.poll_state import PollState, load_state, save_state
from ingest.store.spot_prices import usd_prices
from ingest.transports.backoff import Backoff
from ingest.transports.flow_driver import FlowDriver
from ingest.transports.http import Http

DISABLING = (*REFUSED, "422")  # HTTP statuses that only a change of the key or of the settings corrects
REFUSED_SECONDS = 6 * 3600.0  # the pause after such a status
RETRY_SECONDS = 60.0  # until another daemon, or this daemon after a restart, may repeat the refused request
FIRST_SECONDS, CAP_SECONDS = 1.0, 900.0  # between turns that fail
CACHED_BYTES = 4 << 20  # the largest body that is kept for a 304
CACHED = 16  # bodies; no more, because the URLs of single blocks have tags too, and are never requested again
MANY = 500  # records after which other tasks run
COMMIT_SECONDS = 0.1  # between two checks whether the rows are committed

log = logging.getLogger(__name__)


class Turn(Struct):
    """The progress of one turn. `body` is the last answer, kept as evidence for an error that concerns all of it."""

    body: bytes = b""
    requests: int = 0
    malformed: set[bytes] = field(default_factory=set)  # parts of answers that could not be read
    missed: dict[str, str] = field(default_factory=dict)  # by name of a part: its error


class Poller:
    """Polls one provider until cancelled."""

    def __init__(self, task: ProviderTask) -> None:
        self.name = task.name
        self._task = task
        self._access = task.access
        self._plan = task.access.plan
        self._interval = interval_of(self._plan, task.access.module, task.access.section)
        self._backoff = Backoff(random.random, first=FIRST_SECONDS, cap=CAP_SECONDS)
        self._cache: dict[str, tuple[dict[str, str], bytes]] = {}  # by URL: the headers of a conditional request, and the body
        self._malformed: set[bytes] = set()  # of the last turn
        self._missed: set[str] = set()
        self._due = 0.0  # monotonic
        self._refused_until = 0.0  # monotonic: a restart or a reload tries again
        self._spent = 0

    def status(self) -> dict[str, object]:
        """The status of this poller, for `ingest status` and the status page."""
        limit = f" of {self._plan.per_month}" if self._plan.per_month else ""
        return self._task.state.status() | {
            "next_due_seconds": None if self._access.disabled else round(max(0.0, self._due - time.monotonic())),
            "interval_seconds": round(self._interval),
            "requests_this_month": f"{self._spent}{limit}",
        }

    def report(self, state: RunState) -> None:
        """Show why `run` ended."""
        self._task.report(state)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._task.run(self._poll)

    async def _poll(self, client: aiohttp.ClientSession, options: PollOptions) -> None:
        http = self._access.http(client)
        while True:
            wait = await self._round(http, options)
            self._due = time.monotonic() + wait
            await asyncio.sleep(min(wait, RENEW_SECONDS))

    async def _round(self, http: Http, options: PollOptions) -> float:
        """Take a turn if this daemon has the lease and the turn is due. Returns the seconds until the next turn."""
        task = self._task
        async with task.pool.acquire() as connection:
            if not await task.lease.acquire(connection):
                task.state = RunState(State.STANDBY)
                return RENEW_SECONDS
            saved = await load_state(connection, self.name)
        self._spent = saved.requests
        if (wait := max(saved.wait, self._refused_until - time.monotonic())) > 0:
            return wait
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew_lease())
                cursor, wait = await self._take_turn(http, options, saved)
                renewing.cancel()
        except ExceptionGroup as errors:
            raise first(errors) from errors
        async with task.pool.acquire() as connection:
            await save_state(connection, self.name, cursor, wait)
        return max(wait, self._refused_until - time.monotonic())

    async def _renew_lease(self) -> None:
        """Run during a turn. Raises Retry if the lease is lost: its new holder polls now, and two turns would spend twice."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not await self._task.lease.acquire():
                raise Retry(f"{self.name}: the lease was lost in the middle of a turn")

    async def _take_turn(self, http: Http, options: PollOptions, saved: PollState) -> tuple[str, float]:
        """Take one turn. Returns the cursor and the seconds until the next turn, or until a failed turn is repeated."""
        turn, task, plan = Turn(), self._task, self._plan
        try:
            cursor = await self._drive(http, self._access.module.poll(options, saved.cursor), turn)
        except Retry as error:
            task.fail(error)
            pause = plan.pause if error.code == "429" else 0.0
            earned = turn.requests * MONTH_SECONDS / plan.per_month if plan.per_month else 0.0
            return saved.cursor, max(error.after or 0.0, pause, self._backoff.next(), earned)
        except Reject as error:
            is_refused = error.code in DISABLING
            task.fail(error, State.DISABLED if is_refused else State.FAILING)
            if (
                error.reason != "http" and str(error) not in turn.missed.values()
            ):  # the error of a missed part is in `rejects` already
                task.reject(Malformed(turn.body, error.reason, str(error)))
            if is_refused:
                self._refused_until = time.monotonic() + REFUSED_SECONDS
                return saved.cursor, RETRY_SECONDS
            return saved.cursor, max(self._interval, self._backoff.next())
        missed = self._access.redacted("; ".join(f"{name}: {error}" for name, error in turn.missed.items()))
        task.state = RunState(State.PARTIAL, missed) if missed else RunState(State.OK)
        self._backoff.reset()
        return cursor, self._interval

    async def _drive(self, http: Http, flow: Poll, turn: Turn) -> str:
        """Drive the flow and wait until its rows have their outcomes: only then is its cursor valid."""
        try:
            with FlowDriver[Step, str](flow, partial(self._request, http, turn)) as steps:
                async for step in steps:
                    if isinstance(step, PricesAt):
                        steps.reply(await self._price(step))
                    elif isinstance(step, ReorgedBlock):
                        await self._remove(step)
                    else:
                        for number, emitted in enumerate(step, 1):
                            if (room := self._emit(emitted, turn)) is not None:
                                await room
                            if not number % MANY:
                                await asyncio.sleep(0)
                        await asyncio.sleep(0)  # let other tasks run: a feed may have thousands of articles, each of 3 ms of work
        finally:
            self._malformed, self._missed = turn.malformed, set(turn.missed)
        await self._rows_settled()
        return steps.result

    def _emit(self, emitted: Emitted, turn: Turn) -> Awaitable[None] | None:
        """Put a row into its queue, or count anything else. If the queue is full, returns an awaitable that ends with room."""
        match emitted:
            case Malformed():
                self._reject(emitted, turn)
            case Missed():
                self._miss(emitted, turn)
            case Filtered():
                self._task.metrics.poll_filtered.labels(self.name, emitted.reason).inc(emitted.count)
            case _:
                return self._task.put(emitted)
        return None

    async def _rows_settled(self) -> None:
        """Wait until every row that is emitted so far has its outcome."""
        now = time.time_ns() // 1000
        while any(queue.rows and queue.oldest <= now for queue in self._task.queues):  # noqa: ASYNC110 - a queue notifies nobody
            await asyncio.sleep(COMMIT_SECONDS)

    async def _price(self, query: PricesAt) -> Prices:
        async with self._task.pool.acquire() as connection:
            return await usd_prices(connection, query.symbols, query.time)

    async def _remove(self, block: ReorgedBlock) -> None:
        await self._rows_settled()  # queued rows may be of that block
        async with self._task.pool.acquire() as connection:
            removed = await remove_block(connection, block)
        self._task.metrics.reorg_rows_removed.labels(self.name).inc(removed)
        log.warning("%s: block %s of %s was reorganized: %d rows removed", self.name, block.block_hash, block.blockchain, removed)

    def _reject(self, malformed: Malformed, turn: Turn) -> None:
        """Keep an unreadable part of an answer, but only once while the provider repeats it in every turn."""
        if malformed.payload not in self._malformed and malformed.payload not in turn.malformed:
            self._task.reject(malformed)
        turn.malformed.add(malformed.payload)

    def _miss(self, part: Missed, turn: Turn) -> None:
        """Count a failed part of the turn. It is logged and kept only once while it fails in every turn."""
        turn.missed[part.name] = str(part.error)
        self._task.metrics.counters.errors[self._task.name, "poll", type(part.error).__name__] += 1
        if part.name in self._missed:
            return
        log.warning("%s: %s: %s", self.name, part.name, self._access.redacted(str(part.error)))
        if part.error.reason != "http":
            self._task.reject(Malformed(turn.body, part.error.reason, f"{part.name}: {part.error}"))

    async def _request(self, http: Http, turn: Turn, request: Request) -> Response:
        self._spent = await self._access.spend(self._task.pool)
        turn.requests += 1
        self._task.metrics.poll_requests.labels(self.name).inc()
        condition, cached = self._cache.get(request.url, ({}, b""))
        request = replace(request, headers=request.headers | condition)
        response = await http.get(request)
        if response.status == 304:
            response = replace(response, status=200, body=cached)
        elif (condition := _conditions(response)) and len(response.body) <= CACHED_BYTES:
            self._cache[request.url] = condition, response.body
            if len(self._cache) > CACHED:
                del self._cache[next(iter(self._cache))]
        turn.body = response.body
        self._task.metrics.source_last_message.labels(self.name).set(response.received_at / 1e6)
        return response


def _conditions(response: Response) -> dict[str, str]:
    """The headers of a conditional request for a newer version. Many feeds send only a date, without a tag.

    https://www.rfc-editor.org/rfc/rfc9110#section-13.1
    """
    sent = {name.lower(): value for name, value in response.headers.items()}
    conditions = {"If-None-Match": sent.get("etag", ""), "If-Modified-Since": sent.get("last-modified", "")}
    return {name: value for name, value in conditions.items() if value}
