"""The poller of one provider on loopback: a turn that outlasts its lease, a long pause after status 429, a long response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest

from ingest.config.sections import PollerSection
from ingest.errors import Retry
from ingest.metrics import Metrics
from ingest.polling.provider import Plan, Poll, PollOptions, Provider
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.sources import poller as poll
from ingest.sources.provider_access import ProviderAccess
from ingest.sources.provider_task import ProviderTask
from ingest.store.pool import open_pool
from tests.support import stored
from tests.support.daemon import on_apache, until
from tests.support.providers import Providers, serving

_LEASE = "SELECT expires_at FROM leases WHERE name = 'poll slow' AND holder = 'one'"


def turn(options: PollOptions, _cursor: str) -> Poll:
    yield from answer_to(Request(f"{options.base_url}/slow"))
    return "done"


PLAN = Plan(base_url="", per_minute=600, interval=3600, pause=7200, requests=1, terms="none")
SLOW = SimpleNamespace(NAME="slow", TABLES=(), PLANS={"keyless": PLAN}, ASSETS={}, poll=turn)


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    async with serving(slow=(200, b"[]", {})) as providers:
        yield providers


@pytest.fixture
async def poller(market: str, providers: Providers) -> AsyncIterator[poll.Poller]:
    pool = await open_pool(market, 3)
    section = PollerSection(base_url=providers.url)
    module = cast(Provider, SLOW)
    access = ProviderAccess("slow", module, section)
    yield poll.Poller(ProviderTask(access, "one", pool=pool, queues={}, on_malformed=unexpected, metrics=Metrics()))
    pool.terminate()


def unexpected(*arguments: object) -> None:
    raise AssertionError(f"nothing here is malformed: {arguments}")


@on_apache
async def test_a_long_turn_keeps_its_lease_until_it_is_lost(
    market: str, providers: Providers, poller: poll.Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "RENEW_SECONDS", 0.05)
    providers.once["/slow"] = [None]
    running = asyncio.create_task(poller.run())
    await until(lambda: providers.request_counts["/slow"] == 1)
    first = (await stored.fetch(market, _LEASE))[0]["expires_at"]

    async def is_renewed() -> bool:
        return bool((await stored.fetch(market, _LEASE))[0]["expires_at"] > first)

    await until(is_renewed)
    assert not running.done()
    await stored.fetch(market, "UPDATE leases SET holder = 'two', expires_at = now() + interval '1 hour'")
    with pytest.raises(Retry, match="slow: the lease was lost in the middle of a turn"):
        await asyncio.wait_for(running, 20)
    assert [tuple(row) for row in await stored.fetch(market, "SELECT requests, cursor FROM poll_cursors")] == [(1, "")]


@on_apache
async def test_after_status_429_the_next_turn_is_due_after_the_pause_of_the_plan(providers: Providers, poller: poll.Poller) -> None:
    providers.once["/slow"] = [(429, b"Too Many Requests", {})]
    running = asyncio.create_task(poller.run())
    await until(lambda: poller.status()["state"] == "failing" and poller.status()["next_due_seconds"])
    assert 7100 < cast(int, poller.status()["next_due_seconds"]) <= 7200
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@on_apache
async def test_other_tasks_run_while_a_long_response_is_read(market: str, providers: Providers) -> None:
    """A feed of 3.7 MB with 5,000 articles stopped the event loop for 15 s."""
    passes, seen = 0, list[int]()

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    def long_turn(_options: PollOptions, _cursor: str) -> Poll:
        for number in range(5):
            yield [Malformed(b"%d" % number, "value", "not read")]
        return "read"

    pool = await open_pool(market, 3)
    module = cast(Provider, SimpleNamespace(**vars(SLOW) | {"poll": long_turn}))
    access = ProviderAccess("slow", module, PollerSection(base_url=providers.url))

    def note(_source: str, _malformed: Malformed) -> None:
        seen.append(passes)

    poller = poll.Poller(ProviderTask(access, "one", pool=pool, queues={}, on_malformed=note, metrics=Metrics()))
    tasks = [asyncio.create_task(work) for work in (poller.run(), count())]
    await until(lambda: len(seen) == 5)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    pool.terminate()
    assert seen == sorted(set(seen)), "each part is handled in its own pass of the event loop"
