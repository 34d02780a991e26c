-- `time` is the start of the interval; scores and shares are 0 to 100.

CREATE TABLE IF NOT EXISTS sentiment_scores (
    symbol              text NOT NULL,
    platform            text NOT NULL,
    interval            text NOT NULL CHECK (interval IN ('1m', '5m', '15m', '1h', '4h', '1d')),
    time                timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    social_score        numeric CHECK (social_score >= 0 AND social_score <= 100),
    label               text,
    mentions            int CHECK (mentions >= 0),
    positive            numeric CHECK (positive >= 0 AND positive <= 100),
    neutral             numeric CHECK (neutral >= 0 AND neutral <= 100),
    negative            numeric CHECK (negative >= 0 AND negative <= 100),
    influencer_mentions int CHECK (influencer_mentions >= 0),
    received_at         timestamptz NOT NULL,
    PRIMARY KEY (symbol, platform, interval, time)
);
SELECT create_hypertable('sentiment_scores', by_range('time', interval '30 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE sentiment_scores IS 'sentiment of a symbol per interval, from providers and from stored posts';
