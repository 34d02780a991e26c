"""A buffer of what is written beside the rows: claims and gaps into `coverage`, unreadable frames into `rejects`.

It is written once a second, and it is bounded: what finds no room is counted, so that an exchange that sends nothing but garbage
exhausts neither the memory nor the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from ingest.errors import Hold, Retry
from ingest.metrics import Metrics
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Gap
from ingest.store import sqlstate
from ingest.store.coverage import Claim, Hole, write_claims, write_holes
from ingest.store.failover import Seen, lost
from ingest.store.pool import Pool, transaction
from ingest.store.rejects import Rejected, insert_rejects

FLUSH_SECONDS = 1.0
REJECTS_A_FLUSH = 200
HOLES = 100_000
CLAIMS = 100_000

log = logging.getLogger(__name__)


class CoverageBuffer:
    """The buffer of one daemon or command; `writer` is its name in the ledger."""

    def __init__(self, pool: Pool, metrics: Metrics, writer: str) -> None:
        self._pool = pool
        self._metrics = metrics
        self._writer = writer
        self._claims: dict[tuple[object, ...], Claim] = {}  # by `Claim.key`
        self._holes: list[Hole] = []
        self._open: set[tuple[object, ...]] = set()
        self._rejects: list[Rejected] = []
        self._seen = Seen()

    def gap(self, source: str, gap: Gap, trade_kind: str | None = None) -> None:
        """A hole in a stream: once when it is known, or when it opens and again when it ends."""
        hole = Hole(source, self._writer, gap, trade_kind)
        if hole.key in self._open:
            self._open.remove(hole.key)
        else:
            self._metrics.gaps.labels(source, gap.channel, gap.reason).inc()
            log.warning("%s: gap in %s of instrument %d: %s", source, gap.channel, gap.instrument_id, gap.reason)
        if gap.until is None:
            self._open.add(hole.key)
        if len(self._holes) < HOLES:
            self._holes.append(hole)
        else:
            self._metrics.errors.labels("notes", "gap_dropped").inc()

    def claim(self, claims: Iterable[Claim]) -> None:
        """Write these claims at the next flush. Every row that they cover must have its outcome by now."""
        for claim in claims:
            held = self._claims.get(claim.key)
            if held is None and len(self._claims) >= CLAIMS:
                self._metrics.errors.labels("notes", "claim_dropped").inc()
            elif held is None or held.until < claim.until:
                self._claims[claim.key] = claim

    def malformed(self, source: str, malformed: Malformed) -> None:
        """A frame, or part of one, that is not what the exchange documents."""
        self._metrics.errors.labels("decode", malformed.reason).inc()
        if len(self._rejects) < REJECTS_A_FLUSH:
            payload = malformed.payload.decode("utf-8", "backslashreplace")
            self._rejects.append(Rejected(source, None, "decode", malformed.reason, None, malformed.message, payload))
        else:
            self._metrics.errors.labels("notes", "reject_dropped").inc()

    async def run(self) -> None:
        """Write what was noted, every second, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except (Retry, Hold) as error:
                log.warning("%s", error)
                self._metrics.errors.labels("notes", type(error).__name__).inc()

    async def flush(self) -> None:
        """Write what was noted so far; on Retry or Hold it is kept for the next time."""
        holes, rejects, claims = self._holes, self._rejects, list(self._claims.values())
        if not holes and not rejects and not claims:
            return
        try:
            async with self._pool.acquire() as connection, transaction(connection):
                seen, doubtful = await lost(connection, self._seen, claims)
                await write_holes(connection, [*holes, *doubtful])
                await write_claims(connection, claims)
                await insert_rejects(connection, rejects)
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(
                error, f"writing {len(claims)} claims, {len(holes)} gaps and {len(rejects)} rejects"
            ) from error
        self._seen = seen
        self._count(doubtful)
        self._holes = self._holes[len(holes) :]
        self._rejects = self._rejects[len(rejects) :]
        for claim in claims:
            if self._claims[claim.key] is claim:  # else it was prolonged meanwhile
                del self._claims[claim.key]

    def _count(self, holes: Sequence[Hole]) -> None:
        for hole in holes:
            self._metrics.gaps.labels(hole.source, hole.gap.channel, hole.gap.reason).inc()
        if holes:
            log.warning("the database failed over: what %d claims said of the last moments is a gap", len(holes))
