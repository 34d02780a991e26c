"""Buffers claims and gaps for the table `coverage`, and unreadable frames for `rejects`. It is bounded and written once a second.

Gaps and claims beyond the bounds are counted and dropped. Of the unreadable frames of one source a sample is kept, so that a source
that sends only garbage fills neither the memory nor the database, and costs no other source its evidence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from ingest.counters import Counters
from ingest.errors import Hold, Retry
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Gap
from ingest.store import sqlstate
from ingest.store.coverage import Claim, LedgerGap, write_claims, write_gaps
from ingest.store.failover import ServerHistory, gaps_after_failover
from ingest.store.pool import Pool, transaction
from ingest.store.rejects import PendingRejects, RejectSampler, insert_rejects, undecoded

FLUSH_SECONDS = 1.0
MAX_GAPS = 100_000
MAX_CLAIMS = 100_000

log = logging.getLogger(__name__)


class CoverageBuffer:
    """The buffer of one daemon or command; `writer` is its name in the ledger."""

    def __init__(self, pool: Pool, counters: Counters, writer: str) -> None:
        self._pool = pool
        self._counters = counters
        self._writer = writer
        self._claims: dict[tuple[object, ...], Claim] = {}  # by `Claim.key`
        self._gaps: list[LedgerGap] = []
        self._open: set[tuple[object, ...]] = set()
        self._rejects = PendingRejects()
        self._sampler = RejectSampler()
        self._history = ServerHistory()

    def gap(self, source: str, gap: Gap, trade_kind: str | None = None) -> None:
        """Record a gap: once if its end is known, else when it opens and again when it ends."""
        ledger_gap = LedgerGap(source, self._writer, gap, trade_kind)
        if ledger_gap.key in self._open:
            self._open.remove(ledger_gap.key)
        else:
            self._counters.gaps[source, gap.channel, gap.reason] += 1
            log.warning("%s: gap in %s of instrument %d: %s", source, gap.channel, gap.instrument_id, gap.reason)
        if gap.until is None:
            self._open.add(ledger_gap.key)
        if len(self._gaps) < MAX_GAPS:
            self._gaps.append(ledger_gap)
        else:
            self._counters.errors[source, "coverage_buffer", "gap_dropped"] += 1

    def claim(self, claims: Iterable[Claim]) -> None:
        """Write these claims at the next flush. Every row that they cover must have its outcome by now."""
        for claim in claims:
            buffered = self._claims.get(claim.key)
            if buffered is None and len(self._claims) >= MAX_CLAIMS:
                self._counters.errors[claim.source, "coverage_buffer", "claim_dropped"] += 1
            elif buffered is None or buffered.until < claim.until:
                self._claims[claim.key] = claim

    def malformed(self, source: str, malformed: Malformed) -> None:
        """Record a frame, or a part of one, that differs from what the source documents."""
        self._counters.errors[source, "decode", malformed.reason] += 1
        self._rejects.add(undecoded(source, malformed))

    async def run(self) -> None:
        """Flush every second, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except (Retry, Hold) as error:
                log.warning("%s", error)
                self._counters.errors["", "coverage_buffer", type(error).__name__] += 1

    async def flush(self) -> None:
        """Write the buffer in one transaction. On Retry or Hold it is kept for the next flush."""
        pending = self._rejects.take()
        gaps, rejects, claims = self._gaps, self._sampler.sample(pending), list(self._claims.values())
        if not gaps and not rejects and not claims:
            return
        try:
            async with self._pool.acquire() as connection, transaction(connection):
                history, failover_gaps = await gaps_after_failover(connection, self._history, claims)
                await write_gaps(connection, [*gaps, *failover_gaps])
                await write_claims(connection, claims)
                await insert_rejects(connection, rejects)
            pending = []
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"writing {len(claims)} claims, {len(gaps)} gaps and {len(rejects)} rejects") from error
        finally:
            for reject in pending:  # nothing was committed
                self._rejects.add(reject)
        self._history = history
        self._count_failover(failover_gaps)
        self._gaps = self._gaps[len(gaps) :]
        self._sampler.count(rejects)
        for claim in claims:
            if self._claims[claim.key] is claim:  # else it was extended meanwhile
                del self._claims[claim.key]

    def _count_failover(self, gaps: Sequence[LedgerGap]) -> None:
        for ledger_gap in gaps:
            self._counters.gaps[ledger_gap.source, ledger_gap.gap.channel, ledger_gap.gap.reason] += 1
        if gaps:
            log.warning("the database failed over: %d claims get a gap from their stored end, because rows may be lost", len(gaps))
