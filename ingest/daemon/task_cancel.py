"""Ending asyncio tasks, where some do not end at once.

https://docs.python.org/3/library/asyncio-task.html#task-cancellation
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 2.0


def is_cancelled() -> bool:
    """Whether the current task was cancelled: a task group in which something fails at that moment raises that instead."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def cancelled(tasks: Iterable[asyncio.Future[Any]], seconds: float | None = None) -> None:
    """Cancel them and wait until they have ended, or for `seconds`: who waits for a server that answers no more does not end.

    They are cancelled again while they live: where a timeout and a cancellation meet, older Pythons may lose the one in the other.
    """
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    pending = {task for task in tasks if not task.done()}
    while pending and (left := deadline - time.monotonic()) > 0:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=min(left, AGAIN_SECONDS))
