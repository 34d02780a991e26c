-- An empty side is NULL. A price without its size is accepted, because Coinbase's tickers had no sizes in 2021, and recordings of them are
-- replayed. A size without its price is refused.

CREATE TABLE IF NOT EXISTS quotes (
    instrument_id int         NOT NULL,
    time          timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    writer        text        NOT NULL,   -- '' where the exchange gives an event time, so that two daemons write the same row
    bid_price     numeric     CHECK (bid_price > 0 AND bid_price < 1e18),
    bid_size      numeric     CHECK (bid_size >= 0 AND bid_size < 1e24),
    ask_price     numeric     CHECK (ask_price > 0 AND ask_price < 1e18),
    ask_size      numeric     CHECK (ask_size >= 0 AND ask_size < 1e24),
    sequence      bigint,
    received_at   timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, time, writer),
    CONSTRAINT quotes_bid_check CHECK (bid_size IS NULL OR bid_price IS NOT NULL),
    CONSTRAINT quotes_ask_check CHECK (ask_size IS NULL OR ask_price IS NOT NULL)
);
SELECT create_hypertable('quotes', by_range('time', interval '1 day'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE quotes IS 'best bid and ask, sampled on a time grid';
