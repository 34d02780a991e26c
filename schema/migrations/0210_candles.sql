-- 1m candles come from the exchange; the daemon rolls up the longer ones from them. `time` is the open of the interval.
-- No CHECK compares open or close with high and low: some exchanges open a candle at the last price of the candle before.

CREATE TABLE IF NOT EXISTS candles (
    instrument_id          int         NOT NULL,
    interval               text        NOT NULL CHECK (interval IN ('1m', '5m', '15m', '1h', '4h', '1d')),
    time                   timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    open                   numeric     NOT NULL CHECK (open > 0 AND open < 1e18),
    high                   numeric     NOT NULL CHECK (high > 0 AND high < 1e18),
    low                    numeric     NOT NULL CHECK (low > 0 AND low < 1e18),
    close                  numeric     NOT NULL CHECK (close > 0 AND close < 1e18),
    volume                 numeric     NOT NULL CHECK (volume >= 0 AND volume < 1e24),
    quote_volume           numeric     CHECK (quote_volume >= 0 AND quote_volume < 1e24),
    trades_count           int         CHECK (trades_count >= 0),
    taker_buy_volume       numeric     CHECK (taker_buy_volume >= 0 AND taker_buy_volume < 1e24),
    taker_buy_quote_volume numeric     CHECK (taker_buy_quote_volume >= 0 AND taker_buy_quote_volume < 1e24),
    first_trade_id         bigint,
    last_trade_id          bigint,
    parts                  int         NOT NULL CHECK (parts BETWEEN 1 AND 1440),   -- 1m candles that it is made of
    origin                 text        NOT NULL CHECK (origin IN ('trades', 'ws', 'rest', 'archive')),
    received_at            timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, interval, time),
    CONSTRAINT candles_range_check CHECK (high >= low)
);
SELECT create_hypertable('candles', by_range('time', interval '7 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE candles IS 'closed candles of all intervals, from 1m to 1d';
