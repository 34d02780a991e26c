"""What a failover may have taken from what this daemon vouches for.

A standby that was behind when it was promoted has not the last commits of the old primary: rows, and the claims that were made
after them. What the new primary still has of a claim is true, because a claim is committed after its rows; but a claim that were
simply prolonged there would reach over the lost rows. So each stretch from there to the moment at which the other history was
noticed is a hole. A promotion begins a new timeline, which stands in the names of the WAL files:
https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
The rule one would get wrong: nobody can tell whether the standby was behind, so there is a hole after every failover.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ingest.protocol.session import Gap
from ingest.store.coverage import Claim, Hole, to_datetime
from ingest.store.jobs import to_micros
from ingest.store.pool import Connection

# the server's clock: ours may be wrong, and claims never reach beyond the server's
_NOW = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline, clock_timestamp() AS now"
_KEPT = """
    SELECT source, instrument_id, channel, writer, since, until FROM coverage
     WHERE state = 'covered' AND (source, writer) IN (SELECT * FROM unnest($1::text[], $2::text[]))
       AND since = ANY($3::timestamptz[])"""

Key = tuple[str, int, str, str, datetime]


class Seen(Struct, frozen=True):
    """The history that our commits went to, when it was noticed to be another, and whose claims have been cut since."""

    timeline: str = ""
    parted_at: datetime | None = None
    cut: frozenset[Key] = frozenset()


async def lost(connection: Connection, seen: Seen, claims: Sequence[Claim]) -> tuple[Seen, list[Hole]]:
    """What to remember if this transaction commits, and the holes that have to be written in it before these claims."""
    timeline, now = await _where(connection)
    if seen.timeline not in ("", timeline):
        seen = Seen(timeline, now)
    elif not seen.timeline:
        seen = Seen(timeline)
    parted_at = seen.parted_at
    if parted_at is None:
        return seen, []
    doubtful = [claim for claim in claims if _key(claim) not in seen.cut and to_datetime(claim.since) < parted_at]
    if not doubtful:
        return seen, []
    kept = await _kept(connection, doubtful)
    holes = [_hole(claim, kept.get(_key(claim)), parted_at) for claim in doubtful]
    return Seen(timeline, parted_at, seen.cut | {_key(claim) for claim in doubtful}), holes


async def _where(connection: Connection) -> tuple[str, datetime]:
    row = await connection.fetchrow(_NOW)
    assert row is not None  # it asks no table
    return row["timeline"], row["now"]


async def _kept(connection: Connection, claims: Sequence[Claim]) -> dict[Key, datetime]:
    """How far the claims reach in the history that we have now."""
    names, times = [claim.source for claim in claims], [to_datetime(claim.since) for claim in claims]
    rows = await connection.fetch(_KEPT, names, [claim.writer for claim in claims], times)
    return {(row["source"], row["instrument_id"], row["channel"], row["writer"], row["since"]): row["until"] for row in rows}


def _hole(claim: Claim, kept_until: datetime | None, parted_at: datetime) -> Hole:
    since = claim.since if kept_until is None else to_micros(kept_until)
    until = max(since, to_micros(parted_at))
    return Hole(claim.source, claim.writer, Gap(claim.instrument_id, claim.channel, "failover", since, until), claim.trade_kind)


def _key(claim: Claim) -> Key:
    return claim.source, claim.instrument_id, claim.channel, claim.writer, to_datetime(claim.since)
