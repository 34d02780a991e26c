-- What the ledger says, put together. A writer vouches for its claims but not for its own holes; the union over the writers, with what
-- was healed and what a backfill brought, is covered. What an audit found missing is missing, whoever claims it.

-- One row a stream: since when it is followed, until when somebody watched it, and within that (from `looked_from` on)
-- what is covered, what is a hole that is known, and what of it will never come.
CREATE FUNCTION coverage_streams(looked_from timestamptz)
RETURNS TABLE (source text, instrument_id int, channel text, "interval" text, trade_kind text, since timestamptz,
               watched_until timestamptz, covered tstzmultirange, known tstzmultirange, unrecoverable tstzmultirange)
LANGUAGE sql STABLE AS $$
    WITH stretches AS (
        SELECT c.source, c.instrument_id, c.channel, c.interval, c.trade_kind, c.writer, c.state, c.since, c.until,
               -- a hole between two trades of one moment has no length, but is one
               tstzrange(greatest(c.since, looked_from), coalesce(c.until, greatest(c.since, now())),
                         CASE WHEN c.state = 'covered' THEN '[)' ELSE '[]' END) AS span
          FROM coverage c
         WHERE c.instrument_id IS NOT NULL AND coalesce(c.until, 'infinity') >= looked_from
    ), writers AS (
        SELECT source, instrument_id, channel, interval, trade_kind, writer, min(since) AS since,
               max(until) FILTER (WHERE state = 'covered') AS watched_until,
               coalesce(range_agg(span) FILTER (WHERE state = 'covered'), '{}') AS claimed,
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
    )
    SELECT w.source, w.instrument_id, w.channel, w.interval, w.trade_kind, min(w.since), max(w.watched_until),
           range_agg(w.claimed - w.known) + range_agg(w.healed)
             + coalesce((SELECT b.spans FROM brought b
                          WHERE (b.source, b.instrument_id, b.channel) = (w.source, w.instrument_id, w.channel)
                            AND b.trade_kind IS NOT DISTINCT FROM w.trade_kind), '{}')
             - coalesce(range_agg(w.known) FILTER (WHERE w.writer = 'audit'), '{}'),
           range_agg(w.known), range_agg(w.unrecoverable)
      FROM writers w
     GROUP BY w.source, w.instrument_id, w.channel, w.interval, w.trade_kind
$$;

-- What is missing now. `state` open: it will be healed; unrecoverable: `reason` and the verdict in `coverage` say why.
-- What came after the last claim is not here but in `ingest gaps`: only a configuration says whether a stream is still wanted.
CREATE VIEW coverage_gaps AS
SELECT s.source, i.instrument, s.channel, s.interval, s.trade_kind, g.state, g.reasons,
       lower(g.span) AS since, upper(g.span) AS until, upper(g.span) - lower(g.span) AS length, s.instrument_id
  FROM coverage_streams('-infinity') s
  LEFT JOIN instruments i ON i.id = s.instrument_id
 CROSS JOIN LATERAL (SELECT tstzmultirange(tstzrange(s.since, greatest(s.since, s.watched_until, upper(s.known)), '[]')) - s.covered AS spans) m
 CROSS JOIN LATERAL (
       SELECT kind.state, span, coalesce((
                SELECT string_agg(DISTINCT c.reason, ', ') FROM coverage c
                 WHERE (c.source, c.instrument_id, c.channel) = (s.source, s.instrument_id, s.channel)
                   AND c.state = kind.state AND c.since <= upper(span) AND coalesce(c.until, 'infinity') >= lower(span)), 'unwatched') AS reasons
         FROM (VALUES ('open', m.spans - s.unrecoverable), ('unrecoverable', m.spans * s.unrecoverable)) kind (state, spans),
              unnest(kind.spans) span
        -- the moment at which one claim ends and another begins is no gap
        WHERE upper(span) > lower(span) OR s.known @> span
       ) g;

-- How complete each stream is, day by day (UTC), in per cent of the time since it is followed, rounded down.
CREATE VIEW coverage_report AS
SELECT s.source, i.instrument, s.channel, s.interval, s.trade_kind, d.day::date AS day,
       trunc((100 * there.seconds / due.seconds)::numeric, 4) AS percent,
       make_interval(secs => due.seconds - there.seconds) AS missing,
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
                       FROM unnest((s.unrecoverable - s.covered) * tstzmultirange(w.span)) r) lost
 WHERE due.seconds > 0;

-- The evidence for what is covered of one instrument's trades: first and last id, how many that is, and how many are stored. Where the
-- exchange's ids are dense (README, "What is audited") `expected` and `stored` are equal, but for ids that it never gave.
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
