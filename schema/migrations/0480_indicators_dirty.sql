-- A writer of candles marks them in the transaction that writes them. One row stands for 1,440 candles of a series; the newest is updated
-- with every candle, so each page has free space for the next versions.

CREATE TABLE IF NOT EXISTS indicators_dirty (
    instrument_id int         NOT NULL,
    interval      text        NOT NULL,
    block         timestamptz NOT NULL,   -- the start of 1,440 intervals, counted from 1970
    since         timestamptz NOT NULL,   -- the first and the last candle in the block that is new or has changed
    until         timestamptz NOT NULL,
    marked_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (instrument_id, interval, block)
) WITH (fillfactor = 50);
COMMENT ON TABLE indicators_dirty IS 'candles whose indicators must be computed again';
