"""Gaps for the rows that a failover of the database may have lost.

A standby that lags when it is promoted does not have the last commits of the old primary: neither the rows nor the claims over
them. A claim that the new primary still has is true, because a claim is committed after its rows. Extending that claim would cover
the lost rows, so the range from its stored end to the moment at which the new timeline was noticed becomes a gap. A client cannot
see whether the standby lagged, so every failover opens these gaps. A promotion starts a new timeline, which is part of the WAL file
names: https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ingest.protocol.session import Gap
from ingest.store.coverage import Claim, LedgerGap, to_datetime
from ingest.store.jobs import to_micros
from ingest.store.pool import Connection

# the server's clock: the daemon's clock may be wrong, and claims never extend beyond the server's
_NOW = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline, clock_timestamp() AS now"
_SURVIVING = """
    SELECT source, instrument_id, channel, writer, since, max(until) AS until FROM coverage
     WHERE state IN ('covered', 'unverifiable') AND (source, writer) IN (SELECT * FROM unnest($1::text[], $2::text[]))
       AND since = ANY($3::timestamptz[])
     GROUP BY source, instrument_id, channel, writer, since"""

ClaimKey = tuple[str, int, str, str, datetime]


class ServerHistory(Struct, frozen=True):
    """The timeline of the last commit, the time at which its change was noticed, and the claims whose gaps are written since."""

    timeline: str = ""
    diverged_at: datetime | None = None
    handled: frozenset[ClaimKey] = frozenset()


async def gaps_after_failover(
    connection: Connection, history: ServerHistory, claims: Sequence[Claim]
) -> tuple[ServerHistory, list[LedgerGap]]:
    """The history to keep if this transaction commits, and the gaps to write in it before these claims."""
    timeline, now = await _position(connection)
    if history.timeline not in ("", timeline):
        history = ServerHistory(timeline, now)
    elif not history.timeline:
        history = ServerHistory(timeline)
    diverged_at = history.diverged_at
    if diverged_at is None:
        return history, []
    new = {_key(claim): claim for claim in claims if _key(claim) not in history.handled}  # those of both states have one gap
    doubtful = {key: claim for key, claim in new.items() if to_datetime(claim.since) < diverged_at}
    if not doubtful:
        return history, []
    surviving = await _surviving(connection, list(doubtful.values()))
    gaps = [_gap(claim, surviving.get(key), diverged_at) for key, claim in doubtful.items()]
    return ServerHistory(timeline, diverged_at, history.handled | doubtful.keys()), gaps


async def _position(connection: Connection) -> tuple[str, datetime]:
    row = await connection.fetchrow(_NOW)
    assert row is not None  # a SELECT without FROM has one row
    return row["timeline"], row["now"]


async def _surviving(connection: Connection, claims: Sequence[Claim]) -> dict[ClaimKey, datetime]:
    """The end of each claim as the server stores it now."""
    names, times = [claim.source for claim in claims], [to_datetime(claim.since) for claim in claims]
    rows = await connection.fetch(_SURVIVING, names, [claim.writer for claim in claims], times)
    return {(row["source"], row["instrument_id"], row["channel"], row["writer"], row["since"]): row["until"] for row in rows}


def _gap(claim: Claim, surviving_until: datetime | None, diverged_at: datetime) -> LedgerGap:
    since = claim.since if surviving_until is None else to_micros(surviving_until)
    until = max(since, to_micros(diverged_at))
    return LedgerGap(
        claim.source, claim.writer, Gap(claim.instrument_id, claim.channel, "failover", since, until), claim.trade_kind
    )


def _key(claim: Claim) -> ClaimKey:
    return claim.source, claim.instrument_id, claim.channel, claim.writer, to_datetime(claim.since)
