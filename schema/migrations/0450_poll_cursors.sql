-- The state of a poller is stored so that daemons share it and a restart does not repeat requests.

CREATE TABLE IF NOT EXISTS poll_cursors (
    source   text        PRIMARY KEY,
    cursor   text        NOT NULL DEFAULT '',   -- in the format of the poller; '' before the first turn
    month    date        NOT NULL,              -- the month (UTC) that `requests` counts
    requests int         NOT NULL DEFAULT 0 CHECK (requests >= 0),
    due_at   timestamptz NOT NULL
);
COMMENT ON TABLE poll_cursors IS 'the position, the monthly request count and the next due time of each poller';
