-- `time` is midnight UTC of the trading date in New York. Some sources have only the close.

CREATE TABLE IF NOT EXISTS stock_indices (
    index_name  text NOT NULL,
    source      text NOT NULL,
    time        timestamptz NOT NULL CHECK (time >= '1971-01-01Z' AND time < '2100-01-01Z'),
    open        numeric CHECK (open > 0 AND open < 1e18),
    high        numeric CHECK (high > 0 AND high < 1e18),
    low         numeric CHECK (low > 0 AND low < 1e18),
    close       numeric NOT NULL CHECK (close > 0 AND close < 1e18),
    volume      numeric CHECK (volume >= 0 AND volume < 1e30),
    received_at timestamptz NOT NULL,
    PRIMARY KEY (index_name, source, time)
);
SELECT create_hypertable('stock_indices', by_range('time', interval '30 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE stock_indices IS 'daily values of stock indices';
