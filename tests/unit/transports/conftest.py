from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.websocket_bench import Bench, serving


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with serving() as bench:
        yield bench
