-- The evidence: frames that could not be decoded and rows that the database refused, with the reason.

CREATE TABLE IF NOT EXISTS rejects (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    source      text        NOT NULL,   -- an exchange or a poller
    table_name  text,                   -- NULL where the frame was not understood that far
    stage       text        NOT NULL CHECK (stage IN ('decode', 'write')),
    reason      text        NOT NULL,
    sqlstate    text,
    message     text        NOT NULL,
    payload     text        NOT NULL    -- cut to a bounded length by the writer
);
CREATE INDEX IF NOT EXISTS rejects_time ON rejects (rejected_at);
