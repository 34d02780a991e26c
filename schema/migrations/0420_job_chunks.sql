CREATE TABLE IF NOT EXISTS job_chunks (
    job_id      bigint      NOT NULL REFERENCES jobs ON DELETE CASCADE,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    state       text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'failed')),
    written     bigint      NOT NULL DEFAULT 0,
    revised     bigint      NOT NULL DEFAULT 0,
    duplicate   bigint      NOT NULL DEFAULT 0,
    rejected    bigint      NOT NULL DEFAULT 0,
    verdict     text,                     -- why it failed
    finished_at timestamptz,
    PRIMARY KEY (job_id, since)
);
COMMENT ON TABLE job_chunks IS 'the parts of each backfill, with state and row counts';
