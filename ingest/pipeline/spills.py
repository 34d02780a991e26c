"""The detours of all tables by one spool: opened before anything else, ended when the lanes are to be emptied."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from ingest.pipeline.spill import Rules, Spill
from ingest.pipeline.spool import Entry, Spool
from ingest.pipeline.table_queue import TableQueue
from ingest.pipeline.writer import Writer
from ingest.protocol.session import Gap

TIDY_SECONDS = 1.0  # how often the spool is tidied where its own policy names no length

log = logging.getLogger(__name__)


class Spills:
    """One daemon's. `rules` are those of each table."""

    def __init__(self, spool: Spool, rules: Mapping[str, Rules]) -> None:
        self._spool = spool
        self._rules = rules
        self._found: dict[str, list[Entry]] = {}
        self._detours: dict[str, Spill] = {}

    async def open(self) -> None:
        """Take the directory and find what another run left there. Raises Stop where it cannot be had."""
        self._found = await asyncio.to_thread(self._spool.open)
        for name in self._found.keys() - self._rules.keys():
            rows = sum(entry.rows for entry in self._found[name])
            log.error("the spool has %d rows of %s, which is no table of this version: they stay there", rows, name)

    @property
    def max_bytes(self) -> int:
        return self._spool.max_bytes

    @property
    def used_bytes(self) -> int:
        """What the spool takes of the disk."""
        return self._spool.used_bytes

    @property
    def has_rows(self) -> bool:
        """Whether there may be rows in it: of an earlier run, or of this one."""
        return bool(self._found or self._detours)

    def add(self, lane: TableQueue, on_gap: Callable[[Gap], None], known: Iterable[int] = ()) -> Spill:
        """The detour of one table, with what was found of it; `known` are instruments of which it may have rows."""
        name = lane.table.name
        self._spool.streams[name].update(known)
        detour = Spill(lane, self._spool, self._rules[name], self._found.pop(name, []), on_gap=on_gap)
        self._detours[name] = detour
        for why in detour.held:
            log.error("%s", why)
        return detour

    @property
    def held(self) -> list[str]:
        """Why rows stay in the spool until a person does something, in words."""
        return [why for detour in self._detours.values() for why in detour.held]

    async def run(self, writers: Mapping[str, Writer]) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tidy())
            for name, detour in self._detours.items():
                group.create_task(detour.run(writers[name]))

    async def end(self) -> None:
        """Bring to disk whatever the lanes still have, and let go of the directory. Nothing else may run any more."""
        for detour in self._detours.values():
            await detour.keep()
        await asyncio.to_thread(self._spool.close)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(self._spool.sync_seconds or TIDY_SECONDS)
            await asyncio.to_thread(self._spool.tidy)
