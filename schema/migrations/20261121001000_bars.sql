-- Bars made from trades and the daily bars, as the daemon itself fills them where there are no continuous aggregates.
-- Nobody reads these tables: the views bars_1m, bars_1h and daily_ohlcv stand before them (see ../bars).

CREATE TABLE IF NOT EXISTS bars_1m_rollup (
    instrument_id  int         NOT NULL,
    time           timestamptz NOT NULL,
    open           numeric     NOT NULL,
    high           numeric     NOT NULL,
    low            numeric     NOT NULL,
    close          numeric     NOT NULL,
    volume         numeric     NOT NULL,
    quote_volume   numeric     NOT NULL,
    trades_count   bigint      NOT NULL,
    buy_volume     numeric     NOT NULL,
    first_trade_id bigint      NOT NULL,
    last_trade_id  bigint      NOT NULL,
    PRIMARY KEY (instrument_id, time)
);
SELECT create_hypertable('bars_1m_rollup', by_range('time', interval '7 days'), create_default_indexes => false, if_not_exists => true);

CREATE TABLE IF NOT EXISTS bars_1h_rollup (
    instrument_id  int         NOT NULL,
    time           timestamptz NOT NULL,
    open           numeric     NOT NULL,
    high           numeric     NOT NULL,
    low            numeric     NOT NULL,
    close          numeric     NOT NULL,
    volume         numeric     NOT NULL,
    quote_volume   numeric     NOT NULL,
    trades_count   bigint      NOT NULL,
    buy_volume     numeric     NOT NULL,
    first_trade_id bigint      NOT NULL,
    last_trade_id  bigint      NOT NULL,
    PRIMARY KEY (instrument_id, time)
);
SELECT create_hypertable('bars_1h_rollup', by_range('time', interval '70 days'), create_default_indexes => false, if_not_exists => true);

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
