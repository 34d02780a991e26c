"""The report of `ingest gaps`: gaps of the ledger, channels that no daemon watches any more, unverifiable ranges."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from ingest.store.pool import Connection

UNWATCHED_AFTER = timedelta(minutes=5)  # no daemon extends a claim that ended longer ago; claims of candles lag by almost as much

_GAPS = """
    SELECT source, instrument, channel, state, reasons AS reason, since, until, extract(epoch FROM length)::float8 AS seconds
      FROM coverage_gaps
     WHERE state = ANY($1::text[])
     UNION ALL
    SELECT s.source, i.instrument, s.channel, 'unwatched', 'no daemon claims it', s.watched_until, NULL,
           extract(epoch FROM now() - s.watched_until)::float8
      FROM coverage_streams('-infinity') s JOIN instruments i ON i.id = s.instrument_id
     WHERE s.watched_until < now() - $2::interval AND NOT s.known @> now() - $2::interval AND NOT s.covered @> now() - $2::interval
     ORDER BY source, instrument, channel, since"""

_UNVERIFIABLE = """
    SELECT s.source, i.instrument, s.channel, 'unverifiable' AS state, 'no evidence' AS reason,
           lower(span) AS since, upper(span) AS until,
           extract(epoch FROM upper(span) - lower(span))::float8 AS seconds
      FROM coverage_streams('-infinity') s LEFT JOIN instruments i ON i.id = s.instrument_id, unnest(s.unverifiable) span
     ORDER BY source, instrument, channel, since"""

_HEALED = """
    SELECT c.source, i.instrument, c.channel, c.state, c.reason, c.since, c.until,
           extract(epoch FROM c.until - c.since)::float8 AS seconds
      FROM coverage c LEFT JOIN instruments i ON i.id = c.instrument_id
     WHERE c.state = 'healed' AND c.until > c.since
     ORDER BY source, instrument, channel, since"""


class ReportedGap(Struct, frozen=True):
    """One gap. `state` is open, unrecoverable, healed, or unwatched: no daemon watches the channel now, and `until` is None.

    With the state unverifiable it is no gap: a daemon has stored what it received, and nothing shows whether that was all.
    """

    source: str
    instrument: str | None
    channel: str
    state: str
    reason: str
    since: datetime
    until: datetime | None
    seconds: float


async def gaps(connection: Connection, *, all_states: bool) -> list[ReportedGap]:
    """The open, unrecoverable and unwatched gaps, sorted by source, instrument, channel and time; then the unverifiable ranges.

    `all_states` adds healed gaps.
    """
    rows = await connection.fetch(_GAPS, ["open", "unrecoverable"], UNWATCHED_AFTER)
    if all_states:
        rows += await connection.fetch(_HEALED)
    rows += await connection.fetch(_UNVERIFIABLE)
    return [ReportedGap(**row) for row in rows]
