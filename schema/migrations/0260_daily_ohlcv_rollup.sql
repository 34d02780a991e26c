-- The daemon fills this table on the Apache edition. Queries read the view daily_ohlcv (../bars).

CREATE TABLE IF NOT EXISTS daily_ohlcv_rollup (
    instrument_id int         NOT NULL,
    time          timestamptz NOT NULL,
    open          numeric     NOT NULL,
    high          numeric     NOT NULL,
    low           numeric     NOT NULL,
    close         numeric     NOT NULL,
    volume        numeric     NOT NULL,
    quote_volume  numeric,
    trades_count  bigint,
    PRIMARY KEY (instrument_id, time)
);
SELECT create_hypertable('daily_ohlcv_rollup', by_range('time', interval '364 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE daily_ohlcv_rollup IS 'daily bars made from 1m candles, where there are no continuous aggregates';
