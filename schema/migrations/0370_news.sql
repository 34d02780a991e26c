-- The text of an article is not stored.

CREATE TABLE IF NOT EXISTS news (
    source       text NOT NULL,
    id           text NOT NULL,   -- the publisher's id
    time         timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    title        text NOT NULL,
    summary      text,
    url          text NOT NULL,
    author       text,
    image_url    text,
    symbols      text[] NOT NULL,
    categories   text[] NOT NULL,
    sentiment    numeric CHECK (sentiment >= -1 AND sentiment <= 1),
    relevance    numeric CHECK (relevance >= 0 AND relevance <= 1),
    impact_level text CHECK (impact_level IN ('low', 'medium', 'high', 'critical')),
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (source, id, time)
);
SELECT create_hypertable('news', by_range('time', interval '30 days'), create_default_indexes => false, if_not_exists => true);
CREATE INDEX IF NOT EXISTS news_time_idx ON news ("time" DESC);  -- a news feed reads the newest articles first
COMMENT ON TABLE news IS 'articles: title, summary, link, and the symbols that they mention';
