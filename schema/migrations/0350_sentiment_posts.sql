-- A post that mentions several symbols has one row per symbol.

CREATE TABLE IF NOT EXISTS sentiment_posts (
    platform    text NOT NULL,
    post_id     text NOT NULL,
    symbol      text NOT NULL,
    time        timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    text        text NOT NULL,
    author      text,
    score       numeric NOT NULL CHECK (score >= -1 AND score <= 1),
    label       text NOT NULL CHECK (label IN ('positive', 'neutral', 'negative')),
    engagement  int CHECK (engagement >= 0),
    received_at timestamptz NOT NULL,
    followers   int CHECK (followers >= 0),   -- of its author; a post of an author with many followers is an influencer mention
    PRIMARY KEY (platform, post_id, symbol, time)
);
SELECT create_hypertable('sentiment_posts', by_range('time', interval '7 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE sentiment_posts IS 'social posts that mention a symbol, with their sentiment';
