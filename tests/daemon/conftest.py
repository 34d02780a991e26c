from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ingest.simulator.server import Simulator
from tests.support import archive


@pytest.fixture
async def served() -> AsyncIterator[archive.ArchiveServer]:
    async with archive.serving() as archive_server:
        yield archive_server


@pytest.fixture
async def past() -> AsyncIterator[Simulator]:
    """A simulated exchange with 15 minutes of history that goes on trading."""
    simulator = Simulator(history_seconds=900, trades_per_second=40)
    await simulator.start()
    yield simulator
    await simulator.stop()
