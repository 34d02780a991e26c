"""The fixture of the tests of the platforms' schemas."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.support.platform_facts import facts


@pytest.fixture
async def stored(market: str) -> Any:
    """The `Facts` of a migrated database, with the instruments and coins."""
    connection = await asyncpg.connect(market)
    await connection.execute("SET timezone = 'UTC'")
    yield await facts(connection)
    await connection.close()
