CREATE TABLE IF NOT EXISTS rejects (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    source      text        NOT NULL,   -- an exchange or a poller
    table_name  text,                   -- NULL where the frame could not be read that far
    stage       text        NOT NULL CHECK (stage IN ('decode', 'write')),
    reason      text        NOT NULL,
    sqlstate    text,
    message     text        NOT NULL,
    payload     text        NOT NULL    -- the writer cuts it to a bounded length
);
CREATE INDEX IF NOT EXISTS rejects_time ON rejects (rejected_at);
COMMENT ON TABLE rejects IS 'frames that could not be decoded and rows that the database refused, with the reason';
