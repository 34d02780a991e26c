"""Waiting for something to become true: polled, with a deadline, never slept for."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.05


class Late(RuntimeError):
    """What was waited for did not come in time; the message says what it was."""


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float, what: str) -> None:
    """Return when `condition` is true. Raises Late."""
    if not await came(condition, seconds):
        raise Late(f"not within {seconds:.0f} s: {what}")


async def came(condition: Callable[[], bool | Awaitable[bool]], seconds: float) -> bool:
    """Whether `condition` became true in time."""
    deadline = time.monotonic() + seconds
    while True:
        said = condition()
        if await said if inspect.isawaitable(said) else said:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
