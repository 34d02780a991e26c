"""One polled provider: asked in turns that its budget allows, by one daemon, under the lease `poll NAME`.

The pure module says what to ask and what the answers mean; here are the clock, the lease, the budget and the errors. The interval
follows from the budget: 10,000 requests a month are gone within a week at one a minute. What is spent, and when the next turn is
due, stands in the database: a restart asks nothing twice.
The rule one would get wrong: every request counts against the month, those that fail as well.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import aiohttp
from msgspec import Struct, field
from msgspec.structs import replace

from ingest.config.sections import PollerSection
from ingest.errors import Reject, Retry, Stop, first
from ingest.metrics import Metrics
from ingest.pipeline.table_queue import TableQueue
from ingest.polling.db_queries import Filtered, Prices, PricesAt, ReorgedBlock
from ingest.polling.provider import REFUSED, Emitted, Missed, Plan, Poll, PollOptions, Provider, Step
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Rate
from ingest.protocol.http import Request, Response
from ingest.records import Asset
from ingest.sources.address_labels import read_labels
from ingest.sources.sentiment_vader import score
from ingest.store import sqlstate
from ingest.store.chain_reorgs import remove_block
from ingest.store.leases import acquire, release
from ingest.store.poll_state import PollState, load_state, reserve_request, save_state, store_assets
from ingest.store.pool import Pool
from ingest.store.spot_prices import usd_prices
from ingest.transports.backoff import Backoff
from ingest.transports.client import open_client
from ingest.transports.flow_driver import FlowDriver
from ingest.transports.http import Http

LEASE_SECONDS = 60.0  # so long a daemon that died keeps others waiting
LOOK_SECONDS = 20.0  # how often the lease is prolonged, also while a turn lasts, or asked for
DISABLING = (*REFUSED, "422")  # a key or a request that is wrong: nothing mends that but a person
REFUSED_SECONDS = 6 * 3600.0
MONTH_SECONDS = 31 * 86_400
FIRST_SECONDS, CAP_SECONDS = 1.0, 900.0  # between turns that fail
REMEMBERED_BYTES = 4 << 20  # of one body, for a 304
REMEMBERED = 16  # bodies: who is asked for each block anew gives a tag for each, and is never asked for it again
STRUCK = "***"  # in the place of a key
COMMIT_SECONDS = 0.1  # how often it is looked whether rows have their outcome

log = logging.getLogger(__name__)


class Turn(Struct):
    """What one turn has of evidence: the last body, for where it cannot be read at all."""

    body: bytes = b""
    requests: int = 0
    malformed: set[bytes] = field(default_factory=set)  # what of the answers could not be read
    missed: dict[str, str] = field(default_factory=dict)  # which parts could not be had, and why


class Poller:
    """Keeps one provider polled. `lanes` are by table; `holder` is who has the lease."""

    def __init__(
        self,
        name: str,
        module: Provider,
        section: PollerSection,
        holder: str,
        *,
        pool: Pool,
        lanes: Mapping[str, TableQueue],
        on_malformed: Callable[[str, Malformed], None],
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.last_error = ""
        self._module = module
        self._section = section
        self._key = section.api_key.get_secret_value() if section.api_key else ""
        self._holder = holder
        self._pool = pool
        self._lanes = [lanes[table] for table in module.TABLES]
        self._puts: dict[type, Callable[..., Awaitable[None] | None]] = {one.table.record: one.put for one in self._lanes}
        self._on_malformed = on_malformed
        self._metrics = metrics
        self._backoff = Backoff(random.random, first=FIRST_SECONDS, cap=CAP_SECONDS)
        self._bodies: dict[str, tuple[dict[str, str], bytes]] = {}  # by URL: how to ask for something newer, and the answer
        self._malformed: set[bytes] = set()  # of the last turn
        self._missed: set[str] = set()
        self._state = "waiting"
        self._due = 0.0
        self._refused_until = 0.0  # by our own clock: a restart or a reload tries again
        self._spent = 0
        self.plan, self.disabled = plan_of(module, section)
        self.interval = interval_of(self.plan, module, section)

    def status(self) -> dict[str, object]:
        """What `ingest status` and the page show."""
        of = f" of {self.plan.per_month}" if self.plan.per_month else ""
        return {
            "state": f"disabled: {self.disabled}" if self.disabled else self._state,
            "next_due_seconds": None if self.disabled else round(max(0.0, self._due - time.monotonic())),
            "interval_seconds": round(self.interval),
            "requests_this_month": f"{self._spent}{of}",
            "last_error": self.last_error,
        }

    async def run(self) -> None:
        """Until cancelled."""
        if self.disabled:
            log.warning("%s: disabled: %s", self.name, self.disabled)
            await asyncio.Event().wait()
        proxy = self._section.proxy.get_secret_value() if self._section.proxy else None
        try:
            options = await options_of(self.name, self._module, self.plan, self._section, self._pool)
            async with open_client(proxy) as client:
                http = http_of(self.name, self.plan, self._section, client)
                while True:
                    wait = await self._look(http, options)
                    self._due = time.monotonic() + wait
                    await asyncio.sleep(min(wait, LOOK_SECONDS))
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"the place of poller {self.name}") from error
        finally:
            with suppress(TimeoutError, *sqlstate.FOREIGN):
                async with asyncio.timeout(1), self._pool.acquire() as connection:
                    await release(connection, f"poll {self.name}", self._holder)

    async def _look(self, http: Http, options: PollOptions) -> float:
        """Take a turn if the lease is ours and it is due; the seconds until the next."""
        async with self._pool.acquire() as connection:
            if not await acquire(connection, f"poll {self.name}", self._holder, LEASE_SECONDS):
                self._state = "done by another daemon"
                return LOOK_SECONDS
            place = await load_state(connection, self.name)
        self._spent = place.requests
        if (wait := max(place.wait, self._refused_until - time.monotonic())) > 0:
            return wait
        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(self._keep_lease())
                cursor, wait = await self._attempt(http, options, place)
                keeping.cancel()
        except ExceptionGroup as errors:
            raise first(errors) from errors
        async with self._pool.acquire() as connection:
            await save_state(connection, self.name, cursor, wait)
        return max(wait, self._refused_until - time.monotonic())

    async def _keep_lease(self) -> None:
        """While a turn lasts. Raises Retry where the lease is gone: who has it asks now, and to ask twice spends twice."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            async with self._pool.acquire() as connection:
                if not await acquire(connection, f"poll {self.name}", self._holder, LEASE_SECONDS):
                    raise Retry(f"{self.name}: the lease was lost in the middle of a turn")

    async def _attempt(self, http: Http, options: PollOptions, place: PollState) -> tuple[str, float]:
        """One turn; the cursor and the seconds until the next. What fails is counted and tried again by rule."""
        turn = Turn()
        try:
            cursor = await self._take(http, self._module.poll(options, place.cursor), turn)
        except Retry as error:
            self._fail("failing", error)
            pause = self.plan.pause if error.code == "429" else 0.0
            earned = turn.requests * MONTH_SECONDS / self.plan.per_month if self.plan.per_month else 0.0
            return place.cursor, max(error.after or 0.0, pause, self._backoff.next(), earned)
        except Reject as error:
            refused = error.code in DISABLING
            self._fail("disabled" if refused else "failing", error)
            if error.reason != "http" and str(error) not in turn.missed.values():  # what was missed is kept already
                self._keep(Malformed(turn.body, error.reason, str(error)))
            if refused:
                self._refused_until = time.monotonic() + REFUSED_SECONDS
                return place.cursor, LEASE_SECONDS  # for who comes after us: what was refused may be mended by then
            return place.cursor, max(self.interval, self._backoff.next())
        self.last_error = self._struck("; ".join(f"{name}: {why}" for name, why in turn.missed.items()))
        self._state = f"ok, but {self.last_error}" if turn.missed else "ok"
        self._backoff.reset()
        return cursor, self.interval

    def _fail(self, state: str, error: Retry | Reject) -> None:
        self.last_error = self._struck(str(error))
        self._state = f"{state}: {self.last_error}"
        self._metrics.counters.errors["poll", type(error).__name__] += 1
        log.warning("%s: %s", self.name, self._state)

    def _keep(self, bad: Malformed) -> None:
        payload = bad.payload.replace(self._key.encode(), STRUCK.encode()) if self._key else bad.payload
        self._on_malformed(self.name, Malformed(payload, bad.reason, self._struck(bad.message)))

    def _struck(self, text: str) -> str:
        return struck(text, self._section)

    async def _take(self, http: Http, flow: Poll, turn: Turn) -> str:
        """Drive the flow until its rows have their outcome: only then its cursor counts."""
        try:
            with FlowDriver[Step, str](flow, partial(self._ask, http, turn)) as steps:
                async for step in steps:
                    if isinstance(step, PricesAt):
                        steps.reply(await self._price(step))
                    elif isinstance(step, ReorgedBlock):
                        await self._remove(step)
                    else:
                        for record in step:
                            if (room := self._tell(record, turn)) is not None:
                                await room
        finally:
            self._malformed, self._missed = turn.malformed, set(turn.missed)
        await self._settled()
        return steps.result

    def _tell(self, record: Emitted, turn: Turn) -> Awaitable[None] | None:
        """A row goes to its lane, whose room may have to be waited for; what is none is counted."""
        match record:
            case Malformed():
                self._note(record, turn)
            case Missed():
                self._miss(record, turn)
            case Filtered():
                self._metrics.poll_filtered.labels(self.name, record.reason).inc(record.count)
            case _:
                return self._puts[type(record)](record)
        return None

    async def _settled(self) -> None:
        """Until every row that was told by now has its outcome."""
        now = time.time_ns() // 1000
        while any(lane.rows and lane.oldest <= now for lane in self._lanes):  # noqa: ASYNC110 - a lane tells nobody
            await asyncio.sleep(COMMIT_SECONDS)

    async def _price(self, question: PricesAt) -> Prices:
        async with self._pool.acquire() as connection:
            return await usd_prices(connection, question.symbols, question.time)

    async def _remove(self, orphan: ReorgedBlock) -> None:
        await self._settled()  # what is on its way may be of that block
        async with self._pool.acquire() as connection:
            removed = await remove_block(connection, orphan)
        self._metrics.reorg_rows_removed.labels(self.name).inc(removed)
        log.warning("%s: block %s of %s is orphaned: %d rows removed", self.name, orphan.block_hash, orphan.blockchain, removed)

    def _note(self, malformed: Malformed, turn: Turn) -> None:
        """A part of an answer that cannot be read: noted once, and not again by each turn while the provider keeps saying it."""
        if malformed.payload not in self._malformed | turn.malformed:
            self._keep(malformed)
        turn.malformed.add(malformed.payload)

    def _miss(self, part: Missed, turn: Turn) -> None:
        """As a turn that failed, but only of a part: counted each time, said and kept once while it is so."""
        turn.missed[part.name] = str(part.error)
        self._metrics.counters.errors["poll", type(part.error).__name__] += 1
        if part.name in self._missed:
            return
        log.warning("%s: %s: %s", self.name, part.name, self._struck(str(part.error)))
        if part.error.reason != "http":
            self._keep(Malformed(turn.body, part.error.reason, f"{part.name}: {part.error}"))

    async def _ask(self, http: Http, turn: Turn, request: Request) -> Response:
        self._spent = await spend_one(self.name, self.plan, self._pool)
        turn.requests += 1
        self._metrics.poll_requests.labels(self.name).inc()
        condition, known = self._bodies.get(request.url, ({}, b""))
        request = replace(request, headers=request.headers | condition)
        response = await http.get(request)
        if response.status == 304:
            response = replace(response, status=200, body=known)
        elif (condition := _unless_same(response)) and len(response.body) <= REMEMBERED_BYTES:
            self._bodies[request.url] = condition, response.body
            if len(self._bodies) > REMEMBERED:
                del self._bodies[next(iter(self._bodies))]
        turn.body = response.body
        self._metrics.source_last_message.labels(self.name).set(response.received_at / 1e6)
        return response


