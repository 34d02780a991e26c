-- Which hours must be summed up (again): a writer of posts marks them in the transaction that writes the posts.

CREATE TABLE IF NOT EXISTS sentiment_dirty (
    symbol    text        NOT NULL,
    time      timestamptz NOT NULL,   -- the hour's start
    marked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, time)
) WITH (fillfactor = 50);
