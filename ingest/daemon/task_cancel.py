"""Cancels asyncio tasks that may not end at once.

https://docs.python.org/3/library/asyncio-task.html#task-cancellation
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from typing import Any

REPEAT_SECONDS = 2.0


def is_cancelled() -> bool:
    """Whether the current task was cancelled, even if its task group raised another error instead of CancelledError."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def cancelled(tasks: Iterable[asyncio.Future[Any]], seconds: float | None = None) -> None:
    """Cancel the tasks and wait until they have ended, at most `seconds`: a task that waits for a dead server may not end.

    The cancellation is repeated, because older versions of Python may lose a cancellation that coincides with a timeout.
    """
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    pending = {task for task in tasks if not task.done()}
    while pending and (left := deadline - time.monotonic()) > 0:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=min(left, REPEAT_SECONDS))