def struck(text: str, section: PollerSection) -> str:
    """Without the key: some providers repeat it in what they complain of."""
    key = section.api_key.get_secret_value() if section.api_key else ""
    return text.replace(key, STRUCK) if key else text


async def spend_one(name: str, plan: Plan, pool: Pool) -> int:
    """Count one request that is about to be made; the month's number. Raises Retry where the month's budget is spent."""
    async with pool.acquire() as connection:
        number = await reserve_request(connection, name, plan.per_month)
    if number is None:
        raise Retry(f"{plan.per_month} requests of this month are spent (pollers.{name}.budget)", after=3600.0)
    return number


def http_of(name: str, plan: Plan, section: PollerSection, client: aiohttp.ClientSession) -> Http:
    """How the provider is asked, within its plan's budget of a minute."""
    return Http(
        client,
        rate=rate_of(plan),
        alternative=f"pollers.{name}.base_url",
        seconds=section.timeout.total_seconds(),
    )


def rate_of(plan: Plan) -> Rate:
    """A minute's requests, at once or one after the other."""
    return Rate(1, 60.0 / plan.per_minute) if plan.spread else Rate(plan.per_minute, 60.0)


async def options_of(name: str, module: Provider, plan: Plan, section: PollerSection, pool: Pool) -> PollOptions:
    """What the settings say to the provider's module. Raises Stop for coins that are not clear."""
    labels = await asyncio.to_thread(read_labels, section.labels) if section.labels else {}
    options = PollOptions(base_url=section.base_url or plan.base_url, score=score, min_usd=section.min_usd, labels=labels)
    channels = section.channels or getattr(module, "CHANNELS", ())
    options = replace(options, plan=plan_name(module, section), channels=channels)
    if plan.key and section.api_key is not None:
        key = {plan.key: section.api_key.get_secret_value()}
        options = replace(options, headers=key) if plan.key_in == "header" else replace(options, secret=key)
    if not module.ASSETS:
        return options
    assets = assets_of(name, module, section)
    if "prices" not in module.TABLES:  # only a price's row has an asset_id; others know coins by names of their own
        return replace(options, assets=tuple(assets))
    async with pool.acquire() as connection:
        return replace(options, assets=await store_assets(connection, assets))


