-- Functions and views that evaluate the table `coverage`. A writer covers its claims without its own gaps. A stream is covered where any
-- writer covers it or it was healed or backfilled, except for the gaps that the audit or a backfill found. It is unverifiable where it is
-- not covered, a writer has a claim of either state, and no gap is known.

-- One row per stream, which is a channel of an instrument. `since`: start of its first claim or gap, not counting the gaps that a backfill
-- found (reason incomplete), infinity where there is no other; `watched_until`: end of its last claim.
-- From `looked_from` on: `covered`, `unverifiable`, the `known` gaps, and those of them that are `unrecoverable`.
CREATE FUNCTION coverage_streams(looked_from timestamptz)
RETURNS TABLE (source text, instrument_id int, channel text, "interval" text, trade_kind text, since timestamptz,
               watched_until timestamptz, covered tstzmultirange, unverifiable tstzmultirange, known tstzmultirange, unrecoverable tstzmultirange)
LANGUAGE sql STABLE AS $$
    WITH stretches AS (
        SELECT c.source, c.instrument_id, c.channel, c.interval, c.trade_kind, c.writer, c.state, c.until,
               CASE c.reason WHEN 'incomplete' THEN 'infinity' ELSE c.since END AS since,
               -- a gap between two trades of the same time has no length, but is a gap: both bounds are inclusive
               tstzrange(greatest(c.since, looked_from), coalesce(c.until, greatest(c.since, now())),
                         CASE WHEN c.state IN ('covered', 'unverifiable') THEN '[)' ELSE '[]' END) AS span
          FROM coverage c
         WHERE c.instrument_id IS NOT NULL AND coalesce(c.until, 'infinity') >= looked_from
    ), writers AS (
        SELECT source, instrument_id, channel, interval, trade_kind, writer, min(since) AS since,
               max(until) FILTER (WHERE state IN ('covered', 'unverifiable')) AS watched_until,
               coalesce(range_agg(span) FILTER (WHERE state = 'covered'), '{}') AS claimed,
               coalesce(range_agg(span) FILTER (WHERE state = 'unverifiable'), '{}') AS doubtful,
               coalesce(range_agg(span) FILTER (WHERE state = 'healed'), '{}') AS healed,
               coalesce(range_agg(span) FILTER (WHERE state IN ('open', 'unrecoverable')), '{}') AS known,
               coalesce(range_agg(span) FILTER (WHERE state = 'unrecoverable'), '{}') AS unrecoverable
          FROM stretches
         GROUP BY source, instrument_id, channel, interval, trade_kind, writer
    ), brought AS (
        SELECT j.source, j.instrument_id, j.channel, nullif(j.trade_kind, '') AS trade_kind,
               range_agg(tstzrange(k.since, k.until)) AS spans
          FROM jobs j JOIN job_chunks k ON k.job_id = j.id
         WHERE k.state = 'done' AND k.until >= looked_from
         GROUP BY j.source, j.instrument_id, j.channel, j.trade_kind
    ), streams AS (
        SELECT w.source, w.instrument_id, w.channel, w.interval, w.trade_kind, min(w.since) AS since,
               max(w.watched_until) AS watched_until,
               range_agg(w.claimed - w.known) + range_agg(w.healed)
                 + coalesce((SELECT b.spans FROM brought b
                              WHERE (b.source, b.instrument_id, b.channel) = (w.source, w.instrument_id, w.channel)
                                AND b.trade_kind IS NOT DISTINCT FROM w.trade_kind), '{}')
                 - coalesce(range_agg(w.known) FILTER (WHERE w.writer IN ('audit', 'backfill')), '{}') AS covered,
               range_agg(w.doubtful) AS doubtful, range_agg(w.known) AS known, range_agg(w.unrecoverable) AS unrecoverable
          FROM writers w
         GROUP BY w.source, w.instrument_id, w.channel, w.interval, w.trade_kind
    )
    SELECT s.source, s.instrument_id, s.channel, s.interval, s.trade_kind, s.since, s.watched_until,
           s.covered, s.doubtful - s.known - s.covered, s.known, s.unrecoverable
      FROM streams s
$$;

