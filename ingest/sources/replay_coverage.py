"""One connection of a capture while it is replayed, and the coverage of its rows.

Claims are made as for a live feed (coverage_claims.py), by the clock of the capture. They begin with the first message of a
subscription. It is covered up to its last message if its messages show that none before was missed, and unverifiable up to the last
frame of the connection; both less the lateness of its rows. Ticks continue while a connection is silent or dead, so only a frame
shows that it is alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import groupby, pairwise
from operator import attrgetter

from ingest.protocol.exchange import CompletenessRules, ExchangeOptions
from ingest.protocol.http import Request
from ingest.protocol.session import Connection, Gap, Session
from ingest.records import SECOND, Candle, Record
from ingest.sources.coverage_claims import LATE, MARGIN, Watched, begin_of
from ingest.store.coverage import Claim, to_datetime

WRITER = "replay"  # of claims and gaps: the gaps of a live daemon do not reduce the coverage of a replay
WINDOW = 5 * SECOND  # the lateness of a row counts for one to two of these


class ReplayedConnection:
    """One connection, with the session that receives its inputs again. Times are in microseconds."""

    def __init__(
        self, source: str, connection: Connection, options: ExchangeOptions, session: Session, rules: CompletenessRules
    ) -> None:
        self.options = options
        self._rules = rules
        self.session = session
        self.request: Request | None = None  # the request of the next answer
        self.source = source
        self._connection = connection
        self._since = [0] * len(connection.subscriptions)  # the first message of each subscription
        self._last = 0  # the time of the last frame
        self._open: dict[tuple[object, ...], Gap] = {}  # gaps whose end is not known yet
        self._clock_ahead = 0  # how far the exchange's clock was ahead of the daemon's
        self._late = [0, 0]  # the lateness of rows within the last WINDOW and within the one before
        self._window = 0

    def add_message(self, at: int) -> None:
        """Note that a frame or an answer was delivered."""
        self._last = at
        for index, message_at in enumerate(self.session.last_message_at):
            self._since[index] = self._since[index] or message_at

    def add_row(self, record: Record) -> None:
        """Measure how late a row was."""
        if isinstance(record, Candle):  # its time is the start of its minute, not an event
            return
        late = record.received_at - record.time
        if record.received_at - self._window > WINDOW:
            self._late, self._window = [0, self._late[0]], record.received_at
        self._late[0] = max(self._late[0], late)
        self._clock_ahead = max(self._clock_ahead, -late)

    def add_gap(self, gap: Gap) -> None:
        """Note a gap. A session reports it when it opens and again when it ends."""
        key = gap.instrument_id, gap.channel, gap.reason, gap.since, gap.first_id
        self._open.pop(key, None)
        if gap.until is None:
            self._open[key] = gap

    def open_gaps(self) -> list[Gap]:
        """The gaps that are still open, closed at the end of the connection."""
        return [
            Gap(one.instrument_id, one.channel, one.reason, one.since, max(one.since, self._last)) for one in self._open.values()
        ]

    def claims(self) -> list[Claim]:
        """The coverage of its rows, once they are committed."""
        margin, kind = max(MARGIN, int(LATE * max(self._late))), self.options.trade_kind
        claims = []
        for subscription, last_message_at, first in zip(
            self._connection.subscriptions, self.session.last_message_at, self._since, strict=True
        ):
            channel = subscription.channel
            begin = begin_of(channel, first + self._clock_ahead) if first else 0
            evidence = min(self._last, last_message_at) if self._rules.has_evidence(channel, kind) else 0
            changed = Watched(begin, begin).changed(channel, self._last, evidence, margin=margin, ended=evidence < self._last)
            for state, since, until in changed:
                claims.append(
                    Claim(self.source, WRITER, subscription.instrument.id, channel, kind, since, until, WRITER, state=state)
                )
        return claims


def missing(claims: Iterable[Claim], names: Mapping[int, str]) -> list[str]:
    """The uncovered ranges between the claims of each instrument and channel, as sentences. `names` are by instrument id."""
    stream = attrgetter("source", "instrument_id", "channel")
    lines = []
    for (source, instrument_id, channel), group in groupby(sorted(claims, key=lambda one: (*stream(one), one.since)), stream):
        reached = 0
        for before, claim in pairwise(group):
            reached = max(reached, before.until)
            if claim.since > reached:
                length = timedelta(seconds=(claim.since - reached) // SECOND)
                since, until = (to_datetime(time).isoformat(" ", "seconds") for time in (reached, claim.since))
                lines.append(f"{source} {names[instrument_id]} {channel}: nothing was recorded from {since} to {until} ({length})")
    return lines