def _unless_same(response: Response) -> dict[str, str]:
    """The headers that ask for what is newer: https://www.rfc-editor.org/rfc/rfc9110#section-13.1. Feeds often have but a date."""
    said = {name.lower(): value for name, value in response.headers.items()}
    asked = {"If-None-Match": said.get("etag", ""), "If-Modified-Since": said.get("last-modified", "")}
    return {name: value for name, value in asked.items() if value}


def plan_name(module: Provider, section: PollerSection) -> str:
    """Which of its plans: the one that the settings name, else the first for a key, or for none."""
    fitting = [name for name, plan in module.PLANS.items() if bool(plan.key) == (section.api_key is not None)]
    return section.plan or (fitting or list(module.PLANS))[0]


def plan_of(module: Provider, section: PollerSection) -> tuple[Plan, str]:
    """The plan that the settings choose, with their budget, and why it must not be used; '' where it may."""
    plan = module.PLANS[plan_name(module, section)]
    budget = section.budget
    plan = replace(plan, per_minute=budget.per_minute or plan.per_minute, per_month=budget.per_month or plan.per_month)
    if not (plan.default_on if section.enabled is None else section.enabled):
        return plan, f"not enabled: {plan.terms}"
    return plan, "no key" if plan.key and section.api_key is None else ""


