-- Where each poller is, what of its month's budget is spent and when it is due: daemons share it, and a restart does not ask anew.

CREATE TABLE IF NOT EXISTS poll_cursors (
    source   text        PRIMARY KEY,
    cursor   text        NOT NULL DEFAULT '',   -- the poller's own words; '' is the beginning
    month    date        NOT NULL,              -- the month, in UTC, of which `requests` were spent
    requests int         NOT NULL DEFAULT 0 CHECK (requests >= 0),
    due_at   timestamptz NOT NULL
);
