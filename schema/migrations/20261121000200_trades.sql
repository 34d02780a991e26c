-- One row a fill. NaN and Infinity pass `> 0` and fail `< 1e18`; a time in the wrong unit fails the bounds, and would else
-- move the watermark of the bars to a year when nothing is live any more.
-- No foreign key to instruments: it costs a lookup for each row. The primary key's index serves the usual query as well.

CREATE TABLE IF NOT EXISTS trades (
    instrument_id int         NOT NULL,
    time          timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    trade_id      bigint      NOT NULL,
    price         numeric     NOT NULL CHECK (price > 0 AND price < 1e18),
    size          numeric     NOT NULL CHECK (size > 0 AND size < 1e24),
    side          text        NOT NULL CHECK (side IN ('buy', 'sell')),
    received_at   timestamptz NOT NULL,
    native_id     text,
    PRIMARY KEY (instrument_id, time, trade_id)
);
SELECT create_hypertable('trades', by_range('time', interval '1 day'), create_default_indexes => false, if_not_exists => true);
