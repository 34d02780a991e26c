-- The best bid and ask at each tick of the grid. A side that is empty is NULL, its price and size together.

CREATE TABLE IF NOT EXISTS quotes (
    instrument_id int         NOT NULL,
    time          timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    writer        text        NOT NULL,
    bid_price     numeric     CHECK (bid_price > 0 AND bid_price < 1e18),
    bid_size      numeric     CHECK (bid_size >= 0 AND bid_size < 1e24),
    ask_price     numeric     CHECK (ask_price > 0 AND ask_price < 1e18),
    ask_size      numeric     CHECK (ask_size >= 0 AND ask_size < 1e24),
    sequence      bigint,
    received_at   timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, time, writer),
    CONSTRAINT quotes_bid_check CHECK ((bid_price IS NULL) = (bid_size IS NULL)),
    CONSTRAINT quotes_ask_check CHECK ((ask_price IS NULL) = (ask_size IS NULL))
);
SELECT create_hypertable('quotes', by_range('time', interval '1 day'), create_default_indexes => false, if_not_exists => true);
