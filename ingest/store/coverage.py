"""The table `coverage`: the ranges that a daemon claims, and the known gaps, each with its reason and evidence.

A claim is valid only together with the gaps inside it, so one transaction writes both. A claim never extends beyond the database's
clock: a daemon whose clock is fast would otherwise claim a time that has not happened yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from msgspec import Struct

from ingest.protocol.session import ChannelName, Gap
from ingest.store.pool import Connection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A gap is written when it opens and again, with the same start, when it ends; the second write closes the row of the first.
# No exchange provides past order books or quotes, so their gaps are unrecoverable. Gaps in trades and candles may be healed.
_WRITE_GAPS = """
    WITH gaps (source, writer, instrument_id, channel, trade_kind, reason, since, until, first_id, last_id, expected) AS (
        SELECT coalesce(i.exchange, h.source), h.writer, h.instrument_id, h.channel,
               CASE WHEN h.channel = 'trades' THEN coalesce(h.trade_kind, i.trade_kind) END,
               h.reason, h.since, h.until, h.first_id, h.last_id, h.expected
          FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                      $8::timestamptz[], $9::bigint[], $10::bigint[], $11::bigint[])
               AS h (source, writer, instrument_id, channel, trade_kind, reason, since, until, first_id, last_id, expected)
          LEFT JOIN instruments i ON i.id = h.instrument_id  -- the queue that shed rows does not know the exchange
    ), closed AS (
        UPDATE coverage c SET until = h.until
          FROM gaps h
         WHERE h.until IS NOT NULL AND c.until IS NULL
           AND (c.source, c.writer, c.instrument_id, c.channel, c.reason, c.since)
             = (h.source, h.writer, h.instrument_id, h.channel, h.reason, h.since)
        RETURNING c.source, c.writer, c.instrument_id, c.channel, c.reason, c.since
    )
    INSERT INTO coverage
           (source, writer, instrument_id, channel, trade_kind, reason, since, until, first_id, last_id, expected, interval, state)
    SELECT h.*, CASE WHEN h.channel = 'candles' THEN '1m' END,
           CASE WHEN h.channel IN ('book', 'quotes') THEN 'unrecoverable' ELSE 'open' END
      FROM gaps h
     WHERE NOT EXISTS (
        SELECT FROM closed c
         WHERE (c.source, c.writer, c.instrument_id, c.channel, c.reason, c.since)
             = (h.source, h.writer, h.instrument_id, h.channel, h.reason, h.since))
       AND NOT EXISTS (
        SELECT FROM coverage c  -- written before, by a transaction whose commit was not confirmed
         WHERE (c.source, c.writer, c.instrument_id, c.channel, c.reason, c.since)
             = (h.source, h.writer, h.instrument_id, h.channel, h.reason, h.since)
           AND (c.until, c.first_id) IS NOT DISTINCT FROM (h.until, h.first_id))"""

_WRITE_CLAIMS = """
    INSERT INTO coverage AS c (source, writer, instrument_id, channel, interval, trade_kind, state, reason, since, until)
    SELECT source, writer, instrument_id, channel, CASE WHEN channel = 'candles' THEN '1m' END, trade_kind, state, reason,
           since, least(until, clock_timestamp())
      FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
                  $9::text[])
           AS claim (source, writer, instrument_id, channel, trade_kind, reason, since, until, state)
     WHERE since < least(until, clock_timestamp())
    ON CONFLICT (source, instrument_id, channel, writer, since, state) WHERE state IN ('covered', 'unverifiable')
    DO UPDATE SET until = EXCLUDED.until, noted_at = now() WHERE c.until < EXCLUDED.until"""


ClaimState = Literal["covered", "unverifiable"]


class Claim(Struct, frozen=True):
    """Every received row of one instrument's channel in [since, until), microseconds, has an outcome. `since` identifies the claim.

    If it is `covered`, the exchange's data also shows that no row was missed.
    """

    source: str
    writer: str
    instrument_id: int
    channel: ChannelName
    trade_kind: str | None
    since: int
    until: int
    reason: str = "live"  # live or replay
    state: ClaimState = "covered"

    @property
    def key(self) -> tuple[object, ...]:
        """Identifies the claim in the ledger; a later claim with the same key extends it."""
        return self.source, self.instrument_id, self.channel, self.writer, self.since, self.state


class LedgerGap(Struct, frozen=True):
    """A gap with its source and the daemon (`writer`) that reports it."""

    source: str
    writer: str
    gap: Gap
    trade_kind: str | None

    @property
    def key(self) -> tuple[object, ...]:
        """Identifies the gap when it opens and when it ends. Gaps with the same start differ by their first id."""
        gap = self.gap
        return self.source, self.writer, gap.instrument_id, gap.channel, gap.reason, gap.since, gap.first_id


async def write_gaps(connection: Connection, ledger_gaps: Sequence[LedgerGap]) -> None:
    """Insert or close the gaps, inside the caller's transaction."""
    # a gap that opened and ended since the last write is one row
    ledger_gaps = list({row.key: row for row in ledger_gaps}.values())
    if not ledger_gaps:
        return
    gaps = [row.gap for row in ledger_gaps]
    await connection.execute(
        _WRITE_GAPS,
        [row.source for row in ledger_gaps],
        [row.writer for row in ledger_gaps],
        [gap.instrument_id for gap in gaps],
        [gap.channel for gap in gaps],
        [row.trade_kind if row.gap.channel == "trades" else None for row in ledger_gaps],
        [gap.reason for gap in gaps],
        [to_datetime(gap.since) for gap in gaps],
        [None if gap.until is None else to_datetime(max(gap.until, gap.since)) for gap in gaps],
        [gap.first_id for gap in gaps],
        [gap.last_id for gap in gaps],
        [_expected(gap) for gap in gaps],
    )


async def write_claims(connection: Connection, claims: Sequence[Claim]) -> None:
    """Insert or extend the claims, inside the caller's transaction. A claim that ends before the stored one changes nothing."""
    if not claims:
        return
    await connection.execute(
        _WRITE_CLAIMS,
        [claim.source for claim in claims],
        [claim.writer for claim in claims],
        [claim.instrument_id for claim in claims],
        [claim.channel for claim in claims],
        [claim.trade_kind if claim.channel == "trades" else None for claim in claims],
        [claim.reason for claim in claims],
        [to_datetime(claim.since) for claim in claims],
        [to_datetime(claim.until) for claim in claims],
        [claim.state for claim in claims],
    )


async def delete_expired(connection: Connection, retention: Mapping[str, timedelta | None]) -> None:
    """Delete claims and gaps that end before the retention of their table. Needs the owner's rights."""
    kept = {channel: retention["order_books" if channel == "book" else channel] for channel in get_args(ChannelName)}
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
    """Microseconds since the epoch as a datetime, exactly: a float would round."""
    return EPOCH + timedelta(microseconds=micros)
