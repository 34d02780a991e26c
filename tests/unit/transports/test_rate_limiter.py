from __future__ import annotations

import asyncio

from ingest.protocol.exchange import Rate
from ingest.transports.rate_limiter import RateLimiter


class Clock:
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def limiter_and_clock(rate: Rate) -> tuple[RateLimiter, Clock]:
    clock = Clock()
    return RateLimiter(rate, clock=clock, sleep=clock.sleep), clock


async def test_the_window_slides() -> None:
    limiter, clock = limiter_and_clock(Rate(2, 10.0))
    entered = []
    for _ in range(3):
        await limiter.enter()
        entered.append(clock.now)
        clock.now += 4.0
    await limiter.enter()
    entered.append(clock.now)
    assert entered == [1000.0, 1004.0, 1010.0, 1014.0]


async def test_a_weight_waits_until_enough_has_expired() -> None:
    limiter, clock = limiter_and_clock(Rate(100, 60.0))
    await limiter.enter(50)
    clock.now += 10.0
    await limiter.enter(40)
    await limiter.enter(10)
    assert clock.now == 1010.0
    await limiter.enter(60)  # after the first 50 expire, 40 + 10 are left in the window, so the second entry must expire, too
    assert clock.now == 1070.0


async def test_more_than_the_whole_budget_waits_for_an_empty_window() -> None:
    limiter, clock = limiter_and_clock(Rate(100, 60.0))
    await limiter.enter(1)
    await limiter.enter(250)
    assert clock.now == 1060.0


async def test_a_pause_holds_all_and_a_shorter_pause_does_not_end_it() -> None:
    limiter, clock = limiter_and_clock(Rate(100, 60.0))
    limiter.pause(30.0)
    limiter.pause(5.0)
    assert limiter.paused() == 30.0
    await limiter.enter()
    assert clock.now == 1030.0


async def test_callers_enter_in_order() -> None:
    limiter, _ = limiter_and_clock(Rate(10, 1.0))
    order: list[int] = []

    async def enter(number: int, weight: int) -> None:
        await limiter.enter(weight)
        order.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number, weight in enumerate((10, 10, 1, 5)):
            tasks.create_task(enter(number, weight))
    assert order == [0, 1, 2, 3]
