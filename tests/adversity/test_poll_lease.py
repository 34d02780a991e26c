"""A turn that takes longer than a lease: it keeps the lease while it lasts, and ends when another daemon has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import stored
from daemon import on_apache, until
from provided import Providers, serving

from ingest.errors import Retry
from ingest.flow import Plan, Poll, PollOptions, Provider, Request, answer_to
from ingest.metrics import Metrics
from ingest.sections import PollerSection
from ingest.sources import poll
from ingest.store.pool import open_pool

_LEASE = "SELECT expires_at FROM leases WHERE name = 'poll slow' AND holder = 'one'"


def turn(options: PollOptions, _cursor: str) -> Poll:
    yield from answer_to(Request(f"{options.base_url}/slow"))
    return "told"


SLOW = SimpleNamespace(
    NAME="slow",
    TABLES=(),
    PLANS={"keyless": Plan(base_url="", per_minute=600, every=3600, requests=1, terms="none")},
    ASSETS={},
    poll=turn,
)


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    async with serving(slow=(200, b"[]", {})) as made:
        made.once["/slow"] = [None]
        yield made


@on_apache
async def test_a_long_turn_keeps_its_lease_until_it_is_lost(
    market: str, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "LOOK_SECONDS", 0.05)
    pool = await open_pool(market, 3)
    section = PollerSection(base_url=providers.url)
    malformed: list[Any] = []
    one = poll.Poller(
        "slow",
        cast(Provider, SLOW),
        section,
        "one",
        pool=pool,
        lanes={},
        on_malformed=lambda *said: malformed.append(said),
        metrics=Metrics(),
    )
    running = asyncio.create_task(one.run())
    try:
        await until(lambda: providers.asked["/slow"] == 1)
        first = (await stored.fetch(market, _LEASE))[0]["expires_at"]

        async def is_prolonged() -> bool:
            return bool((await stored.fetch(market, _LEASE))[0]["expires_at"] > first)

        await until(is_prolonged)
        assert not running.done()
        await stored.fetch(market, "UPDATE leases SET holder = 'two', expires_at = now() + interval '1 hour'")
        with pytest.raises(Retry, match="slow: the lease was lost in the middle of a turn"):
            await asyncio.wait_for(running, 20)
        spent = await stored.fetch(market, "SELECT requests, cursor FROM poll_cursors")
        assert ([tuple(row) for row in spent], malformed) == ([(1, "")], [])
    finally:
        running.cancel()
        pool.terminate()
