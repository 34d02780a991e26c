"""Polls a condition until it is true or a deadline has passed."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.05


class Late(RuntimeError):
    """A condition did not become true in time; the message names it."""


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float, what: str) -> None:
    """Wait until `condition` is true. Raises Late after `seconds`; `what` names the condition in the message."""
    if not await came(condition, seconds):
        raise Late(f"not within {seconds:.0f} s: {what}")


async def came(condition: Callable[[], bool | Awaitable[bool]], seconds: float) -> bool:
    """Wait until `condition` is true, at most `seconds`. Returns whether it became true."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if await result if inspect.isawaitable(result) else result:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
