"""The spilling of all tables into the one spool of a daemon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from ingest.pipeline.spill import Spill
from ingest.pipeline.spool import Spool
from ingest.pipeline.writer import Writer

TIDY_SECONDS = 1.0  # between two calls of `Spool.tidy` where `fsync` names no interval

log = logging.getLogger(__name__)


class Spills:
    """The spills of one daemon, by table."""

    def __init__(self, spool: Spool, spills: Mapping[str, Spill]) -> None:
        self._spool = spool
        self._spills = spills
        for reason in self.held:
            log.error("%s", reason)

    @property
    def held(self) -> list[str]:
        """Why records stay in the spool until a person acts, as sentences for people."""
        return [reason for spill in self._spills.values() for reason in spill.held]

    async def run(self, writers: Mapping[str, Writer]) -> None:
        """Spill, replay and tidy until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tidy())
            for name, spill in self._spills.items():
                group.create_task(spill.run(writers[name]))

    async def end(self) -> None:
        """Spill the batches that the queues still have, and close the spool. `run` must have ended."""
        for spill in self._spills.values():
            await spill.spill_all()
        await asyncio.to_thread(self._spool.close)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(self._spool.sync_seconds or TIDY_SECONDS)
            await asyncio.to_thread(self._spool.tidy)
