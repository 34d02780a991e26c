-- Each CHECK has an upper bound because NaN and Infinity pass `> 0`. The bounds of time refuse a value in the wrong unit, which would
-- move the watermark of the continuous aggregates into the far future and stop their real-time part.
-- There is no foreign key to instruments: it costs a lookup per row. The index of the primary key also serves the usual query.

CREATE TABLE IF NOT EXISTS trades (
    instrument_id int         NOT NULL,
    time          timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    trade_id      bigint      NOT NULL,   -- negative where the exchange's id is no number: made from native_id
    price         numeric     NOT NULL CHECK (price > 0 AND price < 1e18),
    size          numeric     NOT NULL CHECK (size > 0 AND size < 1e24),
    side          text        NOT NULL CHECK (side IN ('buy', 'sell')),   -- the taker's
    received_at   timestamptz NOT NULL,
    native_id     text,
    PRIMARY KEY (instrument_id, time, trade_id)
);
SELECT create_hypertable('trades', by_range('time', interval '1 day'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE trades IS 'trades of exchanges';
