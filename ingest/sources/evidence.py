"""Compares unverifiable ranges of one exchange's trades and candles with the exchange's history.

An exchange may acknowledge a subscription and send nothing on it. Where its messages do not show that, the ledger has the range as
unverifiable, and one page of the history by REST decides: if every row of the page is stored, the range up to the end of the page
is covered, else it is a gap, which the gap filler fills. If the page has a row that is newer than the subscription's last message,
its connection is replaced.

The gap filler lends its lease, its requests and its pauses: one question at a time, within its part of the budget.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec import Struct

from ingest.config.sections import ExchangeSection
from ingest.counters import Counters
from ingest.errors import Reject, Retry
from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.history import HistoryRequest, Page
from ingest.protocol.session import ChannelName, Gap
from ingest.records import SECOND, Candle, Instrument, Record
from ingest.sources.exchange_feed import options_of
from ingest.store import sqlstate
from ingest.store.coverage import Claim
from ingest.store.evidence_backlog import UnverifiedRange, count_missing, cover, unverified_ranges
from ingest.store.gap_backlog import instruments_of
from ingest.store.pool import Pool
from ingest.transports.http import Http

ASK_AFTER = timedelta(minutes=5)  # from the last evidence to the first question
RECENT = timedelta(days=2)  # how far back unverifiable ranges are compared
LOOK_SECONDS = 60.0  # between two reads of the ledger
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0  # seconds between two questions about a stream after a failure; the pause doubles

log = logging.getLogger(__name__)

Stream = tuple[int, ChannelName]  # instrument id and channel


class Pause(Struct):
    """No question about a stream before `until`, seconds of the monotonic clock; the next pause has `seconds`."""

    until: float = 0.0
    seconds: float = FIRST_PAUSE


class EvidenceSearch:
    """The questions about one exchange. `kept` is the retention by table; what was missed goes to `on_gap` and `retire_silent`."""

    def __init__(
        self,
        name: str,
        exchange: Exchange,
        writer: str,
        *,
        pool: Pool,
        counters: Counters,
        kept: Mapping[str, timedelta | None],
        busy: Callable[[], bool],
        on_gap: Callable[[str, Gap, str], None],
        retire_silent: Callable[[int, ChannelName, int], bool],
    ) -> None:
        self._name = name
        self._exchange = exchange
        self._writer = writer
        self._pool = pool
        self._counters = counters
        self._kept = kept
        self._busy = busy
        self._on_gap = on_gap
        self._retire_silent = retire_silent
        self._look_due = 0.0
        self._instruments: dict[int, Instrument] = {}
        self._ranges: deque[UnverifiedRange] = deque()
        self._pauses: dict[Stream, Pause] = {}
        self._oldest: dict[Stream, int] = {}  # the exchange has no older rows, microseconds

    async def ask(self, http: Http, section: ExchangeSection, seconds: float) -> None:
        """Ask one question, if one is due, and more for `seconds`; then return. Raises Retry or Hold where the database fails."""
        deadline = time.monotonic() + seconds
        while await self._ask_next(http, section) and time.monotonic() < deadline:
            pass
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    async def _ask_next(self, http: Http, section: ExchangeSection) -> bool:
        """Ask the next question; False if none is due."""
        if self._busy():
            return False
        options = options_of(self._exchange, section, self._writer)
        try:
            if time.monotonic() >= self._look_due:
                await self._look(section, options)
            while self._ranges:
                unverified = self._ranges.popleft()
                stream = unverified.instrument_id, unverified.channel
                since = max(unverified.since, self._oldest.get(stream, 0), self._kept_since(unverified.channel))
                if since < unverified.until and self._pauses.get(stream, Pause()).until <= time.monotonic():
                    await self._compare(http, options, unverified, since)
                    return True
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, f"comparing {self._name} with its history") from error
        return False

    async def _look(self, section: ExchangeSection, options: ExchangeOptions) -> None:
        self._look_due = time.monotonic() + LOOK_SECONDS
        async with self._pool.acquire() as connection:
            rows = await instruments_of(connection, self._name, section.instruments)
            self._instruments = {row.id: row for row in rows}
            found = await unverified_ranges(connection, self._name, list(self._instruments), ASK_AFTER, datetime.now(UTC) - RECENT)
        self._ranges = deque(each for each in found if each.trade_kind in (None, options.trade_kind))

    def _kept_since(self, channel: ChannelName) -> int:
        kept = self._kept[channel]
        return 0 if kept is None else time.time_ns() // 1000 - int(kept.total_seconds() * SECOND)

    async def _compare(self, http: Http, options: ExchangeOptions, unverified: UnverifiedRange, since: int) -> None:
        instrument, channel = self._instruments[unverified.instrument_id], unverified.channel
        request = HistoryRequest(instrument=instrument, channel=channel, since=since, until=unverified.until)
        try:
            page = await self._page(http, request, options)
        except (Reject, Retry) as error:
            if isinstance(error, Reject) and error.reason == "history" and error.code:
                self._oldest[instrument.id, channel] = int(error.code)
            log.info("%s: %s of %s cannot be verified now: %s", self._name, channel, instrument.symbol, error)
            self._settle(instrument.id, channel, "failed")
            return
        rows = [row for row in page.records if has_trades(row)]
        async with self._pool.acquire() as connection:
            missing = await count_missing(connection, instrument.id, rows)
            if not missing:
                key = self._name, self._writer, instrument.id, channel, unverified.trade_kind
                await cover(connection, Claim(*key, since, page.until, "rest"))
        silent = bool(rows) and self._retire_silent(instrument.id, channel, max(row.time for row in rows))
        if missing:
            self._on_gap(self._name, Gap(instrument.id, channel, "missed", since, page.until), options.trade_kind)
        self._settle(instrument.id, channel, "missed" if missing or silent else "verified")

    async def _page(self, http: Http, request: HistoryRequest, options: ExchangeOptions) -> Page:
        """The first page. Raises Retry where it is empty because the range is too young, Reject where a row cannot be read."""
        async with aclosing(http.pages(self._exchange.history(request, options, "rest"))) as pages:
            async for page in pages:
                if page.rejected:
                    raise Reject(f"{len(page.rejected)} rows cannot be read", reason=page.rejected[0].reason)
                if page.until > request.since:
                    return page
        raise Retry("the response ends before the range")

    def _settle(self, instrument_id: int, channel: ChannelName, result: str) -> None:
        self._counters.evidence_checks[self._name, channel, result] += 1
        if result == "verified":
            self._pauses.pop((instrument_id, channel), None)
            return
        pause = self._pauses.setdefault((instrument_id, channel), Pause())
        pause.until, pause.seconds = time.monotonic() + pause.seconds, min(2 * pause.seconds, LONGEST_PAUSE)


def has_trades(row: Record) -> bool:
    """Whether the row stands for a trade: some exchanges send a candle of an empty minute by REST only."""
    return not isinstance(row, Candle) or Decimal(row.volume) > 0