-- The time after the last claim is not in this view, because only the configuration determines whether a stream is still subscribed to;
-- `ingest gaps` shows it.
CREATE VIEW coverage_gaps AS
SELECT s.source, i.instrument, s.channel, s.interval, s.trade_kind, g.state, g.reasons,
       lower(g.span) AS since, upper(g.span) AS until, upper(g.span) - lower(g.span) AS length, s.instrument_id
  FROM coverage_streams('-infinity') s
  LEFT JOIN instruments i ON i.id = s.instrument_id
 CROSS JOIN LATERAL (SELECT tstzmultirange(tstzrange(s.since, greatest(s.since, s.watched_until, upper(s.known)), '[]')) + s.known
                           - s.covered - s.unverifiable AS spans) m
 CROSS JOIN LATERAL (
       SELECT kind.state, span, coalesce((
                SELECT string_agg(DISTINCT c.reason, ', ') FROM coverage c
                 WHERE (c.source, c.instrument_id, c.channel) = (s.source, s.instrument_id, s.channel)
                   AND c.state = kind.state AND c.since <= upper(span) AND coalesce(c.until, 'infinity') >= lower(span)), 'unwatched') AS reasons
         FROM (VALUES ('open', m.spans - s.unrecoverable), ('unrecoverable', m.spans * s.unrecoverable)) kind (state, spans),
              unnest(kind.spans) span
        -- the instant at which one claim ends and the next begins is no gap
        WHERE upper(span) > lower(span) OR s.known @> span
       ) g;
COMMENT ON VIEW coverage_gaps IS
    'what is known to be missing now; open gaps will be filled, unrecoverable ones will not (reason: coverage.verdict)';

-- The shares are percentages of the part of the day since the stream began, and add up to 100. `verified` is never rounded up, `missing`
-- never down.
CREATE VIEW coverage_report AS
SELECT s.source, i.instrument, s.channel, s.interval, s.trade_kind, d.day::date AS day,
       share.verified, share.claimed - share.verified AS unverifiable, 100 - share.claimed AS missing,
       make_interval(secs => due.seconds - there.seconds - doubtful.seconds) AS missing_time,
       make_interval(secs => lost.seconds) AS unrecoverable, s.instrument_id
  FROM coverage_streams('-infinity') s
  LEFT JOIN instruments i ON i.id = s.instrument_id
 CROSS JOIN LATERAL (SELECT greatest(s.watched_until, upper(s.known), upper(s.covered)) AS until) e
 CROSS JOIN LATERAL generate_series(date_trunc('day', s.since, 'UTC'), e.until, '1 day') AS d (day)
 CROSS JOIN LATERAL (SELECT tstzrange(greatest(d.day, s.since), least(d.day + interval '1 day', e.until)) AS span) w
 CROSS JOIN LATERAL (SELECT extract(epoch FROM upper(w.span) - lower(w.span)) AS seconds) due
 CROSS JOIN LATERAL (SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0) AS seconds
                       FROM unnest(s.covered * tstzmultirange(w.span)) r) there
 CROSS JOIN LATERAL (SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0) AS seconds
                       FROM unnest(s.unverifiable * tstzmultirange(w.span)) r) doubtful
 CROSS JOIN LATERAL (SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0) AS seconds
                       FROM unnest((s.unrecoverable - s.covered) * tstzmultirange(w.span)) r) lost
 CROSS JOIN LATERAL (SELECT trunc((100 * there.seconds / due.seconds)::numeric, 4) AS verified,
                            trunc((100 * (there.seconds + doubtful.seconds) / due.seconds)::numeric, 4) AS claimed) share
 WHERE due.seconds > 0;
COMMENT ON VIEW coverage_report IS 'which shares of each channel of an instrument are verified, unverifiable and missing, per day (UTC)';

-- Evidence for the covered ranges of one instrument's trades: the first and last id, the number of ids between them, and the number of
-- stored trades. Where the ids of an exchange are consecutive, `expected` and `stored` differ only by ids that it never used.
CREATE FUNCTION coverage_evidence(wanted int, looked_from timestamptz, looked_until timestamptz)
RETURNS TABLE (source text, trade_kind text, since timestamptz, until timestamptz, first_id bigint, last_id bigint, expected bigint,
               stored bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.source, s.trade_kind, lower(span), upper(span), t.first_id, t.last_id, t.last_id - t.first_id + 1, t.stored
      FROM coverage_streams(looked_from) s
     CROSS JOIN unnest(s.covered * tstzmultirange(tstzrange(looked_from, looked_until))) span
     CROSS JOIN LATERAL (
           SELECT min(t.trade_id) AS first_id, max(t.trade_id) AS last_id, count(*) AS stored
             FROM trades t WHERE t.instrument_id = wanted AND t.time >= lower(span) AND t.time < upper(span)
           ) t
     WHERE s.instrument_id = wanted AND s.channel = 'trades' AND upper(span) > lower(span)
$$;
