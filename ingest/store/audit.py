"""The audit compares covered minutes with the exchange's own evidence, newest first; a mismatch becomes a gap.

A minute is due when the ledger covers all of it, it ended SETTLE_DELAY ago and the table `audits` does not list it yet. So minutes
that are healed or backfilled later become due by themselves. An `ids` or `bucket` gap for which the exchange has no data is
accepted and not reported again. A `count` or `bars` gap that still differs after healing becomes unrecoverable, with both values as
verdict. A lost trade is a mismatch in three comparisons. They run in the order of REASONS, and a minute with an open gap is not
covered, so the trade becomes one gap and not three.
https://www.postgresql.org/docs/current/functions-range.html#MULTIRANGE-FUNCTIONS-TABLE
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ingest.protocol.exchange import CompletenessRules
from ingest.store.audit_checks import AuditTarget, Finding, Reason, Window, compare
from ingest.store.pool import Connection, transaction

SETTLE_DELAY = timedelta(seconds=90)  # after the end of a minute, for batches, late candles and claims to be committed
MAX_WINDOW = timedelta(hours=1)  # about 100,000 trades of a busy market
MAX_PASS = timedelta(hours=4)  # all windows of one statement and transaction
MAX_CANDLE_WINDOW = timedelta(days=31)  # both limits for candles, which are few: a long gap in them stays one gap
MAX_WINDOWS = 500  # of one pass
CHANNELS: dict[Reason, list[str]] = {
    "ids": ["trades"],
    "bucket": ["candles"],
    "count": ["trades", "candles"],
    "bars": ["trades", "candles"],
}
REASONS: tuple[Reason, ...] = ("ids", "bucket", "count", "bars")


class AuditResult(Struct, frozen=True):
    """The findings of one round, and whether more minutes are due than it had time for."""

    recorded: list[RecordedFinding]
    more_due: bool


class RecordedFinding(Struct, frozen=True):
    """A finding that the ledger has now; `unresolved` if healing did not remove the difference."""

    finding: Finding
    unresolved: bool


async def audit(
    connection: Connection,
    completeness: Mapping[str, CompletenessRules],
    retention: Mapping[str, timedelta | None],
    *,
    seconds: float,
    lookback: timedelta = timedelta.max,
    now: datetime | None = None,
) -> AuditResult:
    """Audit due minutes for about `seconds`, newest first, no further back than `lookback` and `retention` (by table).

    `completeness` is by source; `now` defaults to the database's clock. Needs the owner's rights. Raises asyncpg's errors
    unchanged; the passes before the error are committed.
    """
    now = now or await connection.fetchval("SELECT clock_timestamp()")
    deadline = time.monotonic() + seconds
    recorded: list[RecordedFinding] = []
    more_due = False
    for reason in REASONS:
        kept = [length for channel in CHANNELS[reason] if (length := retention[channel]) is not None]
        length = min([lookback, *kept])
        floor = None if length == timedelta.max else now - length
        keys = list(_comparable(reason, completeness))
        while keys and (found := await _audit_pass(connection, reason, keys, floor, now - SETTLE_DELAY)) is not None:
            recorded += found
            if time.monotonic() > deadline:
                more_due = True
                break
    return AuditResult(recorded, more_due)


def _comparable(reason: Reason, completeness: Mapping[str, CompletenessRules]) -> Iterator[tuple[str, str]]:
    """(source, trade kind) of the data that this comparison applies to."""
    for source, rules in completeness.items():
        kinds = {"ids": rules.dense, "bucket": ("",) if rules.empty_candles else (), "count": rules.counted, "bars": rules.charted}
        yield from ((source, kind) for kind in kinds[reason])


# --- what is due --------------------------------------------------------------------------------------------------------

# Covered ranges are cut to whole minutes, so a minute that overlaps a gap is not due. A comparison of two channels needs both.
_DUE = """
    WITH covered AS (
        SELECT s.source, s.instrument_id, s.channel, coalesce(s.trade_kind, '') AS trade_kind,
               range_agg(tstzrange(part.since, part.until)) AS minutes
          FROM coverage_streams(coalesce($5::timestamptz, '-infinity')) s
         CROSS JOIN unnest(s.covered) AS span
         CROSS JOIN LATERAL (
            SELECT date_trunc('minute', lower(span) + interval '59.999999 seconds') AS since,
                   date_trunc('minute', upper(span)) AS until
         ) AS part
         WHERE s.source = ANY($1) AND s.channel = ANY($3) AND part.since < part.until
         GROUP BY 1, 2, 3, 4
    ), streams AS (
        SELECT kind.source, c.instrument_id, kind.trade_kind, range_intersect_agg(c.minutes) AS minutes
          FROM unnest($1::text[], $2::text[]) AS kind (source, trade_kind)
          JOIN covered c ON c.source = kind.source AND (c.channel = 'candles' OR c.trade_kind = kind.trade_kind)
         GROUP BY 1, 2, 3
        HAVING count(*) = cardinality($3)
    )
    SELECT s.source, s.instrument_id, s.trade_kind, lower(span) AS low, upper(span) AS high,
           greatest(lower(due), step.until - $7::interval) AS since, step.until
      FROM streams s
      LEFT JOIN audits a ON (a.source, a.instrument_id, a.trade_kind, a.reason) = (s.source, s.instrument_id, s.trade_kind, $4)
     CROSS JOIN unnest(s.minutes * tstzmultirange(tstzrange(NULL, date_trunc('minute', $6::timestamptz)))) AS span
     CROSS JOIN unnest(tstzmultirange(span) - coalesce(a.judged, '{}')) AS due
     CROSS JOIN LATERAL generate_series(upper(due), greatest(lower(due), upper(due) - $8::interval) + interval '1 second',
                                        -$7::interval) AS step (until)
     ORDER BY step.until DESC, s.instrument_id
     LIMIT $9"""


async def _due(
    connection: Connection, reason: Reason, keys: Sequence[tuple[str, str]], floor: datetime | None, settled_before: datetime
) -> list[Window]:
    """The newest windows that are due, as many as one pass takes."""
    sources, trade_kinds = zip(*keys, strict=True)
    step, most = (MAX_CANDLE_WINDOW, MAX_CANDLE_WINDOW) if reason == "bucket" else (MAX_WINDOW, MAX_PASS)
    rows = await connection.fetch(
        _DUE, sources, trade_kinds, CHANNELS[reason], reason, floor, settled_before, step, most, MAX_WINDOWS
    )
    windows: list[Window] = []
    length = timedelta(0)
    for source, instrument_id, trade_kind, *times in rows:
        window = Window(AuditTarget(source, instrument_id, trade_kind), *times)
        length += window.until - window.since
        if windows and length > most:
            break
        windows.append(window)
    return windows


# --- recording ----------------------------------------------------------------------------------------------------------

# A finding inside a healed gap of the audit is a difference that healing did not remove.
_RECORD_FINDINGS = """
    WITH found AS (
        SELECT f.*, f.reason IN ('count', 'bars') AND EXISTS (
                   SELECT FROM coverage c
                    WHERE c.writer = 'audit' AND c.state = 'healed' AND c.since <= f.since AND c.until >= f.until
                      AND (c.source, c.instrument_id, c.channel, c.reason) = (f.source, f.instrument_id, f.channel, f.reason)
               ) AS outlived
          FROM unnest($1::text[], $2::int[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[],
                      $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
               WITH ORDINALITY AS f (source, instrument_id, trade_kind, since, until, channel, reason, first_id, last_id,
                                     expected, stored, detail, n)
    ), settled AS (
        UPDATE coverage c
           SET state = 'unrecoverable', expected = f.expected, stored = f.stored, verdict = 'healed, and still ' || f.detail
          FROM found f
         WHERE f.outlived AND c.writer = 'audit' AND c.state = 'healed'
           AND (c.source, c.instrument_id, c.channel, c.reason, c.since, c.until)
             = (f.source, f.instrument_id, f.channel, f.reason, f.since, f.until)
        RETURNING f.n
    ), opened AS (
        INSERT INTO coverage
               (source, writer, instrument_id, channel, interval, trade_kind, state, reason, since, until, first_id, last_id,
                expected, stored, verdict)
        SELECT source, 'audit', instrument_id, channel, CASE channel WHEN 'candles' THEN '1m' END, nullif(trade_kind, ''),
               CASE WHEN outlived THEN 'unrecoverable' ELSE 'open' END, reason, since, until, first_id, last_id, expected, stored,
               CASE WHEN outlived THEN 'healed, and still ' ELSE '' END || detail
          FROM found WHERE n NOT IN (SELECT n FROM settled)
    )
    SELECT n FROM found WHERE outlived"""

_MARK_AUDITED = """
    INSERT INTO audits AS a (source, instrument_id, trade_kind, reason, judged)
    SELECT source, instrument_id, trade_kind, $1, range_agg(tstzrange(since, until))
      FROM unnest($2::text[], $3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[])
           AS w (source, instrument_id, trade_kind, since, until)
     GROUP BY 1, 2, 3
    ON CONFLICT (source, instrument_id, trade_kind, reason) DO UPDATE SET judged = a.judged + EXCLUDED.judged"""

# These minutes are due again after healing.
_UNMARK = """
    UPDATE audits a SET judged = a.judged - f.minutes
      FROM (SELECT source, instrument_id, trade_kind, range_agg(tstzrange(since, until)) AS minutes
              FROM unnest($2::text[], $3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[])
                   AS f (source, instrument_id, trade_kind, since, until)
             GROUP BY 1, 2, 3) AS f
     WHERE (a.source, a.instrument_id, a.trade_kind, a.reason) = (f.source, f.instrument_id, f.trade_kind, $1)"""


# JIT compilation of these plans takes ten seconds, their execution far less than a second. The audit is not urgent, so it uses no
# parallel workers.
_SETTINGS = "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"


async def _audit_pass(
    connection: Connection, reason: Reason, keys: Sequence[tuple[str, str]], floor: datetime | None, settled_before: datetime
) -> list[RecordedFinding] | None:
    """Compare the due windows, and record the findings and the audited minutes in one transaction. None if nothing is due."""
    async with transaction(connection):
        await connection.execute(_SETTINGS)
        windows = await _due(connection, reason, keys, floor, settled_before)
        if not windows:
            return None
        findings = await compare(connection, reason, windows)
        unresolved = await _record(connection, findings)
        await connection.execute(_MARK_AUDITED, reason, *_columns(windows))
        if findings and reason in ("count", "bars"):
            await connection.execute(_UNMARK, reason, *_columns(findings))
    return [RecordedFinding(finding, n in unresolved) for n, finding in enumerate(findings, 1)]


def _columns(rows: Sequence[Window | Finding]) -> list[list[object]]:
    return [
        [row.target.source for row in rows],
        [row.target.instrument_id for row in rows],
        [row.target.trade_kind for row in rows],
        [row.since for row in rows],
        [row.until for row in rows],
    ]


async def _record(connection: Connection, findings: Sequence[Finding]) -> set[int]:
    """Open a gap for each finding; returns the numbers (from 1) of the findings that become unrecoverable instead."""
    if not findings:
        return set()
    rows = await connection.fetch(
        _RECORD_FINDINGS,
        *_columns(findings),
        [finding.channel for finding in findings],
        [finding.reason for finding in findings],
        [finding.first_id for finding in findings],
        [finding.last_id for finding in findings],
        [finding.expected for finding in findings],
        [finding.stored for finding in findings],
        [finding.detail for finding in findings],
    )
    return {row["n"] for row in rows}
