"""The audit: what the ledger calls covered is compared with the evidence, newest first; what does not agree becomes a hole.

A minute is due when the ledger covers all of it, it ended SETTLING ago and the table `audits` does not have it yet. So what was
healed or filled later comes up by itself. An `ids` or `bucket` hole for which the exchange has nothing is lawful and never said
again. A `count` or `bars` hole that was healed and still does not agree is settled: unrecoverable, both values being its verdict.
https://www.postgresql.org/docs/current/functions-range.html#MULTIRANGE-FUNCTIONS-TABLE
The rule one would get wrong: one lost trade shows in three comparisons. They are made in the order of REASONS, and a minute with an
open hole is not covered, so it is one hole and not three.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ingest.protocol.exchange import CompletenessRules
from ingest.store.audit_checks import Finding, Reason, Stream, Window, find
from ingest.store.pool import Connection, transaction

SETTLING = timedelta(seconds=90)  # what a batch, a late candle and a claim need after the end of a minute
STEP = timedelta(hours=1)  # the longest window: of a busy market some 100,000 trades
PASS = timedelta(hours=4)  # of all windows of one statement and transaction
MONTH = timedelta(days=31)  # both for candles, of which there is one a minute: a long hole in them is one hole
WINDOWS = 500  # of one pass
CHANNELS: dict[Reason, list[str]] = {
    "ids": ["trades"],
    "bucket": ["candles"],
    "count": ["trades", "candles"],
    "bars": ["trades", "candles"],
}
REASONS: tuple[Reason, ...] = ("ids", "bucket", "count", "bars")


class Round(Struct, frozen=True):
    """What one round found, and whether more is due than it had the time for."""

    noted: list[Noted]
    more: bool


class Noted(Struct, frozen=True):
    """A finding that is in the ledger now; `settled`: healing could not remove it."""

    finding: Finding
    settled: bool


async def audit(
    connection: Connection,
    evidence: Mapping[str, CompletenessRules],
    retention: Mapping[str, timedelta | None],
    *,
    seconds: float,
    back: timedelta = timedelta.max,
    now: datetime | None = None,
) -> Round:
    """One round, of about `seconds`: judge what is due, newest first, as far `back` as that and `retention` (by table) allow.

    `evidence` is by source; `now` is the database's clock, if None. Needs the owner's rights. Raises asyncpg's errors as they are;
    what was judged before that stays.
    """
    now = now or await connection.fetchval("SELECT clock_timestamp()")
    deadline = time.monotonic() + seconds
    noted: list[Noted] = []
    more = False
    for reason in REASONS:
        kept = [length for channel in CHANNELS[reason] if (length := retention[channel]) is not None]
        length = min([back, *kept])
        floor = None if length == timedelta.max else now - length
        kinds = list(_kinds(reason, evidence))
        while kinds and (found := await _judge(connection, reason, kinds, floor, now - SETTLING)) is not None:
            noted += found
            if time.monotonic() > deadline:
                more = True
                break
    return Round(noted, more)


def _kinds(reason: Reason, evidence: Mapping[str, CompletenessRules]) -> Iterator[tuple[str, str]]:
    """(source, trade kind) of what can be compared so."""
    for source, said in evidence.items():
        kinds = {"ids": said.dense, "bucket": ("",) if said.empty_candles else (), "count": said.counted, "bars": said.charted}
        yield from ((source, kind) for kind in kinds[reason])


# --- what is due --------------------------------------------------------------------------------------------------------

# What is covered is cut to whole minutes, so a minute that a hole touches is not due. A comparison of two channels needs both.
_DUE = """
    WITH covered AS (
        SELECT s.source, s.instrument_id, s.channel, coalesce(s.trade_kind, '') AS trade_kind,
               range_agg(tstzrange(part.since, part.until)) AS minutes
          FROM coverage_streams(coalesce($5::timestamptz, '-infinity')) s
         CROSS JOIN unnest(s.covered) AS stretch
         CROSS JOIN LATERAL (
            SELECT date_trunc('minute', lower(stretch) + interval '59.999999 seconds') AS since,
                   date_trunc('minute', upper(stretch)) AS until
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
    SELECT s.source, s.instrument_id, s.trade_kind, lower(stretch) AS low, upper(stretch) AS high,
           greatest(lower(due), step.until - $7::interval) AS since, step.until
      FROM streams s
      LEFT JOIN audits a ON (a.source, a.instrument_id, a.trade_kind, a.reason) = (s.source, s.instrument_id, s.trade_kind, $4)
     CROSS JOIN unnest(s.minutes * tstzmultirange(tstzrange(NULL, date_trunc('minute', $6::timestamptz)))) AS stretch
     CROSS JOIN unnest(tstzmultirange(stretch) - coalesce(a.judged, '{}')) AS due
     CROSS JOIN LATERAL generate_series(upper(due), greatest(lower(due), upper(due) - $8::interval) + interval '1 second',
                                        -$7::interval) AS step (until)
     ORDER BY step.until DESC, s.instrument_id
     LIMIT $9"""


async def _due(
    connection: Connection, reason: Reason, kinds: Sequence[tuple[str, str]], floor: datetime | None, settled: datetime
) -> list[Window]:
    """The newest windows that are to be judged, as many as one pass takes."""
    sources, trade_kinds = zip(*kinds, strict=True)
    step, most = (MONTH, MONTH) if reason == "bucket" else (STEP, PASS)
    rows = await connection.fetch(_DUE, sources, trade_kinds, CHANNELS[reason], reason, floor, settled, step, most, WINDOWS)
    windows: list[Window] = []
    length = timedelta(0)
    for source, instrument_id, trade_kind, *times in rows:
        window = Window(Stream(source, instrument_id, trade_kind), *times)
        length += window.until - window.since
        if windows and length > most:
            break
        windows.append(window)
    return windows


# --- what becomes of it -------------------------------------------------------------------------------------------------

# A finding in the place of a hole that was healed has outlived the healing.
_NOTE = """
    WITH found AS (
        SELECT f.*, f.reason IN ('count', 'bars') AND EXISTS (
                   SELECT FROM coverage c
                    WHERE c.writer = 'audit' AND c.state = 'healed' AND c.since <= f.since AND c.until >= f.until
                      AND (c.source, c.instrument_id, c.channel, c.reason) = (f.source, f.instrument_id, f.channel, f.reason)
               ) AS outlived
          FROM unnest($1::text[], $2::int[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[],
                      $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
               WITH ORDINALITY AS f (source, instrument_id, trade_kind, since, until, channel, reason, first_id, last_id,
                                     expected, stored, said, n)
    ), settled AS (
        UPDATE coverage c
           SET state = 'unrecoverable', expected = f.expected, stored = f.stored, verdict = 'healed, and still ' || f.said
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
               CASE WHEN outlived THEN 'healed, and still ' ELSE '' END || said
          FROM found WHERE n NOT IN (SELECT n FROM settled)
    )
    SELECT n FROM found WHERE outlived"""

_JUDGED = """
    INSERT INTO audits AS a (source, instrument_id, trade_kind, reason, judged)
    SELECT source, instrument_id, trade_kind, $1, range_agg(tstzrange(since, until))
      FROM unnest($2::text[], $3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[])
           AS w (source, instrument_id, trade_kind, since, until)
     GROUP BY 1, 2, 3
    ON CONFLICT (source, instrument_id, trade_kind, reason) DO UPDATE SET judged = a.judged + EXCLUDED.judged"""

# These minutes come up again when they have been healed.
_FORGET = """
    UPDATE audits a SET judged = a.judged - f.minutes
      FROM (SELECT source, instrument_id, trade_kind, range_agg(tstzrange(since, until)) AS minutes
              FROM unnest($2::text[], $3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[])
                   AS f (source, instrument_id, trade_kind, since, until)
             GROUP BY 1, 2, 3) AS f
     WHERE (a.source, a.instrument_id, a.trade_kind, a.reason) = (f.source, f.instrument_id, f.trade_kind, $1)"""


# Compiling these plans takes ten seconds where running them takes none. And there is no hurry: other cores are for others.
_SETTINGS = "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"


async def _judge(
    connection: Connection, reason: Reason, kinds: Sequence[tuple[str, str]], floor: datetime | None, settled_at: datetime
) -> list[Noted] | None:
    """One pass: compare what is due, and note what was found together with what was judged. None where nothing is due."""
    async with transaction(connection):
        await connection.execute(_SETTINGS)
        windows = await _due(connection, reason, kinds, floor, settled_at)
        if not windows:
            return None
        findings = await find(connection, reason, windows)
        settled = await _note(connection, findings)
        await connection.execute(_JUDGED, reason, *_columns(windows))
        if findings and reason in ("count", "bars"):
            await connection.execute(_FORGET, reason, *_columns(findings))
    return [Noted(finding, n in settled) for n, finding in enumerate(findings, 1)]


def _columns(rows: Sequence[Window | Finding]) -> list[list[object]]:
    return [
        [row.stream.source for row in rows],
        [row.stream.instrument_id for row in rows],
        [row.stream.trade_kind for row in rows],
        [row.since for row in rows],
        [row.until for row in rows],
    ]


async def _note(connection: Connection, findings: Sequence[Finding]) -> set[int]:
    """Open their holes; returns the numbers (from 1) of those that were settled instead."""
    if not findings:
        return set()
    rows = await connection.fetch(
        _NOTE,
        *_columns(findings),
        [one.channel for one in findings],
        [one.reason for one in findings],
        [one.first_id for one in findings],
        [one.last_id for one in findings],
        [one.expected for one in findings],
        [one.stored for one in findings],
        [one.said for one in findings],
    )
    return {row["n"] for row in rows}
