"""The table `coverage`: what this daemon vouches for (claims), and the holes that it knows of, each with its reason and evidence.

The rule one would get wrong: a claim is only as good as the holes beside it, so both are written in one transaction, and a claim
never reaches beyond the database's own clock: a daemon whose clock ran ahead would vouch for what has not happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import get_args

from msgspec import Struct

from ingest.protocol.session import Channel, Gap
from ingest.store.pool import Connection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A hole is said when it opens and again, with the same start, when it ends: the second time closes the row of the first.
# A book that was missed cannot be had again from anybody; the rest may be healed.
_WRITE = """
    WITH holes (source, writer, instrument_id, channel, trade_kind, reason, since, until, first_id, last_id, expected) AS (
        SELECT coalesce(i.exchange, h.source), h.writer, h.instrument_id, h.channel,
               CASE WHEN h.channel = 'trades' THEN coalesce(h.trade_kind, i.trade_kind) END,
               h.reason, h.since, h.until, h.first_id, h.last_id, h.expected
          FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                      $8::timestamptz[], $9::bigint[], $10::bigint[], $11::bigint[])
               AS h (source, writer, instrument_id, channel, trade_kind, reason, since, until, first_id, last_id, expected)
          LEFT JOIN instruments i ON i.id = h.instrument_id  -- a lane does not know whose rows it had no room for
    ), closed AS (
        UPDATE coverage c SET until = h.until
          FROM holes h
         WHERE h.until IS NOT NULL AND c.until IS NULL
           AND (c.source, c.writer, c.instrument_id, c.channel, c.reason, c.since)
             = (h.source, h.writer, h.instrument_id, h.channel, h.reason, h.since)
        RETURNING c.source, c.writer, c.instrument_id, c.channel, c.reason, c.since
    )
    INSERT INTO coverage
           (source, writer, instrument_id, channel, trade_kind, reason, since, until, first_id, last_id, expected, interval, state)
    SELECT h.*, CASE WHEN h.channel = 'candles' THEN '1m' END,
           CASE WHEN h.channel IN ('book', 'quotes') THEN 'unrecoverable' ELSE 'open' END
      FROM holes h
     WHERE NOT EXISTS (
        SELECT FROM closed c
         WHERE (c.source, c.writer, c.instrument_id, c.channel, c.reason, c.since)
             = (h.source, h.writer, h.instrument_id, h.channel, h.reason, h.since))
       AND NOT EXISTS (
        SELECT FROM coverage c  -- said before, by a transaction of which we did not hear that it was committed
         WHERE (c.source, c.writer, c.instrument_id, c.channel, c.reason, c.since)
             = (h.source, h.writer, h.instrument_id, h.channel, h.reason, h.since)
           AND (c.until, c.first_id) IS NOT DISTINCT FROM (h.until, h.first_id))"""

_CLAIM = """
    INSERT INTO coverage AS c (source, writer, instrument_id, channel, interval, trade_kind, state, reason, since, until)
    SELECT source, writer, instrument_id, channel, CASE WHEN channel = 'candles' THEN '1m' END, trade_kind, 'covered', reason,
           since, least(until, clock_timestamp())
      FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[])
           AS claim (source, writer, instrument_id, channel, trade_kind, reason, since, until)
     WHERE since < least(until, clock_timestamp())
    ON CONFLICT (source, instrument_id, channel, writer, since) WHERE state = 'covered'
    DO UPDATE SET until = EXCLUDED.until, noted_at = now() WHERE c.until < EXCLUDED.until"""


class Claim(Struct, frozen=True):
    """Everything of one stream in [since, until), microseconds, that its source said has an outcome. `since` tells claims apart."""

    source: str
    writer: str
    instrument_id: int
    channel: Channel
    trade_kind: str | None
    since: int
    until: int
    reason: str = "live"  # or how else it came: replay

    @property
    def key(self) -> tuple[object, ...]:
        """What the ledger tells claims apart by; a later claim of the same key prolongs the earlier one."""
        return self.source, self.instrument_id, self.channel, self.writer, self.since


class Hole(Struct, frozen=True):
    """A gap, and who saw it where."""

    source: str
    writer: str
    gap: Gap
    trade_kind: str | None

    @property
    def key(self) -> tuple[object, ...]:
        """The same when the hole is said again, with its end; holes of one moment differ by their ids."""
        gap = self.gap
        return self.source, self.writer, gap.instrument_id, gap.channel, gap.reason, gap.since, gap.first_id


async def write_holes(connection: Connection, holes: Sequence[Hole]) -> None:
    """Insert or close them, inside the caller's transaction."""
    holes = list({hole.key: hole for hole in holes}.values())  # opened and ended since the last time: said once
    if not holes:
        return
    gaps = [hole.gap for hole in holes]
    await connection.execute(
        _WRITE,
        [hole.source for hole in holes],
        [hole.writer for hole in holes],
        [gap.instrument_id for gap in gaps],
        [gap.channel for gap in gaps],
        [hole.trade_kind if hole.gap.channel == "trades" else None for hole in holes],
        [gap.reason for gap in gaps],
        [to_datetime(gap.since) for gap in gaps],
        [None if gap.until is None else to_datetime(max(gap.until, gap.since)) for gap in gaps],
        [gap.first_id for gap in gaps],
        [gap.last_id for gap in gaps],
        [_expected(gap) for gap in gaps],
    )


async def write_claims(connection: Connection, claims: Sequence[Claim]) -> None:
    """Make or prolong them, inside the caller's transaction; one that says less than the ledger does changes nothing."""
    if not claims:
        return
    await connection.execute(
        _CLAIM,
        [claim.source for claim in claims],
        [claim.writer for claim in claims],
        [claim.instrument_id for claim in claims],
        [claim.channel for claim in claims],
        [claim.trade_kind if claim.channel == "trades" else None for claim in claims],
        [claim.reason for claim in claims],
        [to_datetime(claim.since) for claim in claims],
        [to_datetime(claim.until) for claim in claims],
    )


async def forget(connection: Connection, retention: Mapping[str, timedelta | None]) -> None:
    """Drop what concerns only rows that retention (by table) has dropped. Needs the owner's rights."""
    kept = {channel: retention["order_books" if channel == "book" else channel] for channel in get_args(Channel)}
    bounded = {channel: length for channel, length in kept.items() if length is not None}
    await connection.execute(
        "DELETE FROM coverage c USING unnest($1::text[], $2::interval[]) AS kept (channel, length)"
        " WHERE c.channel = kept.channel AND c.until < now() - kept.length",
        list(bounded.keys()),
        list(bounded.values()),
    )


def _expected(gap: Gap) -> int | None:
    return None if gap.first_id is None or gap.last_id is None else gap.last_id - gap.first_id + 1


def to_datetime(micros: int) -> datetime:
    """Microseconds since the epoch as asyncpg wants them, exactly (a float would round)."""
    return EPOCH + timedelta(microseconds=micros)
