-- A row is the range [since, until) of one channel; `until` is NULL until the end of a gap is known. A row with the state 'covered' is a
-- claim: its writer has committed every row that it received in the range. The other states are gaps.
-- A claim is updated every second: free space in the page and no index on a column that changes let the update touch no index.

CREATE TABLE IF NOT EXISTS coverage (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        text        NOT NULL,   -- an exchange or a poller
    instrument_id int,
    channel       text        NOT NULL,
    interval      text,
    trade_kind    text,
    writer        text        NOT NULL,
    state         text        NOT NULL CHECK (state IN ('covered', 'open', 'healed', 'unrecoverable')),
    reason        text        NOT NULL,
    since         timestamptz NOT NULL,
    until         timestamptz CHECK (until >= since),
    first_id      bigint,                 -- the first and the last missing id, where the exchange's ids are consecutive
    last_id       bigint,
    expected      bigint,                 -- rows that the range should have
    stored        bigint,                 -- rows that it has
    noted_at      timestamptz NOT NULL DEFAULT now(),
    tries         int         NOT NULL DEFAULT 0,           -- attempts to fill the gap
    next_try_at   timestamptz NOT NULL DEFAULT '-infinity', -- earliest time of the next attempt
    verdict       text                                      -- result of the last attempt, or of the audit
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX IF NOT EXISTS coverage_stream ON coverage (instrument_id, channel, since);
CREATE INDEX IF NOT EXISTS coverage_open ON coverage (source, since) WHERE state = 'open';
CREATE UNIQUE INDEX IF NOT EXISTS coverage_claims ON coverage (source, instrument_id, channel, writer, since) WHERE state = 'covered';
COMMENT ON TABLE coverage IS 'time ranges that are covered, and gaps with their reasons';
