-- Which buckets must be rolled up (again): a writer marks the bucket in the transaction that writes the row.
-- Marks of a running minute are touched with every batch, so each page keeps room for their next versions.

CREATE TABLE IF NOT EXISTS rollup_dirty (
    target        text        NOT NULL,   -- 5m 15m 1h 4h 1d; without continuous aggregates also bars_1m bars_1h daily_ohlcv
    instrument_id int         NOT NULL,
    time          timestamptz NOT NULL,   -- the bucket's start
    marked_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, instrument_id, time)
) WITH (fillfactor = 50);
