from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ingest.simulator.server import Simulator
from tests.support import archive


@pytest.fixture
async def served() -> AsyncIterator[archive.ArchiveServer]:
    async with archive.serving() as one:
        yield one


@pytest.fixture
async def past() -> AsyncIterator[Simulator]:
    """An exchange that has traded for some minutes, and trades."""
    made = Simulator(history_seconds=900, trades_per_second=40)
    await made.start()
    yield made
    await made.stop()
