"""What is missing, for a person: the ledger's gaps, and the streams that nobody watches any more."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from ingest.store.pool import Connection

QUIET = timedelta(minutes=5)  # a claim that is so old is not being prolonged; of bars it is the oldest

_MISSING = """
    SELECT source, instrument, channel, state, reasons AS reason, since, until, extract(epoch FROM length)::float8 AS seconds
      FROM coverage_gaps
     WHERE state = ANY($1::text[])
     UNION ALL
    SELECT s.source, i.instrument, s.channel, 'unwatched', 'nobody claims it since', s.watched_until, NULL,
           extract(epoch FROM now() - s.watched_until)::float8
      FROM coverage_streams('-infinity') s JOIN instruments i ON i.id = s.instrument_id
     WHERE s.watched_until < now() - $2::interval AND NOT s.known @> now() - $2::interval AND NOT s.covered @> now() - $2::interval
     ORDER BY source, instrument, channel, since"""

_HEALED = """
    SELECT c.source, i.instrument, c.channel, c.state, c.reason, c.since, c.until,
           extract(epoch FROM c.until - c.since)::float8 AS seconds
      FROM coverage c LEFT JOIN instruments i ON i.id = c.instrument_id
     WHERE c.state = 'healed' AND c.until > c.since
     ORDER BY source, instrument, channel, since"""


class Missing(Struct, frozen=True):
    """One gap. `state`: open, unrecoverable, unwatched (open at its end: nobody follows the stream now), or healed."""

    source: str
    instrument: str | None
    channel: str
    state: str
    reason: str
    since: datetime
    until: datetime | None
    seconds: float


async def gaps(connection: Connection, *, all_states: bool) -> list[Missing]:
    """What is open, unrecoverable or unwatched, by stream and time; with `all_states` also what was healed."""
    rows = await connection.fetch(_MISSING, ["open", "unrecoverable"], QUIET)
    if all_states:
        rows += await connection.fetch(_HEALED)
    return [Missing(**row) for row in rows]
