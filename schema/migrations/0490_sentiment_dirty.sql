-- A writer of posts marks the hours in the transaction that writes the posts.

CREATE TABLE IF NOT EXISTS sentiment_dirty (
    symbol    text        NOT NULL,
    time      timestamptz NOT NULL,   -- the start of the hour
    marked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, time)
) WITH (fillfactor = 50);
COMMENT ON TABLE sentiment_dirty IS 'hours whose sentiment must be computed again from posts';
