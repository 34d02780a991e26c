"""One connection of a capture while it is replayed, and what it vouches for: the ledger's claims for rows that a replay brought.

The same as a live feed claims (claims.py), by the clock of the capture: from when a stream was first heard until the connection's
last frame, less the time by which rows were late.
The rule one would get wrong: ticks go on while a connection is silent or dead; only a frame is a sign of life.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import groupby, pairwise
from operator import attrgetter

from ingest.protocol.exchange import Options
from ingest.protocol.http import Request
from ingest.protocol.session import Connection, Gap, Session
from ingest.records import MINUTE, SECOND, Candle, Record
from ingest.sources.coverage_claims import LATE, MARGIN
from ingest.store.coverage import Claim, to_datetime

WRITER = "replay"  # of claims and holes; a live daemon's own holes do not count against what a replay brings
WINDOW = 5 * SECOND  # how long the lateness of a row is remembered


class Heard:
    """One connection, with the session that hears again what it was told. Times are microseconds."""

    def __init__(self, source: str, connection: Connection, options: Options, session: Session) -> None:
        self.options = options
        self.session = session
        self.asked: Request | None = None  # what the next answer is to
        self.source = source
        self._connection = connection
        self._since = [0] * len(connection.subscriptions)  # when each stream was heard first
        self._last = 0  # of the last frame
        self._open: dict[tuple[object, ...], Gap] = {}  # holes of which the end was not said yet
        self._ahead = 0  # by how much the exchange's clock was seen to be ahead of ours
        self._late = [0, 0]  # how late a row was: within the last WINDOW, and within the one before
        self._window = 0

    def spoke(self, at: int) -> None:
        """A frame or an answer came and was delivered."""
        self._last = at
        for index, last_message_at in enumerate(self.session.last_message_at):
            self._since[index] = self._since[index] or last_message_at

    def brought(self, record: Record) -> None:
        """A row: how late it was."""
        if isinstance(record, Candle):  # its time is when it began
            return
        late = record.received_at - record.time
        if record.received_at - self._window > WINDOW:
            self._late, self._window = [0, self._late[0]], record.received_at
        self._late[0] = max(self._late[0], late)
        self._ahead = max(self._ahead, -late)

    def missed(self, gap: Gap) -> None:
        """A hole, said when it opens and again when it ends."""
        key = gap.instrument_id, gap.channel, gap.reason, gap.since, gap.first_id
        self._open.pop(key, None)
        if gap.until is None:
            self._open[key] = gap

    def left_open(self) -> list[Gap]:
        """The holes that nobody ended, each ended where the connection does: what follows is not this capture's."""
        return [
            Gap(one.instrument_id, one.channel, one.reason, one.since, max(one.since, self._last)) for one in self._open.values()
        ]

    def claims(self) -> list[Claim]:
        """What it vouches for, once its rows are committed."""
        margin = max(MARGIN, int(LATE * max(self._late)))
        claims = []
        for subscription, last_message_at, first in zip(
            self._connection.subscriptions, self.session.last_message_at, self._since, strict=True
        ):
            channel = subscription.channel
            since, until = first + self._ahead, self._last - margin
            if channel == "candles":  # a bar is said after it closed
                since += -since % MINUTE
                until = min(until, last_message_at - margin) - MINUTE
                until -= until % MINUTE
            if first and since < until:
                kind = self.options.trade_kind
                claims.append(Claim(self.source, WRITER, subscription.instrument.id, channel, kind, since, until, WRITER))
        return claims


def missing(claims: Iterable[Claim], names: Mapping[int, str]) -> list[str]:
    """What lies between the claims of one stream, in words: of that a capture says nothing. `names` are those of instruments."""
    stream = attrgetter("source", "instrument_id", "channel")
    said = []
    for (source, instrument_id, channel), group in groupby(sorted(claims, key=lambda one: (*stream(one), one.since)), stream):
        reached = 0
        for before, claim in pairwise(group):
            reached = max(reached, before.until)
            if claim.since > reached:
                length = timedelta(seconds=(claim.since - reached) // SECOND)
                since, until = (to_datetime(time).isoformat(" ", "seconds") for time in (reached, claim.since))
                said.append(f"{source} {names[instrument_id]} {channel}: nothing was recorded from {since} to {until} ({length})")
    return said
