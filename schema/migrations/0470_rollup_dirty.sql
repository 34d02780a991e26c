-- A writer marks the bucket in the transaction that writes the row. The mark of the running minute is updated with every batch, so each
-- page has free space for the next versions.

CREATE TABLE IF NOT EXISTS rollup_dirty (
    target        text        NOT NULL,   -- 5m 15m 1h 4h 1d, or day for all candles of a day; on Apache also bars_1m bars_1h daily_ohlcv
    instrument_id int         NOT NULL,
    time          timestamptz NOT NULL,   -- the start of the bucket
    marked_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, instrument_id, time)
) WITH (fillfactor = 50);
COMMENT ON TABLE rollup_dirty IS 'buckets of candles and bars to roll up again';