def interval_of(plan: Plan, module: Provider, section: PollerSection) -> float:
    """Seconds between turns, as both budgets allow."""
    interval = section.interval.total_seconds() if section.interval else plan.interval
    counts = {"turn": 1, "coin": len(symbols_of(module, section)), "channel": len(section.channels) or 1}
    requests = plan.requests * -(-counts[plan.each] // plan.of)
    per_month = requests * MONTH_SECONDS / plan.per_month if plan.per_month else 0.0
    return max(interval, requests * 60 / plan.per_minute, per_month)


def symbols_of(module: Provider, section: PollerSection) -> tuple[str, ...]:
    """The coins that the settings name, or where they name none the provider's own, if it has some."""
    own: tuple[str, ...] = getattr(module, "SYMBOLS", section.symbols)
    return section.symbols if "symbols" in section.model_fields_set else own


def assets_of(name: str, module: Provider, section: PollerSection) -> list[Asset]:
    """The coins to ask for. Raises Stop for a symbol of which nobody says which coin it is."""
    known, symbols = {**module.ASSETS, **section.ids}, symbols_of(module, section)
    for symbol in symbols:
        if symbol not in known:
            raise Stop(f"{name}: symbol '{symbol}' may be many coins; right would be ids = {{ {symbol} = \"the-id\" }}")
    twice = [coin for coin, count in Counter(known[symbol] for symbol in symbols).items() if count > 1]
    if twice:
        raise Stop(f"{name}: two symbols are the same coin '{twice[0]}'; right would be one symbol for each")
    return [Asset(symbol, known[symbol]) for symbol in symbols]
